"""Load against latency: where the knee is, and the shape of the curve before it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import text, xychart
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import text as t

from dashboards.generate import frame, queries
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    DATASOURCE,
    GREY,
    PER_SECOND,
    RATIO,
    SECONDS,
    SKY,
    VERMILLION,
    Query,
    colour,
    graph,
    scatter,
)
from locust_otel.core import catalogue
from locust_otel.slo.rules.promql import ratio

UID = "locust-otel-load"
USERS = Query(f"sum({q.RUN.series(catalogue.USERS)})", "users")
_SHAPES = """
| what you see | what it is |
| --- | --- |
| latency rises evenly with the users, throughput still rises | **linear**: work queues up little by little; size it |
| latency jumps at one number of users, throughput stays flat from there | **cliff**: a pool or a limit is exhausted |
| latency swings up and down while the users stay the same | **sawtooth**: garbage collection, a cache, a batch job |
| latency is flat for long, then explodes, failures with it | **flat, then spike**: a leak, or a full queue |
"""


def _over_time() -> list[tuple[int, object]]:
    right = {"custom.axisPlacement": "right", "unit": "short", "custom.fillOpacity": 15, "custom.lineWidth": 1}
    users = Query(USERS.expr, USERS.legend, look=colour(GREY) | right)
    latency = graph(
        "Users and latency over time",
        "Current percentiles on the left, users on the right.",
        SECONDS,
        users,
        *queries.percentiles(exemplar="p95"),
    )
    throughput = graph(
        "Users and throughput over time",
        "Requests per second on the left, users on the right. Users that bring no more requests are waiting.",
        PER_SECOND,
        users,
        *queries.outcomes(),
    )
    return [(12, latency), (12, throughput)]


def _over_users() -> list[tuple[int, object]]:
    latency = scatter(
        "Latency over users",
        "Each dot is a moment of the run: its users and its latency. The knee is where the dots leave the flat line.",
        SECONDS,
        USERS,
        *queries.percentiles(),
    )
    throughput = scatter(
        "Throughput over users",
        "Each dot is a moment of the run. Where more users bring no more requests, the service is saturated.",
        PER_SECOND,
        USERS,
        *queries.outcomes(),
    )
    return [(12, latency), (12, throughput)]


def _per_user() -> list[tuple[int, object]]:
    users = f"sum({q.BY_CLASS.series(catalogue.USERS)})"
    rate = graph(
        "Requests per second and user",
        "Users that wait make fewer requests. Where this falls, the service is the limit.",
        PER_SECOND,
        Query(ratio(q.rate(catalogue.REQUESTS), users), "requests a user", look=colour(SKY)),
    ).decimals(2)
    failed = graph(
        "Failure ratio",
        "Current failed requests, divided by all requests.",
        RATIO,
        Query(q.failure_ratio(), "failed", look=colour(VERMILLION)),
    )
    shapes = text.Panel().title("How to read it").content(_SHAPES.strip()).mode(t.TextMode.MARKDOWN)
    shapes.datasource(DATASOURCE).description("Shapes of latency over load, and their causes.")
    return [(7, rate), (7, failed), (10, shapes)]


def _repeated(variable: str, description: str) -> list[tuple[int, xychart.Panel]]:
    """Return a scatter plot for each value of a variable."""
    panel = scatter(f"${variable}", description, SECONDS, USERS, *queries.percentiles("p95", "p50"))
    return [(24, panel.repeat(variable).repeat_direction("h").max_per_row(4))]


def load() -> d.Dashboard:
    """Return the dashboard."""
    return frame.board(
        UID,
        "Locust: load against latency",
        "Latency and throughput over the number of users, in total and for each endpoint.",
        [
            frame.run(),
            frame.repeated("name", "Name", catalogue.REQUESTS),
            frame.repeated("user_class", "User class", catalogue.REQUESTS),
        ],
        [
            (9, _over_time()),
            (10, _over_users()),
            (9, _per_user()),
            "By endpoint",
            (8, _repeated("name", "Latency of this endpoint over all users of the run.")),
            "By user class",
            (8, _repeated("user_class", "Latency of this class of users over all users of the run.")),
        ],
    )
