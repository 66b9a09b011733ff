"""Generator health: whether the load generator, and our own exports, can be believed."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, names
from dashboards.generate import promql as q
from dashboards.generate.live import VALIDITY
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

UID = "locust-otel-generator"
WORKER = q.Selector('run_id="$run_id", worker=~"$worker"')


def _total(metric: str, legend: str = "") -> Query:
    """Return the highest value of a metric of our own health, over the processes that have the run."""
    return Query(
        f"sum(max_over_time({metric}[$__range])\nand on (job, instance)\n"
        f"last_over_time({q.RUN.over(names.INFO, q.RANGE)}))",
        legend,
        instant=True,
    )


def _figures() -> list[tuple[int, object]]:
    missing, present = 'state="missing"', 'state!="missing"'
    return [
        (
            4,
            figure(
                "Numbers valid?",
                "No where the load generator was too slow at any moment of the time range: the latencies then tell "
                "of the generator, not of the service.",
                COUNT,
                Query(f"min(min_over_time({q.RUN.over(names.VALID, q.RANGE)}))", instant=True),
            ).mappings(VALIDITY),
        ),
        (
            5,
            figure(
                "Workers",
                "Most workers that were there at a time, and how many were asked for; a local run has none.",
                COUNT,
                Query(
                    f"max_over_time(sum({q.RUN.of(names.WORKERS, present)})[$__range:$__interval])",
                    "there",
                    instant=True,
                ),
                Query(f"max(max_over_time({q.RUN.over(names.WORKERS_EXPECTED, q.RANGE)}))", "asked for", instant=True),
                no_data="local run",
            ),
        ),
        (
            4,
            figure(
                "Missing workers",
                "Most workers that were missing at a time: their users make no requests.",
                COUNT,
                Query(f"max(max_over_time({q.RUN.over(names.WORKERS, q.RANGE, missing)}))", instant=True),
                no_data="local run",
            ),
        ),
        (
            4,
            figure(
                "Not accounted for",
                "Requests that Locust counted and this bridge did not, at the end of the time range. Anything but 0 "
                "is a fault, but for what is under way between workers and master.",
                COUNT,
                Query(
                    f"sum(last_over_time({names.UNRECONCILED}[$__range])\nand on (job, instance)\n"
                    f"last_over_time({q.RUN.over(names.INFO, q.RANGE)}))",
                    instant=True,
                ),
            ),
        ),
        (
            4,
            figure(
                "Folded requests",
                "Requests counted under the name _OTHER since there were more names than --max-request-names.",
                COUNT,
                _total(names.FOLDED),
            ),
        ),
        (
            3,
            figure(
                "Series",
                "Request series held: method, name, user class and outcome.",
                COUNT,
                _total(names.SERIES),
            ),
        ),
    ]


def _process() -> list[tuple[int, object]]:
    cpu = graph(
        "CPU",
        "Share of the one core that each generating process can use; near 100 % it sends less than it should.",
        RATIO,
        Query(f"max by (worker) ({WORKER.of(names.CPU)})", "{{worker}}"),
    ).max(1)
    lag = graph(
        "Loop lag, p99",
        "How late the event loop wakes up what is due, in 99 % of the cases: that much is added to a latency it "
        "measures.",
        SECONDS,
        Query(q.quantile("0.99", "worker", metric=names.LAG, of=WORKER), "{{worker}}"),
    )
    memory = graph(
        "Memory",
        "Resident memory of each generating process.",
        BYTES,
        Query(f"max by (worker) ({WORKER.of(names.MEMORY)})", "{{worker}}"),
    )
    exporter = figure(
        "Exporter process",
        "How often it was replaced after it had died, and reports that were merged into the next one since it had not "
        "read the last one yet. Neither loses a request.",
        COUNT,
        _total(names.EXPORTER_RESTARTS, "restarts"),
        _total(names.REPORTS_MERGED, "merged reports"),
    )
    return [(7, cpu), (7, lag), (6, memory), (4, exporter)]


def _workers() -> list[tuple[int, object]]:
    users = graph(
        "Users per worker",
        "Simulated users of each worker: Locust spreads them evenly.",
        COUNT,
        Query(f"sum by (worker) ({WORKER.of(names.WORKER_USERS)})", "{{worker}}"),
        stacked=True,
    )
    states = graph(
        "Workers by state",
        "As Locust's master sees them, and how many are expected.",
        COUNT,
        Query(f"sum by (state) ({q.RUN.of(names.WORKERS)}) > 0", "{{state}}"),
        Query(f"max({q.RUN.of(names.WORKERS_EXPECTED)})", "expected", look=LIMIT),
        stacked=True,
        no_data="No workers: a local run",
    )
    for state, color in {"running": SKY, "spawning": ORANGE, "ready": GREY, "missing": VERMILLION}.items():
        states.override_by_name(state, properties(colour(color)))
    valid = timeline(
        "Numbers valid?",
        "When the load generator kept up, and when it was too slow for its latencies to be believed.",
        VALIDITY,
        Query(f"min({q.RUN.of(names.VALID)})", "valid"),
    )
    return [(8, users), (8, states), (8, valid)]


def _exports() -> list[tuple[int, object]]:
    by = "exporter, outcome"
    done = graph(
        "Exports",
        "Scrapes answered and pushes made, by outcome.",
        PER_SECOND,
        Query(f"sum by ({by}) ({q.of_this_process(f'rate({names.EXPORTS}[{q.RATE}])')})", "{{exporter}} {{outcome}}"),
    ).decimals(2)
    took = graph(
        "Time an export takes",
        "Mean over the exports of now, waits for the network included.",
        SECONDS,
        Query(
            f"sum by (exporter) ({q.of_this_process(f'rate({names.EXPORT_SECONDS}[{q.RATE}])')})\n/\n"
            f"(sum by (exporter) ({q.of_this_process(f'rate({names.EXPORTS}[{q.RATE}])')}) > 0)",
            "{{exporter}}",
        ),
    )
    age = graph(
        "Since the last good export",
        "Grows without end where an exporter has stopped to get through.",
        SECONDS,
        Query(f"time() - max by (exporter) ({q.of_this_process(names.LAST_EXPORT)} > 0)", "{{exporter}}"),
    )
    faults = graph(
        "Lost or not understood",
        "Points the other side took a push without, and events and worker reports this bridge could not make sense of.",
        PER_SECOND,
        Query(f"sum by (exporter) ({q.of_this_process(f'rate({names.REJECTED}[{q.RATE}])')})", "rejected {{exporter}}"),
        Query(
            f"sum({q.of_this_process(f'rate({names.LISTENER_ERRORS}[{q.RATE}])')})", "not understood", look=colour(SKY)
        ),
    )
    return [(6, done), (6, took), (6, age), (6, faults)]


def generator() -> d.Dashboard:
    """Return the dashboard."""
    return frame.board(
        UID,
        "Locust: generator health",
        "Whether the load generator kept up, and whether its numbers arrived.",
        [frame.run(), frame.several("worker", "Worker", names.WORKER_USERS)],
        [(4, _figures()), (8, _process()), (8, _workers()), (8, _exports())],
    )
