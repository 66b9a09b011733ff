"""Sawtooth: stalls at regular intervals, at any load."""

from __future__ import annotations

import numpy as np

from locust_otel.core.words import duration
from locust_otel.review.analysis.finding import Finding, Pattern
from locust_otel.review.analysis.statistics import Period, filled, period, running_median
from locust_otel.review.analysis.timeline import Flags, Floats, Timeline, jumps, stretches

_LEAST_RISE = 1.5
_CALM = 1.3
_WINDOW_S = 120.0


def sawtooth(timeline: Timeline, kept: Flags) -> tuple[Finding | None, Flags]:
    """Return the finding, and flags of the intervals without a stall."""
    all_calm = np.ones(len(timeline), bool)
    if len(timeline) < 40:
        return None, all_calm
    step_s = float(np.median(timeline.length_s))
    rises, repeated = _repeated(timeline, kept, step_s)
    if repeated is None or repeated.strength < 0.35 or repeated.strength_twice < 0.25:
        return None, all_calm
    height = float(np.quantile(rises, 0.97))
    stalled = rises > 0.5 * height
    if np.exp(height) < _LEAST_RISE or stalled.mean() > 0.5 or _is_of_steps(timeline, repeated.steps * step_s):
        return None, all_calm
    # Latency that follows the load is not a stall.
    users = timeline.users - running_median(timeline.users, max(3, round(2 * repeated.steps)))
    with np.errstate(invalid="ignore"):
        with_users = float(np.nan_to_num(np.corrcoef(rises, users)[0, 1])) if np.ptp(users) > 0 else 0.0
    if abs(with_users) > 0.5:
        return None, all_calm
    calm = rises < np.log(_CALM)
    return _finding(timeline, repeated, stalled, calm, with_users), calm


def _repeated(timeline: Timeline, kept: Flags, step_s: float) -> tuple[Floats, Period | None]:
    """Return the rise of log latency above the usual latency, and its period."""
    rises = np.clip(residuals(timeline, step_s), 0.0, np.log(20.0))
    shortest = max(3, round(4 / step_s))
    repeated = period(rises, shortest)
    if repeated is not None and _is_of_steps(timeline, repeated.steps * step_s):
        # Latency has not settled right after a step of the load, and the steps may be regular too.
        rises = np.where(kept, rises, 0.0)
        repeated = period(rises, shortest)
    return rises, repeated


def residuals(timeline: Timeline, step_s: float) -> Floats:
    """Return the log of the latency of each interval over the usual latency at its load."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = filled(np.log(timeline.totals.requests_s / timeline.totals.requests))
    usual = running_median(values, min(len(values) // 3, round(_WINDOW_S / step_s)))
    for first, end in stretches(timeline, np.ones(len(values), bool)):
        if (end - first) * step_s <= _WINDOW_S:
            usual[first:end] = np.median(values[first:end])
    return values - usual


def _is_of_steps(timeline: Timeline, period_s: float) -> bool:
    """Return whether the load changes with this period."""
    steps = timeline.end_s[jumps(timeline.users)]
    return len(steps) >= 3 and abs(float(np.median(np.diff(steps))) / period_s - 1) < 0.08


def _finding(timeline: Timeline, repeated: Period, stalled: Flags, calm: Flags, with_users: float) -> Finding:
    step_s = float(np.median(timeline.length_s))
    period_s = repeated.steps * step_s
    cycles = int(len(timeline) / repeated.steps)
    begins = int(np.sum(stalled[1:] & ~stalled[:-1])) + int(stalled[0])
    totals = timeline.totals
    during_s, between_s = (
        float(totals.requests_s[moments].sum() / max(totals.requests[moments].sum(), 1)) for moments in (stalled, calm)
    )
    stall_s = float(stalled.sum()) * step_s / max(cycles, 1)
    confidence = 0.35 + 0.6 * repeated.strength + 0.2 * min(cycles - 4, 6) / 6 - 0.4 * abs(with_users)
    return Finding(
        Pattern.SAWTOOTH,
        f"Requests stall every {period_s:.1f} s, at every load.",
        (
            f"Latency repeats every {period_s:.1f} s (autocorrelation {repeated.strength:.2f} after one period, "
            f"{repeated.strength_twice:.2f} after two), over {cycles} periods with {begins} stalls.",
            f"A stall takes about {stall_s:.1f} s; requests take {duration(during_s)} on average during stalls and "
            f"{duration(between_s)} between them.",
            f"Stalls do not follow the load: their correlation with users is {with_users:+.2f}.",
        ),
        float(np.clip(confidence, 0.3, 0.98)),
        figures={
            "period_s": period_s, "strength": repeated.strength, "cycles": cycles, "stall_s": stall_s,
            "during_s": during_s, "between_s": between_s, "correlation_with_users": with_users,
        },
        since_s=float(timeline.start_s[int(np.argmax(stalled))]),
    )  # fmt: skip
