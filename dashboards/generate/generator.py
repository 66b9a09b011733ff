"""Generator health: whether the load generator kept up, and whether its telemetry arrived."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, queries
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    BYTES,
    COUNT,
    GREY,
    LIMIT,
    ORANGE,
    PER_SECOND,
    RATIO,
    SECONDS,
    SKY,
    VERMILLION,
    Query,
    colour,
    figure,
    graph,
    properties,
    timeline,
)
from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.slo.rules.promql import aggregated, lines, on, over, ratio

UID = "locust-otel-generator"
WORKER = q.Selector((q.RUN_ID, 'worker=~"$worker"'))


def _health(metric: Metric, legend: str = "", function: str = "max_over_time") -> Query:
    """Return a metric without run_id over the time range, summed over the processes of the run."""
    run = q.RUN.over("last_over_time", catalogue.RUN_INFO, q.RANGE)
    of_run = lines(over(function, metric.name, q.RANGE), f"and {on('job', 'instance')}", run)
    return Query(f"sum({of_run})", legend)


def _rate(metric: Metric, *by: str) -> str:
    """Return the increase per second of a counter without run_id, of the processes of the run."""
    return aggregated("sum", q.of_this_process(over("rate", metric.name, q.RATE)), *by)


def _figures() -> list[tuple[int, object]]:
    present = q.RUN.series(catalogue.WORKERS, 'state!="missing"')
    missing = q.RUN.over("max_over_time", catalogue.WORKERS, q.RANGE, state="missing")
    valid = figure(
        "Run valid?",
        queries.INVALID_NOTE,
        COUNT,
        Query(f"min({q.RUN.over('min_over_time', catalogue.RUN_VALID, q.RANGE)})"),
    ).mappings(queries.VALIDITY)
    workers = figure(
        "Workers",
        "The largest number of workers at a time, and their target. A local run has no workers.",
        COUNT,
        Query(over("max_over_time", f"sum({present})", q.STEPS), "present"),
        Query(f"max({q.RUN.over('max_over_time', catalogue.WORKERS_EXPECTED, q.RANGE)})", "target"),
        no_data="local run",
    )
    absent = figure(
        "Missing workers",
        "The largest number of workers that were missing at a time. Their users make no requests.",
        COUNT,
        Query(f"max({missing})"),
        no_data="local run",
    )
    unreconciled = figure(
        "Unreconciled requests",
        "Requests that Locust counted and locust-otel did not, at the end of the time range. During a run they may be "
        "on their way from workers to the master. After a run anything but 0 is a fault.",
        COUNT,
        _health(catalogue.UNRECONCILED, function="last_over_time"),
    )
    folded = figure(
        "Folded requests",
        "Requests counted under the name _OTHER because there were more names than --max-request-names.",
        COUNT,
        _health(catalogue.FOLDED_REQUESTS),
    )
    series = figure("Series", "Request series: method, name, user class and outcome.", COUNT, _health(catalogue.SERIES))
    return [(4, valid), (5, workers), (4, absent), (4, unreconciled), (4, folded), (3, series)]


def _process() -> list[tuple[int, object]]:
    cpu = graph(
        "CPU",
        "Share of its one core that each generating process uses. Near 100 % it sends fewer requests than it should.",
        RATIO,
        Query(f"max by (worker) ({WORKER.series(catalogue.WORKER_CPU)})", "{{worker}}"),
    ).max(1)
    lag = graph(
        "Loop lag, p99",
        "Delay of the event loop: 99 % of the wake-ups are late by at most this time. It adds to measured latencies.",
        SECONDS,
        Query(q.quantile("0.99", "worker", metric=catalogue.GENERATOR_LAG, scope=WORKER), "{{worker}}"),
    )
    memory = graph(
        "Memory",
        "Resident memory of each generating process.",
        BYTES,
        Query(f"max by (worker) ({WORKER.series(catalogue.WORKER_MEMORY)})", "{{worker}}"),
    )
    exporter = figure(
        "Exporter process",
        "Restarts of the exporter after it died, and reports merged into the next one because the exporter had not "
        "read them. Neither loses a request.",
        COUNT,
        _health(catalogue.EXPORTER_RESTARTS, "restarts"),
        _health(catalogue.REPORTS_MERGED, "merged reports"),
    )
    return [(7, cpu), (7, lag), (6, memory), (4, exporter)]


def _workers() -> list[tuple[int, object]]:
    users = graph(
        "Users per worker",
        "Simulated users of each worker: Locust spreads them evenly.",
        COUNT,
        Query(f"sum by (worker) ({WORKER.series(catalogue.WORKER_USERS)})", "{{worker}}"),
        stacked=True,
    )
    states = graph(
        "Workers by state",
        "Number of workers by state, from Locust's master, and the expected number.",
        COUNT,
        Query(f"sum by (state) ({q.RUN.series(catalogue.WORKERS)}) > 0", "{{state}}"),
        Query(f"max({q.RUN.series(catalogue.WORKERS_EXPECTED)})", "expected", look=LIMIT),
        stacked=True,
        no_data="No workers: a local run",
    )
    for state, color in {"running": SKY, "spawning": ORANGE, "ready": GREY, "missing": VERMILLION}.items():
        states.override_by_name(state, properties(colour(color)))
    valid = timeline(
        "Run valid?",
        "Times at which the load generator kept up (yes), and at which it was too slow for valid latencies (no).",
        queries.VALIDITY,
        Query(f"min({q.RUN.series(catalogue.RUN_VALID)})", "valid"),
    )
    return [(8, users), (8, states), (8, valid)]


def _exports() -> list[tuple[int, object]]:
    done = graph(
        "Exports",
        "Answered scrapes and pushes, by outcome.",
        PER_SECOND,
        Query(_rate(catalogue.EXPORTS, "exporter", "outcome"), "{{exporter}} {{outcome}}"),
    ).decimals(2)
    took = graph(
        "Export duration, mean",
        "Mean duration of the current exports, including waits for the network.",
        SECONDS,
        Query(
            ratio(_rate(catalogue.EXPORT_DURATION, "exporter"), _rate(catalogue.EXPORTS, "exporter")), "{{exporter}}"
        ),
    )
    age = graph(
        "Time since the last export",
        "Time since the last successful export of each exporter. It keeps growing if exports fail.",
        SECONDS,
        Query(f"time() - max by (exporter) ({q.of_this_process(catalogue.LAST_EXPORT.name)} > 0)", "{{exporter}}"),
    )
    faults = graph(
        "Rejected points, listener errors",
        "Data points rejected by the OTLP receiver, and events and worker reports that locust-otel could not process.",
        PER_SECOND,
        Query(_rate(catalogue.REJECTED_POINTS, "exporter"), "rejected {{exporter}}"),
        Query(
            f"sum({q.of_this_process(over('rate', catalogue.LISTENER_ERRORS.name, q.RATE))})",
            "not processed",
            look=colour(SKY),
        ),
    )
    return [(6, done), (6, took), (6, age), (6, faults)]


def generator() -> d.Dashboard:
    """Return the dashboard."""
    return frame.board(
        UID,
        "Locust: generator health",
        "Whether the load generator kept up, and whether its telemetry arrived.",
        [frame.run(), frame.several("worker", "Worker", catalogue.WORKER_USERS)],
        [(4, _figures()), (8, _process()), (8, _workers()), (8, _exports())],
    )
