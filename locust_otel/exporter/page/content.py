"""The values of the live page: numbers, and texts that it shows unchanged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import islice
from time import time
from typing import Any

from locust_otel.core.catalogue import INVALID_REASONS
from locust_otel.core.histogram import joined
from locust_otel.core.snapshot import RunSnapshot, SeriesSnapshot, Snapshot
from locust_otel.exporter.page.curves import RECENT_S, Curves, RecentRequests, recent_requests, rounded
from locust_otel.exporter.run import Run
from locust_otel.slo import text
from locust_otel.slo.counts import Endpoint
from locust_otel.slo.objectives import span, spoken
from locust_otel.slo.progress import Progress, Standing
from locust_otel.slo.validity import WORDS
from locust_otel.slo.verdict import Result, Status

MAX_MARKS = 50  # the last ones
MAX_ENDPOINTS = 100  # those with the most requests

_STATES = {"spawning": "starts its users", "running": "is running", "stopping": "stops its users"}


def content(snapshot: Snapshot, run: Run | None, curves: Curves) -> dict[str, Any]:
    """Return all values but those of the curves; the lock of the session must be held."""
    taken = snapshot.run
    if taken is None or run is None:
        return {"time": time(), "sentence": "No run has started yet.", "run": None, "slo": None, "marks": []}
    slo = _slo(run.progress.judge(taken.requests, taken.elapsed_s), run.progress, taken) if run.progress else None
    # Validity is shown as long as there are new numbers.
    reasons = [WORDS[reason] for reason in INVALID_REASONS if taken.active and reason in snapshot.invalid_reasons]
    last = curves.last() if taken.active and curves.run_id == taken.run_id else {}
    return {
        "time": time(),
        "sentence": _sentence(taken, slo, reasons),
        "run": _run(snapshot, taken, reasons),
        "now": {name: last.get(name) for name in ("bytes", "cpu", "lag_s")},
        **_endpoints(taken, curves),
        "slo": slo,
        "marks": _marks(run, taken.start_time),
        "marks_in_all": sum(taken.marks.values()),
    }


def _run(snapshot: Snapshot, run: RunSnapshot, reasons: list[str]) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "state": run.state,
        "is_active": run.active,
        "is_final": snapshot.is_final,
        "start_time": run.start_time,
        "elapsed_s": run.elapsed_s,
        "host": run.info.get("host", ""),
        "users": sum(run.users.values()),
        "users_target": sum(run.users_target.values()),
        "workers": None if snapshot.workers_expected is None else len(snapshot.workers),
        "body_bytes": sum(series.body_bytes for series in run.requests.series),
        "invalid": reasons,
    }


def _endpoints(run: RunSnapshot, curves: Curves) -> dict[str, Any]:
    """Return the endpoints with the most requests, and the sum of all.

    Rates and percentiles are those of the last `RECENT_S` while the run is active, then those of the whole run.
    """
    by_endpoint: dict[Endpoint, list[SeriesSnapshot]] = defaultdict(list)
    for series in run.requests.series:
        by_endpoint[series.key[:2]].append(series)
    busiest = sorted(by_endpoint, key=lambda endpoint: -_total(by_endpoint[endpoint]))
    layout = run.requests.layout

    def row(series: Sequence[SeriesSnapshot], endpoint: Endpoint | None = None) -> dict[str, Any]:
        requests = _total(series)
        failures = _total([failed for failed in series if failed.key.outcome == "failure"])
        recent = RecentRequests()
        if not run.active:
            counts = joined(part.counts for part in series)
            recent = recent_requests(layout, counts, requests, failures, run.elapsed_s)
        elif curves.run_id == run.run_id:
            recent = curves.recent(layout, endpoint)
        method, name = endpoint or ("", "all")
        return {
            "method": method,
            "name": name,
            "requests": requests,
            "failures": failures,
            "rate": rounded(recent.rate),
            "failure_rate": rounded(recent.failure_rate),
            **dict(zip(("p50_s", "p95_s", "p99_s"), map(rounded, recent.times_s), strict=True)),
        }

    return {
        "recent_s": RECENT_S if run.active else None,
        "endpoints": [row(by_endpoint[endpoint], endpoint) for endpoint in sorted(busiest[:MAX_ENDPOINTS])],
        "endpoints_in_all": len(by_endpoint),
        "total": row(run.requests.series),
    }


def _total(several: Sequence[SeriesSnapshot]) -> int:
    return sum(series.total for series in several)


def _slo(standing: Standing, progress: Progress, run: RunSnapshot) -> dict[str, Any]:
    slo = standing.slo
    warmup_left_s = max(float(slo.warmup_s) - run.elapsed_s, 0.0)
    return {
        "service": slo.service,
        "source": slo.source,
        "period": spoken(slo.period_s),
        "warmup": spoken(slo.warmup_s),
        "warmup_left_s": warmup_left_s if standing.is_warming_up else 0.0,
        "is_warming_up": standing.is_warming_up,
        "judged_s": standing.judged_s,
        "verdict": standing.verdict.value,
        "doubt": standing.doubt.missing or standing.doubt.late,
        "aborted": None if standing.aborted is None else text.burning(standing.aborted),
        "burning": [{"severity": pair.window.severity, "text": text.burning(pair)} for pair in standing.burning],
        "objectives": [_objective(result, progress) for result in standing.results],
    }


def _objective(result: Result, progress: Progress) -> dict[str, Any]:
    objective, counts, worst = result.objective, result.counts, result.worst
    is_mean = objective.target is None
    return {
        "name": objective.name,
        "asked": objective.sentence,
        "status": result.status.value,
        "note": result.note,
        "actual": text.actual(result),
        "counts": counts,
        "budget_spent": result.budget_spent,
        "budget": None if is_mean else "–" if result.budget_spent is None else f"{result.budget_spent:.0%}",
        "worst": None if worst is None else (worst.method, worst.name, worst.counts, worst.value),
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


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}x" if rate < 100 else f"{rate:.0f}x"


def _marks(run: Run, start_time: float) -> list[dict[str, Any]]:
    last = islice(reversed(run.marked), MAX_MARKS)
    return [{"at_s": at_s, "time": start_time + at_s, "mark": mark, "kind": kind} for at_s, mark, kind in last]


def _sentence(run: RunSnapshot, slo: dict[str, Any] | None, reasons: list[str]) -> str:
    """Return the state of the run in one or two sentences, without numbers that change each second."""
    ended = "was lost: Locust ended without stopping it" if run.state == "lost" else "is over"
    parts = [f"Run {run.run_id} {_STATES.get(run.state, ended)}"]
    if slo is not None and slo["is_warming_up"]:
        parts[0] += " and warms up; nothing is judged yet" if run.active else "; it ended within its warm-up"
    elif slo is not None:
        by_status = Counter(objective["status"] for objective in slo["objectives"])
        counted = [f"{by_status[status.value]} {status.value}" for status in Status if by_status[status.value]]
        parts.append(f"objectives: {', '.join(counted)}")
    sentence = "; ".join(parts)
    if reasons:
        sentence += f". Its numbers are not valid now: {', '.join(reasons)}"
    return f"{sentence}."
