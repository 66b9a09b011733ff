"""Game day: what was broken, when the alerts came and went, what users had of it, and the service's own target."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, names
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    COUNT,
    GREEN,
    GREY,
    LIMIT,
    NO_SLO,
    ORANGE,
    PER_SECOND,
    RATIO,
    SECONDS,
    VERMILLION,
    Column,
    Query,
    colour,
    figure,
    graph,
    grid,
    timeline,
    values,
)
from locust_otel.gameday.mark_client import FAULT_END, FAULT_START

UID = "locust-otel-gameday"
STATES = values(_0=("quiet", GREEN), _1=("pending", ORANGE), _2=("firing", VERMILLION), _3=("broken", GREY))
START, END = f'kind="{FAULT_START}"', f'kind="{FAULT_END}"'
MARKS = names.MARKS
FIRING = q.Selector('run_id="$run_id", alertstate="firing", severity!="none"')
PENDING = q.Selector('run_id="$run_id", alertstate="pending", severity!="none"')
SERVICE = q.Selector('job=~"$service_job"')


def _first(series: str, by: str, step: str = q.RANGE) -> str:
    """Return the Unix time at which a series first had a sample in the time range."""
    return f"min by ({by}) (min_over_time(timestamp({series})[{step}:$__interval]))"


def _line() -> object:
    """Return faults and alerts on one time line."""
    begun = f"sum by (mark) ({q.RUN.of(MARKS, START)})"
    ended = f"sum by (mark) ({q.RUN.of(MARKS, END)})"
    by = "max by (alertname, slo, severity)"
    return timeline(
        "Faults and alerts",
        "A band for each fault while it is broken, and for each alert while it is pending or firing: they show how "
        "long after the start of a fault an alert begins, and how long after its end it ends.",
        STATES,
        # Once a fault has ended as often as it has begun, its band ends.
        Query(f"3 * (({begun} - ({ended} or 0 * {begun})) > bool 0)", "fault {{mark}}"),
        Query(
            f"2 * {by} ({FIRING.of('ALERTS')})\nor\n{by} ({PENDING.of('ALERTS')})", "{{alertname}} {{slo}} {{severity}}"
        ),
        no_data="No fault was marked, and no alert of this run was pending or firing",
    )


def _burn() -> object:
    return graph(
        "SLO burn",
        "How many times faster than allowed the error budget of each objective goes, over each window, and the factors "
        "at which the alerts begin.",
        "suffix: x",
        Query(f"max by (slo, window) ({q.RUN.of('locust_slo:burn_rate:rate')})", "{{slo}} over {{window}}"),
        Query(
            f"max by (severity, window) ({q.RUN.of('locust_slo:burn_rate:factor')})",
            "factor {{severity}} {{window}}",
            look=LIMIT,
        ),
        no_data=NO_SLO,
    )


def _bad() -> object:
    bad = 'outcome="bad"'
    return graph(
        "Bad events",
        "Requests a second that miss an objective: the first one after a fault begins, the last one before users have "
        "recovered.",
        PER_SECOND,
        Query(q.rate("locust_slo_events_total", "slo", bad, of=q.RUN), "{{slo}}"),
        no_data=NO_SLO,
    )


def _times() -> list[tuple[int, object]]:
    faults = _first(q.RUN.of(MARKS, START), "mark")
    ends = _first(q.RUN.of(MARKS, END), "mark")
    alerts = _first(FIRING.of("ALERTS"), "alertname, slo, severity")
    start = f"max(max_over_time({q.RUN.over(names.START, q.RANGE)}))"
    lasts = f"max by (alertname, slo, severity) (max_over_time(timestamp({FIRING.of('ALERTS')})[$__range:$__interval]))"
    none = "No fault was marked"
    return [
        (
            10,
            grid(
                "Faults",
                "When each fault began and ended, in seconds since the start of the run. A fault that comes twice is "
                "told of once; the scorecard of `locust-otel gameday` has each.",
                Column("Fault", label="mark"),
                Column("Began", f"{faults}\n- on () group_left () {start}", unit=SECONDS, width=110),
                Column("Ended", f"{ends}\n- on () group_left () {start}", unit=SECONDS, width=110),
                no_data=none,
            ),
        ),
        (
            14,
            grid(
                "Alerts: detection and recovery",
                "When each alert first and last fired, in seconds since the start of the run: hold them against the "
                "faults beside.",
                Column("Alert", label="alertname"),
                Column("Objective", label="slo", width=130),
                Column("Severity", label="severity", width=90),
                Column("First fired", f"{alerts}\n- on () group_left () {start}", unit=SECONDS, width=110),
                Column("Last fired", f"{lasts}\n- on () group_left () {start}", unit=SECONDS, width=110),
                no_data="No alert of this run fired",
            ),
        ),
    ]


def gameday() -> d.Dashboard:
    """Return the dashboard."""
    by = "max by (alertname, slo, severity)"
    first_fault = f"min(min_over_time(timestamp({q.RUN.of(MARKS, START)})[$__range:$__interval]))"
    first_alert = f"min(min_over_time(timestamp({FIRING.of('ALERTS')})[$__range:$__interval]))"
    spent = f"max by (slo) (max_over_time({q.RUN.over('locust_slo:error_budget:spent', q.RANGE)}))"
    head = [
        (
            6,
            figure(
                "Time to detect",
                "From the start of the first fault in the time range to the first alert that fired; zoom in on one "
                "fault for its own.",
                SECONDS,
                Query(f"{first_alert}\n- {first_fault}", instant=True),
            ),
        ),
        (
            6,
            figure(
                "Faults made",
                "Marks that say that a fault began.",
                COUNT,
                Query(f"sum(max_over_time({q.RUN.over(MARKS, q.RANGE, START)}))", instant=True),
            ),
        ),
        (
            6,
            figure(
                "Alerts fired",
                "Alerts of this run that have fired, each by objective and severity.",
                COUNT,
                Query(f"count({by} (max_over_time({FIRING.over('ALERTS', q.RANGE)})))", instant=True),
            ),
        ),
        (
            6,
            figure(
                "Budget spent",
                "The most that the run has spent of the period's error budgets.",
                RATIO,
                Query(f"max({spent})", instant=True),
                no_data="–",
            ),
        ),
    ]
    failures = graph(
        "Failed requests",
        "Share of the requests that fail.",
        RATIO,
        Query(q.failure_ratio(of=q.RUN), "failed", look=colour(VERMILLION)),
    )
    latency = graph(
        "Latency",
        "Half of the requests are faster than the lower line, all but one in a hundred faster than the upper one.",
        SECONDS,
        Query(q.quantile("0.5", of=q.RUN), "p50"),
        Query(q.quantile("0.99", of=q.RUN), "p99", look=colour(ORANGE)),
    )
    up = graph(
        "The service's targets",
        "Whether Prometheus can scrape the service under test: 1 yes, 0 no. Choose its job above, and put panels of "
        "its own below.",
        COUNT,
        Query(f"max by (job, instance) ({SERVICE.of('up')})", "{{job}} {{instance}}"),
        no_data="No target of that job",
    )
    return frame.board(
        UID,
        "Locust: game day",
        "Faults on a time line, and whether the alerts came and went in time.",
        [frame.run(), frame.query_variable("service_job", "Service's job", "label_values(up, job)")],
        [
            (4, head),
            (9, [(24, _line())]),
            (9, [(12, _burn()), (12, _bad())]),
            (8, _times()),
            "The service under test",
            (8, [(8, failures), (8, latency), (8, up)]),
        ],
    )
