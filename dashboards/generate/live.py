"""Live run: how the run goes, from the whole down to an endpoint."""

from __future__ import annotations

from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, names
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    COUNT,
    GREEN,
    LIMIT,
    ORANGE,
    PER_SECOND,
    PINK,
    RATIO,
    SECONDS,
    SKY,
    VERMILLION,
    Column,
    Query,
    colour,
    density,
    figure,
    graph,
    grid,
    values,
)

UID = "locust-otel-live"
THRESHOLD = "locust_slo_threshold_seconds"
BUDGET = "locust_slo:error_budget:remaining"

VALIDITY = values(_0=("no", VERMILLION), _1=("yes", GREEN))

_STATE = f"max by (state) (last_over_time({q.RUN.over(names.STATE, q.RANGE)})) == 1"
_HERE = f"/d/{UID}?${{datasource:queryparam}}&${{run_id:queryparam}}&${{__url_time_range}}"
_FILTER = {
    "title": "Show this endpoint only",
    "url": f"{_HERE}&var-name=${{__value.text:percentencode}}&var-user_class=$__all",
    "targetBlank": False,
}
_OPEN = {
    "title": "Show this run from start to stop",
    "url": f"/d/{UID}?${{datasource:queryparam}}&var-run_id=${{__value.text:percentencode}}"
    "&from=${__data.fields.Started.numeric}&to=${__data.fields.Ended.numeric}",
    "targetBlank": False,
}


def header() -> list[tuple[int, list[tuple[int, object]]]]:
    """Return the figures of the whole run, two rows of them; `$__range` has to reach back into the run."""
    valid = f"min(min_over_time({q.RUN.over(names.VALID, q.RANGE)}))"
    first = [
        figure(
            "Run state",
            "What Locust is doing: spawning, running, stopping or stopped; lost if its process died.",
            "string",
            Query(_STATE, "{{state}}", instant=True),
        ).text_mode(c.BigValueTextMode.NAME),
        figure(
            "Elapsed",
            "Since the run started; stands still once it has stopped.",
            "dthms",
            Query(q.last(names.ELAPSED), instant=True),
        ),
        figure(
            "Users",
            "Simulated users now, and how many are asked for; both are 0 once the run has stopped.",
            COUNT,
            Query(q.last(names.USERS, of=q.BY_CLASS, how="sum"), "now", instant=True),
            Query(q.last(names.TARGET, of=q.BY_CLASS, how="sum"), "asked for", instant=True),
        ),
        figure(
            "Throughput, mean",
            "Requests to date over the time the run has lasted.",
            PER_SECOND,
            Query(q.throughput_to_date(), instant=True),
        ).decimals(1),
        figure(
            "Failure ratio",
            "Failed requests over all requests, to date.",
            RATIO,
            Query(q.failure_ratio_to_date(), instant=True),
        ).decimals(2),
        figure(
            "p95, whole run",
            "95 % of all requests to date were answered within this time. Within 4.4 % where Prometheus stores "
            "native histograms; with classic buckets only as good as their edges are near.",
            SECONDS,
            Query(q.quantile("0.95", window=q.RANGE, to_date=True), instant=True),
        ),
        figure(
            "Budget left",
            "The smallest share of an error budget that is left, of all objectives; below 0 it is overspent.",
            RATIO,
            Query(q.last(BUDGET, how="min"), instant=True),
            no_data="no SLO",
        ).decimals(0),
        figure(
            "Numbers valid?",
            "No where the load generator was too slow at any moment of the time range: the latencies then tell of "
            "the generator, not of the service.",
            COUNT,
            Query(valid, instant=True),
        ).mappings(VALIDITY),
    ]
    second = [
        figure("Requests", "All requests to date.", COUNT, Query(q.total(names.REQUESTS), instant=True)),
        figure(
            "Failures",
            "Failed requests to date, as Locust judged them.",
            COUNT,
            Query(q.total(names.REQUESTS, "", q.FAILED), instant=True),
        ),
        figure(
            "Slow requests",
            "Requests to date that took longer than --slow-request.",
            COUNT,
            Query(q.total(names.SLOW), instant=True),
        ),
        figure(
            "Most users",
            "The largest number of simulated users in the time range.",
            COUNT,
            Query(f"max_over_time(sum({q.BY_CLASS.of(names.USERS)})[$__range:$__interval])", instant=True),
        ),
        figure(
            "Median, whole run",
            "Half of all requests to date were answered within this time.",
            SECONDS,
            Query(q.quantile("0.5", window=q.RANGE, to_date=True), instant=True),
        ),
        figure(
            "p99, whole run",
            "99 % of all requests to date were answered within this time.",
            SECONDS,
            Query(q.quantile("0.99", window=q.RANGE, to_date=True), instant=True),
        ),
    ]
    for panel in second[:4]:
        panel.unit("locale").decimals(0)
    return [(4, [(3, panel) for panel in first]), (3, [(4, panel) for panel in second])]


def _graphs() -> list[tuple[int, list[tuple[int, object]]]]:
    throughput = graph(
        "Throughput by outcome",
        "Requests a second, those that failed on top of those that did not.",
        PER_SECOND,
        Query(q.rate(names.REQUESTS, "", 'outcome="success"'), "success", look=colour(SKY)),
        Query(q.rate(names.REQUESTS, "", q.FAILED), "failure", look=colour(VERMILLION)),
        stacked=True,
    )
    users = graph(
        "Users against target",
        "Simulated users by class, and how many are asked for: a gap that stays means that users cannot be started, "
        "or have ended.",
        COUNT,
        Query(f"sum by (user_class) ({q.BY_CLASS.of(names.USERS)})", "{{user_class}}"),
        Query(f"sum({q.BY_CLASS.of(names.TARGET)})", "asked for", look=LIMIT),
        stacked=True,
    )
    latency = graph(
        "Latency",
        "Percentiles of the response times of now, and the thresholds of the objectives. The diamonds are single "
        "requests; where the data source knows the traces, a click opens one.",
        SECONDS,
        Query(q.quantile("0.99"), "p99", look=colour(PINK)),
        Query(q.quantile("0.95"), "p95", exemplar=True, look=colour(ORANGE)),
        Query(q.quantile("0.5"), "p50", look=colour(SKY)),
        Query(f"max by (slo) ({q.RUN.of(THRESHOLD)})", "objective {{slo}}", look=LIMIT),
    )
    buckets = density(
        "Latency heatmap",
        "How many requests took how long: two bands are two kinds of answers, which no percentile shows.",
        SECONDS,
        Query(f"sum by (le) (increase({q.FILTERED.over(f'{names.DURATION}_bucket', q.RATE)}))", "{{le}}"),
        Query(f"sum(increase({q.FILTERED.over(names.DURATION, q.RATE)}))"),
    )
    errors = graph(
        "Failures by error type",
        "Failures a second by HTTP status, or by the class of the exception. From the first one on.",
        PER_SECOND,
        Query(q.arrivals(names.ERRORS, "error_type", q.BY_NAME), "{{error_type}}"),
        bars=True,
        no_data="No failure in the time range",
    )
    slow = graph(
        "Slow requests",
        "Requests a second that took longer than --slow-request, by endpoint.",
        PER_SECOND,
        Query(q.arrivals(names.SLOW, "method, name", q.FILTERED), "{{method}} {{name}}"),
        bars=True,
        no_data="No slow request in the time range",
    )
    return [
        (8, [(12, throughput), (12, users)]),
        (11, [(12, latency), (12, buckets)]),
        (9, [(12, errors), (12, slow)]),
    ]


def _tables() -> list[tuple[int, list[tuple[int, object]]]]:
    by = "method, name"
    endpoints = grid(
        "Endpoints",
        "Of all requests to date, the worst on top. A click on a name shows that endpoint only.",
        Column("Method", label="method", width=75),
        Column("Name", label="name", look={"links": [_FILTER]}),
        Column("Requests", q.total(names.REQUESTS, by), unit="locale", width=95),
        Column("Req/s", q.throughput_to_date(by), unit=PER_SECOND, width=105, look={"decimals": 2}),
        Column("Failed", q.failure_ratio_to_date(by), unit=RATIO, width=90, look={"decimals": 2}),
        Column("p50", q.quantile("0.5", by, window=q.RANGE, to_date=True), unit=SECONDS, width=85),
        Column("p95", q.quantile("0.95", by, window=q.RANGE, to_date=True), unit=SECONDS, width=85),
        Column("p99", q.quantile("0.99", by, window=q.RANGE, to_date=True), unit=SECONDS, width=85),
        Column("Slow", q.total(names.SLOW, by), unit="locale", width=70),
        sort=("Failed", "p95"),
    )
    start = f"max by (run_id) (last_over_time({names.START}[$__range]))"
    runs = grid(
        "Runs in the time range",
        "A click on a run shows it from its start to its stop.",
        Column("Run", label="run_id", look={"links": [_OPEN]}),
        Column("Started", f"floor(1000 * {start})", unit="dateTimeAsIso", width=155),
        Column(
            "Ended",
            f"ceil(1000 * ({start} + max by (run_id) (last_over_time({names.ELAPSED}[$__range]))))",
            unit="dateTimeAsIso",
            width=155,
        ),
        Column("Requests", f"sum by (run_id) (max_over_time({names.REQUESTS}[$__range]))", unit="locale", width=85),
        sort=("Started",),
    )
    return [(9, [(15, endpoints), (9, runs)])]


def live() -> d.Dashboard:
    """Return the dashboard."""
    return frame.board(
        UID,
        "Locust: live run",
        "How a Locust run goes: header, throughput, users, latency, failures, endpoints.",
        [
            frame.run(),
            frame.several("name", "Name", names.REQUESTS),
            frame.several("user_class", "User class", names.REQUESTS),
        ],
        [*header(), *_graphs(), *_tables()],
    )
