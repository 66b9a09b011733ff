"""Game day: faults, the alerts that they cause, their effect on users, and the targets of the service."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, queries
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    COUNT,
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
from locust_otel.core import catalogue
from locust_otel.gameday.mark_client import FAULT_END, FAULT_START
from locust_otel.slo.rules import names
from locust_otel.slo.rules.promql import aggregated, lines, on, over, selector

UID = "locust-otel-gameday"
STATES = values(queries.ALERT_STATES | {"3": ("broken", GREY)})
STARTS, ENDS = (q.RUN.series(catalogue.MARKS, kind=kind) for kind in (FAULT_START, FAULT_END))
ALERT = ("alertname", "slo", "severity")


def _first(series: str) -> str:
    """Return the Unix time of the first sample of a series in the time range."""
    return over("min_over_time", f"timestamp({series})", q.STEPS)


def _figures() -> list[tuple[int, object]]:
    faults = q.RUN.over("max_over_time", catalogue.MARKS, q.RANGE, kind=FAULT_START)
    alerts = aggregated("max", over("max_over_time", q.FIRING, q.RANGE), *ALERT)
    spent = aggregated("max", q.RUN.over("max_over_time", names.BUDGET_SPENT, q.RANGE), "slo")
    panels = (
        figure(
            "Time to detect",
            "Time from the start of the first fault in the time range to the first alert that fired. Zoom in on "
            "another fault to see its time.",
            SECONDS,
            Query(f"min({_first(q.FIRING)})\n- min({_first(STARTS)})"),
        ),
        figure("Faults started", "Marks of the start of a fault.", COUNT, Query(f"sum({faults})")),
        figure(
            "Alerts fired",
            "Alerts of this run that fired, by objective and severity.",
            COUNT,
            Query(f"count({alerts})"),
        ),
        figure(
            "Budget spent",
            "The largest share of an error budget of the period that the run has spent.",
            RATIO,
            Query(f"max({spent})"),
        ),
    )
    return [(6, panel) for panel in panels]


def _line() -> object:
    """Return faults and alerts on one time line."""
    begun, ended = (aggregated("sum", series, "mark") for series in (STARTS, ENDS))
    return timeline(
        "Faults and alerts",
        "A band for each fault while it lasts, and for each alert while it is pending or firing: the time from the "
        "start of a fault to its alert, and from the end of the fault to the end of the alert.",
        STATES,
        # The band ends when the fault has as many ends as starts.
        Query(f"3 * (({begun} - ({ended} or 0 * {begun})) > bool 0)", "fault {{mark}}"),
        Query(q.alert_states(*ALERT), "{{alertname}} {{slo}} {{severity}}"),
        no_data="No fault was marked, and no alert of this run was pending or firing",
    )


def _objectives() -> list[tuple[int, object]]:
    burn = graph(
        "SLO burn",
        "Burn rate of each objective over each window, and the limits of the alerts.",
        "suffix: x",
        Query(f"max by (slo, window) ({q.RUN.series(names.BURN_RATE)})", "{{slo}} over {{window}}"),
        Query(
            f"max by (severity, window) ({q.RUN.series(names.BURN_FACTOR)})",
            "factor {{severity}} {{window}}",
            look=LIMIT,
        ),
        no_data=NO_SLO,
    )
    bad = graph(
        "Bad events",
        "Requests per second that miss an objective, from the first one after the start of a fault until users have "
        "recovered.",
        PER_SECOND,
        Query(q.rate(catalogue.SLO_EVENTS, "slo", scope=q.RUN, outcome="bad"), "{{slo}}"),
        no_data=NO_SLO,
    )
    return [(12, burn), (12, bad)]


def _times() -> list[tuple[int, object]]:
    start = f"max({q.RUN.over('max_over_time', catalogue.RUN_START, q.RANGE)})"
    lasts = over("max_over_time", f"timestamp({q.FIRING})", q.STEPS)

    def time(heading: str, function: str, series: str, *by: str) -> Column:
        query = lines(aggregated(function, series, *by), f"- {on()} group_left () {start}")
        return Column(heading, query, unit=SECONDS, width=110)

    faults = grid(
        "Faults",
        "Start and end of each fault, in seconds since the start of the run. A fault that comes twice has one row; the "
        "scorecard of `locust-otel gameday` has each of them.",
        Column("Fault", label="mark"),
        time("Began", "min", _first(STARTS), "mark"),
        time("Ended", "min", _first(ENDS), "mark"),
        no_data="No fault was marked",
    )
    alerts = grid(
        "Alerts: detection and recovery",
        "First and last time at which each alert fired, in seconds since the start of the run. Compare them with the "
        "faults on the left.",
        Column("Alert", label="alertname"),
        Column("Objective", label="slo", width=130),
        Column("Severity", label="severity", width=90),
        time("First fired", "min", _first(q.FIRING), *ALERT),
        time("Last fired", "max", lasts, *ALERT),
        no_data="No alert of this run fired",
    )
    return [(10, faults), (14, alerts)]


def _service() -> list[tuple[int, object]]:
    failures = graph(
        "Failed requests",
        "Share of the requests that fail.",
        RATIO,
        Query(q.failure_ratio(scope=q.RUN), "failed", look=colour(VERMILLION)),
    )
    latency = graph(
        "Latency",
        "50 % of the requests take at most the time of the lower line, 99 % at most that of the upper line.",
        SECONDS,
        Query(q.quantile("0.5", scope=q.RUN), "p50"),
        Query(q.quantile("0.99", scope=q.RUN), "p99", look=colour(ORANGE)),
    )
    up_series = selector("up", 'job=~"$service_job"')
    up = graph(
        "The service's targets",
        "Whether Prometheus can scrape the service under test: 1 is yes, 0 is no. Choose its job above, and add panels "
        "for its own metrics below.",
        COUNT,
        Query(f"max by (job, instance) ({up_series})", "{{job}} {{instance}}"),
        no_data="No target of that job",
    )
    return [(8, failures), (8, latency), (8, up)]


def gameday() -> d.Dashboard:
    """Return the dashboard."""
    return frame.board(
        UID,
        "Locust: game day",
        "Faults on a time line, and the alerts that they cause.",
        [frame.run(), frame.query_variable("service_job", "Service's job", "label_values(up, job)")],
        [
            (4, _figures()),
            (9, [(24, _line())]),
            (9, _objectives()),
            (8, _times()),
            "The service under test",
            (8, _service()),
        ],
    )
