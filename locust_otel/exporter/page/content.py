"""What the page in Locust's web UI shows, as plain values and ready texts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from time import time
from typing import Any

from locust_otel.core.catalogue import INVALID_REASONS
from locust_otel.core.snapshot import RunSnapshot, Snapshot
from locust_otel.plugin.bridge import Bridge
from locust_otel.plugin.run import Run
from locust_otel.slo import text
from locust_otel.slo.objectives import span, spoken
from locust_otel.slo.progress import Progress, Standing
from locust_otel.slo.validity import WORDS
from locust_otel.slo.verdict import Result, Status

MAX_MARKS = 50
"""Marks that are shown, the last ones."""


def told(bridge: Bridge, pause: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Return what there is to show now.

    Args:
        bridge: Whose run is shown.
        pause: Called between two objectives.
    """
    taken, run = bridge.snapshot(), bridge.run
    if taken.run is None or run is None:
        return {"time": time(), "sentence": "No run has started yet.", "run": None, "slo": None, "marks": []}
    standing = taken.run.slo
    slo = None
    if isinstance(standing, Standing) and run.slo is not None:
        slo = _slo(standing, run.slo, taken.run, pause)
    # Whether numbers can be believed is asked as long as there are new ones.
    reasons = [WORDS[reason] for reason in INVALID_REASONS if taken.run.active and reason in taken.invalid_reasons]
    return {
        "time": time(),
        "sentence": _sentence(taken.run, slo, reasons),
        "run": _run(taken, taken.run, reasons),
        "slo": slo,
        "marks": _marks(run, taken.run.start_time),
        "marks_in_all": sum(taken.run.marks.values()),
    }


def _run(taken: Snapshot, run: RunSnapshot, reasons: list[str]) -> dict[str, Any]:
    series = run.requests.series
    return {
        "id": run.run_id,
        "state": run.state,
        "is_active": run.active,
        "elapsed_s": run.elapsed_s,
        "host": run.info.get("host", ""),
        "users": sum(run.users.values()),
        "users_target": sum(run.users_target.values()),
        "workers": None if taken.workers_expected is None else len(taken.workers),
        "requests": run.requests.total,
        "failures": sum(each.total for each in series if each.key.outcome == "failure"),
        "invalid": reasons,
    }


def _slo(standing: Standing, progress: Progress, run: RunSnapshot, pause: Callable[[], None]) -> dict[str, Any]:
    slo = standing.slo
    objectives = []
    for objective in slo.objectives:
        objectives.append(_objective(standing.result(objective), progress))
        pause()
    warmup_left_s = max(float(slo.warmup_s) - run.elapsed_s, 0.0)
    return {
        "service": slo.service,
        "source": slo.source,
        "period": spoken(slo.period_s),
        "warmup_left_s": warmup_left_s if standing.is_warming_up else 0.0,
        "is_warming_up": standing.is_warming_up,
        "judged_s": standing.judged_s,
        "invalid": progress.validity.invalid(standing.judged_s),
        "aborted": None if standing.aborted is None else text.burning(standing.aborted),
        "objectives": objectives,
    }


def _objective(result: Result, progress: Progress) -> dict[str, Any]:
    objective, counts = result.objective, result.counts
    is_mean = objective.target is None
    worst = result.worst
    return {
        "name": objective.name,
        "asked": objective.sentence,
        "status": result.status.value,
        "note": result.note,
        "actual": text.actual(result),
        "good": None if is_mean else counts.good,
        "judged": counts.total,
        "budget_spent": result.budget_spent,
        "budget": None if is_mean else "–" if result.budget_spent is None else f"{result.budget_spent:.0%}",
        "worst": "" if worst is None or is_mean else f"{worst.method} {worst.name}: {counts_of(worst.counts.bad)}",
        "burn": [
            {
                "severity": window.severity,
                "long": span(window.long_s),
                "short": span(window.short_s),
                "long_rate": _rate(long_rate),
                "short_rate": _rate(short_rate),
                "factor": _rate(float(window.factor(Decimal(progress.slo.period_s)))),
                "is_burning": is_burning,
            }
            for window, long_rate, short_rate, is_burning in progress.rates(objective)
        ],
    }


def counts_of(bad: int) -> str:
    """Return a number of bad requests in words."""
    return f"{bad:,} bad request{'s'[: bad != 1]}"


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}x" if rate < 100 else f"{rate:.0f}x"


def _marks(run: Run, start_time: float) -> list[dict[str, Any]]:
    last = islice(reversed(run.marked), MAX_MARKS)
    return [{"at_s": at_s, "time": start_time + at_s, "mark": mark, "kind": kind} for at_s, mark, kind in last]


def _sentence(run: RunSnapshot, slo: dict[str, Any] | None, reasons: list[str]) -> str:
    """Return how things stand in a sentence or two, without numbers that change all the time."""
    what = {"spawning": "starts its users", "running": "goes on", "stopping": "stops its users"}.get(
        run.state, "is over"
    )
    parts = [f"Run {run.run_id} {what}"]
    if slo is not None and slo["is_warming_up"]:
        parts.append("it warms up, nothing is judged yet" if run.active else "it ended within its warm-up")
    elif slo is not None:
        by_status = dict.fromkeys(Status, 0)
        for objective in slo["objectives"]:
            by_status[Status(objective["status"])] += 1
        counted = [f"{count} {status.value}" for status, count in by_status.items() if count]
        parts.append(f"objectives: {', '.join(counted)}")
    sentence = ", ".join(parts) if slo is not None and slo["is_warming_up"] else "; ".join(parts)
    if reasons:
        sentence += f". Its numbers cannot be believed now: {', '.join(reasons)}"
    return sentence + "."
