"""Load against latency: where the knee is, and what shape the way to it has."""

from __future__ import annotations

from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import text as t

from dashboards.generate import frame, names
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    DATASOURCE,
    GREY,
    ORANGE,
    PER_SECOND,
    PINK,
    RATIO,
    SECONDS,
    SKY,
    VERMILLION,
    Dots,
    Query,
    colour,
    graph,
    scatter,
)

UID = "locust-otel-load"
USERS = f"sum({q.RUN.of(names.USERS)})"
X = "users"
_HOW = """
| what you see | what it is |
| --- | --- |
| latency rises evenly with the users, throughput still rises | **linear**: work queues up little by little; size it |
| latency jumps at one number of users, throughput stays flat from there | **cliff**: a pool or a limit is exhausted |
| latency swings up and down while the users stay the same | **sawtooth**: garbage collection, a cache, a batch job |
| latency is flat for long, then explodes, failures with it | **flat, then spike**: a leak, or a full queue |
"""


def _over_time() -> list[tuple[int, object]]:
    right = {"custom.axisPlacement": "right", "unit": "short", "custom.fillOpacity": 15, "custom.lineWidth": 1}
    latency = graph(
        "Users and latency over time",
        "Percentiles of now on the left, users on the right: whether they move together.",
        SECONDS,
        Query(USERS, X, look=colour(GREY) | right),
        Query(q.quantile("0.99"), "p99", look=colour(PINK)),
        Query(q.quantile("0.95"), "p95", exemplar=True, look=colour(ORANGE)),
        Query(q.quantile("0.5"), "p50", look=colour(SKY)),
    )
    throughput = graph(
        "Users and throughput over time",
        "Requests a second on the left, users on the right: users that bring no more requests are waiting.",
        PER_SECOND,
        Query(USERS, X, look=colour(GREY) | right),
        Query(q.rate(names.REQUESTS, "", 'outcome="success"'), "success", look=colour(SKY)),
        Query(q.rate(names.REQUESTS, "", q.FAILED), "failure", look=colour(VERMILLION)),
    )
    return [(12, latency), (12, throughput)]


def _per_user() -> list[tuple[int, object]]:
    rate = graph(
        "Requests a second and user",
        "A user that waits makes fewer requests: where this falls, the service is the limit.",
        PER_SECOND,
        Query(
            f"{q.rate(names.REQUESTS)}\n/\n(sum({q.BY_CLASS.of(names.USERS)}) > 0)", "requests a user", look=colour(SKY)
        ),
    ).decimals(2)
    failed = graph(
        "Failure ratio",
        "Failed requests over all requests, now.",
        RATIO,
        Query(q.failure_ratio(), "failed", look=colour(VERMILLION)),
    )
    shapes = text.Panel().title("How to read it").content(_HOW.strip()).mode(t.TextMode.MARKDOWN).datasource(DATASOURCE)
    shapes.description("What the shapes of latency over load mean.")
    return [(7, rate), (7, failed), (10, shapes)]


def load() -> d.Dashboard:
    """Return the dashboard."""
    latency = scatter(
        "Latency over users",
        "Each dot is a moment of the run: so many users, so long an answer. The knee is where the dots leave the "
        "flat line.",
        SECONDS,
        (USERS, X),
        Dots(q.quantile("0.99"), "p99", PINK),
        Dots(q.quantile("0.95"), "p95", ORANGE),
        Dots(q.quantile("0.5"), "p50", SKY),
    )
    throughput = scatter(
        "Throughput over users",
        "Each dot is a moment of the run. Where more users bring no more requests, the service is full.",
        PER_SECOND,
        (USERS, X),
        Dots(q.rate(names.REQUESTS, "", 'outcome="success"'), "success", SKY),
        Dots(q.rate(names.REQUESTS, "", q.FAILED), "failure", VERMILLION),
    )
    endpoint = (
        scatter(
            "$name",
            "Latency of this endpoint over all users of the run.",
            SECONDS,
            (USERS, X),
            Dots(q.quantile("0.95"), "p95", ORANGE),
            Dots(q.quantile("0.5"), "p50", SKY),
        )
        .repeat("name")
        .repeat_direction("h")
        .max_per_row(4)
    )
    of_class = (
        scatter(
            "$user_class",
            "Latency this class of users sees over all users of the run.",
            SECONDS,
            (USERS, X),
            Dots(q.quantile("0.95"), "p95", ORANGE),
            Dots(q.quantile("0.5"), "p50", SKY),
        )
        .repeat("user_class")
        .repeat_direction("h")
        .max_per_row(4)
    )
    return frame.board(
        UID,
        "Locust: load against latency",
        "Latency and throughput over the number of users, in total and for each endpoint.",
        [
            frame.run(),
            frame.each("name", "Name", names.REQUESTS),
            frame.each("user_class", "User class", names.REQUESTS),
        ],
        [
            (9, _over_time()),
            (10, [(12, latency), (12, throughput)]),
            (9, _per_user()),
            "By endpoint",
            (8, [(24, endpoint)]),
            "By user class",
            (8, [(24, of_class)]),
        ],
    )
