"""SLO: what was promised, what is kept, how fast the budget goes, and which alerts said so."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d

from dashboards.generate import frame, names
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

UID = "locust-otel-slo"
SLO = q.Selector('run_id="$run_id", slo=~"$slo"')
BUDGET = q.Selector('run_id="$run_id", slo=~"$budget"')
BY = "slo, slo_service"
STATUS = values(
    met=("met", GREEN), missed=("missed", VERMILLION), undecided=("undecided", GREY), invalid=("not valid", ORANGE)
)
ALERT = values(_0=("quiet", GREEN), _1=("pending", ORANGE), _2=("firing", VERMILLION))


def _table() -> object:
    info = q.last("locust_slo:objective:info", f"{BY}, sli, target, within, period", of=SLO)
    status = f"max by ({BY}, status) (last_over_time({SLO.over('locust_slo_status', q.RANGE)})) == 1"
    actual = f"1 - {q.last('locust_slo:error_ratio:to_date', BY, of=SLO)}"
    return grid(
        "Objectives",
        "Each objective of the SLO file: what was promised, what the run has kept to date, and what is left of the "
        "error budget. An objective on the mean has no budget.",
        Column("Objective", label="slo"),
        Column("Service", label="slo_service", width=130),
        Column("About", info, hidden=True),
        Column("Kind", label="sli", width=90),
        Column("Target", label="target", width=90),
        Column("Within", label="within", width=90),
        Column("Period", label="period", width=80),
        Column("Good", actual, unit=RATIO, width=100, look={"decimals": 3}),
        Column("Mean", q.last("locust_slo:mean_seconds:to_date", BY, of=SLO), unit=SECONDS, width=90),
        Column(
            "Budget left",
            q.last("locust_slo:error_budget:remaining", BY, of=SLO),
            unit=RATIO,
            width=110,
            look={"decimals": 0},
        ),
        Column("_", status, hidden=True),
        Column(
            "Status",
            label="status",
            width=110,
            look={"mappings": STATUS, "custom.cellOptions": {"type": "color-background", "mode": "basic"}},
        ),
        no_data=NO_SLO,
    )


def _burn() -> object:
    return (
        graph(
            "Burn rate: $budget",
            "How many times faster than allowed the budget goes, for each window of the alerts, and the factor each "
            "pair of windows alerts at: an alert fires when its long and its short window are above their line.",
            "suffix: x",
            Query(f"max by (window) ({BUDGET.of('locust_slo:burn_rate:rate')})", "over {{window}}"),
            Query(
                f"max by (severity, window) ({BUDGET.of('locust_slo:burn_rate:factor')})",
                "factor {{severity}} {{window}}",
                look=LIMIT,
            ),
            no_data=NO_SLO,
        )
        .repeat("budget")
        .repeat_direction("h")
        .max_per_row(3)
    )


def slo() -> d.Dashboard:
    """Return the dashboard."""
    remaining = (
        graph(
            "Error budget left",
            "How each budget went: 100 % at the start, spent at 0, overspent below; drawn no lower than -100 %.",
            RATIO,
            Query(f"clamp_min(max by (slo) ({SLO.of('locust_slo:error_budget:remaining')}), -1)", "{{slo}}"),
            no_data=NO_SLO,
        )
        .min(-1)
        .max(1)
    )
    ratio = graph(
        "Bad events over all, to date",
        "What the verdict compares with the budget, which is the dashed line.",
        RATIO,
        Query(f"max by (slo) ({SLO.of('locust_slo:error_ratio:to_date')})", "{{slo}}"),
        Query(f"max by (slo) ({SLO.of('locust_slo:error_budget:ratio')})", "budget {{slo}}", look=LIMIT),
        no_data=NO_SLO,
    )
    mean = graph(
        "Mean latency against its threshold",
        "Of objectives on the mean: now, to date, and what was promised.",
        SECONDS,
        Query(f"max by (slo, window) ({SLO.of('locust_slo:mean_seconds:rate')})", "{{slo}} over {{window}}"),
        Query(f"max by (slo) ({SLO.of('locust_slo:mean_seconds:to_date')})", "{{slo}} to date", look=colour(SKY)),
        Query(
            f"max by (slo) ({SLO.of('locust_slo:threshold:seconds')})\nand on (slo)\n"
            f"max by (slo) ({SLO.of('locust_slo:mean_seconds:to_date')})",
            "promised {{slo}}",
            look=LIMIT,
        ),
        no_data="No data: no objective on the mean",
    )
    firing = 'ALERTS{run_id="$run_id", alertstate="firing", severity!="none"}'
    pending = 'ALERTS{run_id="$run_id", alertstate="pending", severity!="none"}'
    by = "max by (alertname, slo)"
    alerts = timeline(
        "Alerts",
        "State of the alerts of this run: quiet, pending (true, but not for long enough) or firing.",
        ALERT,
        Query(f"2 * max({firing})\nor\nmax({pending})\nor\n0 * max({q.RUN.of(names.ACTIVE)})", "any alert"),
        Query(f"2 * {by} ({firing})\nor\n{by} ({pending})", "{{alertname}} {{slo}}"),
        no_data="No alert of this run was pending or firing",
    )
    return frame.board(
        UID,
        "Locust: SLO",
        "Objectives, error budgets, burn rates and alerts of a Locust run.",
        [
            frame.run(),
            frame.several("slo", "Objective", "locust_slo_status"),
            frame.each("budget", "Budget", "locust_slo_objective_ratio", "slo").hide(d.VariableHide.HIDE_VARIABLE),
        ],
        [
            (6, [(24, _table())]),
            (9, [(24, _burn())]),
            (9, [(8, remaining), (8, ratio), (8, mean)]),
            (8, [(24, alerts)]),
        ],
    )
