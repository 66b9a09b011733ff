"""Live run: progress of one run, from the whole run down to an endpoint."""

from __future__ import annotations

from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, queries
from dashboards.generate import promql as q
from dashboards.generate.frame import Rows
from dashboards.generate.panels import (
    COUNT,
    LIMIT,
    PER_SECOND,
    RATIO,
    SECONDS,
    Column,
    Query,
    density,
    figure,
    graph,
    grid,
)
from locust_otel.core import catalogue
from locust_otel.slo.rules import names
from locust_otel.slo.rules.promql import aggregated, over

UID = "locust-otel-live"

_FILTER = {
    "title": "Show this endpoint only",
    "url": f"/d/{UID}?${{datasource:queryparam}}&${{run_id:queryparam}}&${{__url_time_range}}"
    "&var-name=${__value.text:percentencode}&var-user_class=$__all",
    "targetBlank": False,
}


def _figures() -> Rows:
    """Return the figures of the whole run in two rows; `$__range` has to reach back to the start of the run."""
    state = f"max by (state) ({q.RUN.over('last_over_time', catalogue.RUN_STATE, q.RANGE)}) == 1"
    first = [
        figure(
            "Run state",
            "State of the run: spawning, running, stopping or stopped; lost if its process died.",
            "string",
            Query(state, "{{state}}"),
        ).text_mode(c.BigValueTextMode.NAME),
        figure(
            "Elapsed",
            "Time since the start of the run; it ends with the run.",
            "dthms",
            Query(q.last(catalogue.RUN_ELAPSED)),
        ),
        figure(
            "Users",
            "Simulated users that are running, and their target. Both are 0 after the run.",
            COUNT,
            Query(q.last(catalogue.USERS, scope=q.BY_CLASS, how="sum"), "now"),
            Query(q.last(catalogue.USERS_TARGET, scope=q.BY_CLASS, how="sum"), "target"),
        ),
        figure(
            "Throughput, mean",
            "Requests to date, divided by the duration of the run.",
            PER_SECOND,
            Query(q.throughput_to_date()),
        ).decimals(1),
        figure(
            "Failure ratio",
            "Failed requests, divided by all requests to date.",
            RATIO,
            Query(q.failure_ratio_to_date()),
        ).decimals(2),
        figure(
            "p95, whole run",
            "95 % of all requests to date took at most this time. The error is at most 4.4 % if Prometheus stores "
            "native histograms. With classic buckets it depends on their bounds.",
            SECONDS,
            Query(q.quantile("0.95", to_date=q.RANGE)),
        ),
        figure(
            "Budget left",
            "The smallest share of an error budget that is left, of all objectives. Below 0 the budget is overspent.",
            RATIO,
            Query(q.last(names.BUDGET_REMAINING, how="min")),
            no_data="no SLO",
        ).decimals(0),
        figure(
            "Run valid?",
            queries.INVALID_NOTE,
            COUNT,
            Query(f"min({q.RUN.over('min_over_time', catalogue.RUN_VALID, q.RANGE)})"),
        ).mappings(queries.VALIDITY),
    ]
    counts = [
        figure("Requests", "All requests to date.", COUNT, Query(q.total(catalogue.REQUESTS))),
        figure(
            "Failures",
            "Requests to date that Locust counted as failed.",
            COUNT,
            Query(q.total(catalogue.REQUESTS, outcome="failure")),
        ),
        figure(
            "Slow requests",
            "Requests to date that took longer than --slow-request.",
            COUNT,
            Query(q.total(catalogue.SLOW_REQUESTS)),
        ),
        figure(
            "Most users",
            "The largest number of simulated users in the time range.",
            COUNT,
            Query(over("max_over_time", f"sum({q.BY_CLASS.series(catalogue.USERS)})", q.STEPS)),
        ),
    ]
    for panel in counts:
        panel.unit("locale").decimals(0)
    quantiles = [
        figure(
            title, f"{share} % of all requests to date took at most this time.", SECONDS,
            Query(q.quantile(ratio, to_date=q.RANGE))
        )
        for title, share, ratio in (("Median, whole run", 50, "0.5"), ("p99, whole run", 99, "0.99"))
    ]  # fmt: skip
    return [(4, [(3, panel) for panel in first]), (3, [(4, panel) for panel in (*counts, *quantiles)])]


def _graphs() -> Rows:
    throughput = graph(
        "Throughput by outcome",
        "Requests per second, with the failed requests on top of the successful ones.",
        PER_SECOND,
        *queries.outcomes(),
        stacked=True,
    )
    users = graph(
        "Users against target",
        "Simulated users by class, and their target. If a gap remains, users cannot start, or have ended.",
        COUNT,
        Query(f"sum by (user_class) ({q.BY_CLASS.series(catalogue.USERS)})", "{{user_class}}"),
        Query(f"sum({q.BY_CLASS.series(catalogue.USERS_TARGET)})", "target", look=LIMIT),
        stacked=True,
    )
    latency = graph(
        "Latency",
        "Current percentiles of the response times, and the thresholds of the objectives. Diamonds are single "
        "requests. If the data source knows the traces, a click opens the trace.",
        SECONDS,
        *queries.percentiles(exemplar="p95"),
        Query(f"max by (slo) ({q.RUN.series(catalogue.SLO_THRESHOLD)})", "objective {{slo}}", look=LIMIT),
    )
    bucket = f"{catalogue.REQUEST_DURATION.name}_bucket"
    buckets = density(
        "Latency heatmap",
        "Number of requests by duration. Two bands are two kinds of responses, which no percentile shows.",
        SECONDS,
        Query(aggregated("sum", q.FILTERED.over("increase", bucket, q.RATE), "le"), "{{le}}"),
        Query(f"sum({q.FILTERED.over('increase', catalogue.REQUEST_DURATION, q.RATE)})"),
    )
    errors = graph(
        "Failures by error type",
        "Failures per second by HTTP status, or by the class of the exception, from the first failure on.",
        PER_SECOND,
        Query(q.arrivals(catalogue.REQUEST_ERRORS, "error_type", scope=q.BY_NAME), "{{error_type}}"),
        bars=True,
        no_data="No failure in the time range",
    )
    slow = graph(
        "Slow requests",
        "Requests per second that took longer than --slow-request, by endpoint.",
        PER_SECOND,
        Query(q.arrivals(catalogue.SLOW_REQUESTS, "method", "name"), "{{method}} {{name}}"),
        bars=True,
        no_data="No slow request in the time range",
    )
    return [(8, [(12, throughput), (12, users)]), (11, [(12, latency), (12, buckets)]), (9, [(12, errors), (12, slow)])]


def _tables() -> Rows:
    by = ("method", "name")
    endpoints = grid(
        "Endpoints",
        "All requests to date, the worst endpoint first. A click on a name shows that endpoint only.",
        Column("Method", label="method", width=75),
        Column("Name", label="name", look={"links": [_FILTER]}),
        Column("Requests", q.total(catalogue.REQUESTS, *by), unit="locale", width=95),
        Column("Req/s", q.throughput_to_date(*by), unit=PER_SECOND, width=105, look={"decimals": 2}),
        Column("Failed", q.failure_ratio_to_date(*by), unit=RATIO, width=90, look={"decimals": 2}),
        *(
            Column(heading, q.quantile(ratio, *by, to_date=q.RANGE), unit=SECONDS, width=85)
            for heading, ratio in (("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99"))
        ),
        Column("Slow", q.total(catalogue.SLOW_REQUESTS, *by), unit="locale", width=70),
        sort=("Failed", "p95"),
    )
    all_runs = q.Selector(())
    start, elapsed = (
        q.last(metric, "run_id", scope=all_runs) for metric in (catalogue.RUN_START, catalogue.RUN_ELAPSED)
    )
    requests = q.total(catalogue.REQUESTS, "run_id", scope=all_runs)
    link = frame.run_link(UID, "Show this run from start to stop")
    runs = grid(
        "Runs in the time range",
        "A click on a run shows the run from start to stop.",
        Column("Run", label="run_id", look={"links": [link]}),
        Column("Started", f"floor(1000 * {start})", unit="dateTimeAsIso", width=155),
        Column("Ended", f"ceil(1000 * ({start} + {elapsed}))", unit="dateTimeAsIso", width=155),
        Column("Requests", requests, unit="locale", width=85),
        sort=("Started",),
    )
    return [(9, [(15, endpoints), (9, runs)])]


def live() -> d.Dashboard:
    """Return the dashboard."""
    return frame.board(
        UID,
        "Locust: live run",
        "Progress of a Locust run: figures, throughput, users, latency, failures, endpoints.",
        [
            frame.run(),
            frame.several("name", "Name", catalogue.REQUESTS),
            frame.several("user_class", "User class", catalogue.REQUESTS),
        ],
        [*_figures(), *_graphs(), *_tables()],
    )
