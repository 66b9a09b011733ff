"""SLO: objectives, their status, error budgets, burn rates and alerts."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, queries
from dashboards.generate import promql as q
from dashboards.generate.panels import (
    GREEN,
    GREY,
    LIMIT,
    NO_SLO,
    ORANGE,
    RATIO,
    SECONDS,
    SKY,
    VERMILLION,
    Column,
    Query,
    colour,
    graph,
    grid,
    timeline,
    values,
)
from locust_otel.core import catalogue
from locust_otel.slo.rules import names
from locust_otel.slo.rules.promql import lines, on

UID = "locust-otel-slo"
SLO = q.Selector((q.RUN_ID, 'slo=~"$slo"'))
BUDGET = q.Selector((q.RUN_ID, 'slo=~"$budget"'))
STATUS = values(
    {
        "met": ("met", GREEN),
        "missed": ("missed", VERMILLION),
        "undecided": ("undecided", GREY),
        "invalid": ("not valid", ORANGE),
    }
)


def _by_slo(series: str) -> str:
    return f"max by (slo) ({SLO.series(series)})"


def _table() -> object:
    by = ("slo", "slo_service")
    info = q.last(names.INFO, *by, "sli", "target", "within", "period", scope=SLO)
    return grid(
        "Objectives",
        "Each objective of the SLO file: its target, the result to date, and the error budget that is left. An "
        "objective on the mean has no budget.",
        Column("Objective", label="slo"),
        Column("Service", label="slo_service", width=130),
        Column("About", info, hidden=True),
        Column("Kind", label="sli", width=90),
        Column("Target", label="target", width=90),
        Column("Within", label="within", width=90),
        Column("Period", label="period", width=80),
        Column(
            "Good",
            f"1 - {q.last(names.ERROR_RATIO_TO_DATE, *by, scope=SLO)}",
            unit=RATIO,
            width=100,
            look={"decimals": 3},
        ),
        Column("Mean", q.last(names.MEAN_TO_DATE, *by, scope=SLO), unit=SECONDS, width=90),
        Column(
            "Budget left", q.last(names.BUDGET_REMAINING, *by, scope=SLO), unit=RATIO, width=110, look={"decimals": 0}
        ),
        Column("_", f"{q.last(catalogue.SLO_STATUS, *by, 'status', scope=SLO)} == 1", hidden=True),
        Column(
            "Status",
            label="status",
            width=110,
            look={"mappings": STATUS, "custom.cellOptions": {"type": "color-background", "mode": "basic"}},
        ),
        no_data=NO_SLO,
    )


def _burn() -> object:
    panel = graph(
        "Burn rate: $budget",
        "Burn rate over each window of the alerts, and the limit of each pair of windows. An alert fires when the burn "
        "rate is above the limit in both windows.",
        "suffix: x",
        Query(f"max by (window) ({BUDGET.series(names.BURN_RATE)})", "over {{window}}"),
        Query(
            f"max by (severity, window) ({BUDGET.series(names.BURN_FACTOR)})",
            "factor {{severity}} {{window}}",
            look=LIMIT,
        ),
        no_data=NO_SLO,
    )
    return panel.repeat("budget").repeat_direction("h").max_per_row(3)


def _graphs() -> list[tuple[int, object]]:
    remaining = graph(
        "Error budget left",
        "Share of each budget that is left: 100 % at the start, 0 if it is spent, below 0 if it is overspent. The "
        "graph ends at -100 %.",
        RATIO,
        Query(f"clamp_min({_by_slo(names.BUDGET_REMAINING)}, -1)", "{{slo}}"),
        no_data=NO_SLO,
    )
    errors = graph(
        "Error ratio to date",
        "The ratio that decides the verdict, and the budget as a dashed line.",
        RATIO,
        Query(_by_slo(names.ERROR_RATIO_TO_DATE), "{{slo}}"),
        Query(_by_slo(names.BUDGET), "budget {{slo}}", look=LIMIT),
        no_data=NO_SLO,
    )
    mean = graph(
        "Mean latency against its threshold",
        "Objectives on the mean: current mean, mean to date, and threshold.",
        SECONDS,
        Query(f"max by (slo, window) ({SLO.series(names.MEAN)})", "{{slo}} over {{window}}"),
        Query(_by_slo(names.MEAN_TO_DATE), "{{slo}} to date", look=colour(SKY)),
        Query(
            lines(_by_slo(names.THRESHOLD), f"and {on('slo')}", _by_slo(names.MEAN_TO_DATE)),
            "threshold {{slo}}",
            look=LIMIT,
        ),
        no_data="No data: no objective on the mean",
    )
    return [(8, remaining.min(-1).max(1)), (8, errors), (8, mean)]


def _alerts() -> object:
    active = q.RUN.series(catalogue.RUN_ACTIVE)
    return timeline(
        "Alerts",
        "State of the alerts of this run: quiet, pending (true, but not for long enough) or firing.",
        values(queries.ALERT_STATES),
        Query(lines(f"2 * max({q.FIRING})", "or", f"max({q.PENDING})", "or", f"0 * max({active})"), "any alert"),
        Query(q.alert_states("alertname", "slo"), "{{alertname}} {{slo}}"),
        no_data="No alert of this run was pending or firing",
    )


def slo() -> d.Dashboard:
    """Return the dashboard."""
    budget = frame.repeated("budget", "Budget", catalogue.SLO_OBJECTIVE, "slo")
    return frame.board(
        UID,
        "Locust: SLO",
        "Objectives, error budgets, burn rates and alerts of a Locust run.",
        [
            frame.run(),
            frame.several("slo", "Objective", catalogue.SLO_STATUS),
            budget.hide(d.VariableHide.HIDE_VARIABLE),
        ],
        [(6, [(24, _table())]), (9, [(24, _burn())]), (9, _graphs()), (8, [(24, _alerts())])],
    )
