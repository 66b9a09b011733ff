"""Sawtooth: stalls that come back at regular intervals, whatever the load."""

from __future__ import annotations

import numpy as np

from locust_otel.review.analysis.finding import FIXES, Finding, Pattern, seconds
from locust_otel.review.analysis.loads import stretches
from locust_otel.review.analysis.statistics import filled, period, running_median
from locust_otel.review.analysis.timeline import Flags, Floats, Timeline

_LEAST_RISE = 1.5
_CALM = 1.3
_WINDOW_S = 120.0


def residuals(timeline: Timeline) -> Floats:
    """Return the log of the latency of each interval over what is usual at its load."""
    totals = timeline.totals
    count = totals.good + totals.failed
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log((totals.good_s + totals.failed_s) / count)
    values = filled(np.where(np.isfinite(logs), logs, np.nan))
    step_s = _step(timeline)
    usual = running_median(values, min(len(values) // 3, round(_WINDOW_S / step_s)))
    for first, last in stretches(timeline, np.ones(len(values), bool)):
        if (last - first) * step_s <= _WINDOW_S:
            usual[first:last] = np.median(values[first:last])
    result: Floats = values - usual
    return result


def _step(timeline: Timeline) -> float:
    return float(np.median(timeline.length_s))


def _is_of_steps(timeline: Timeline, period_s: float) -> bool:
    """Return whether the load itself changes with that period."""
    users = timeline.users
    jumps = timeline.end_s[1:][np.abs(np.diff(users)) > np.maximum(2.0, 0.05 * users[:-1])]
    if len(jumps) < 3:
        return False
    return abs(float(np.median(np.diff(jumps))) / period_s - 1) < 0.08


def sawtooth(timeline: Timeline, kept: Flags) -> tuple[Finding | None, Flags]:
    """Return the finding, and which intervals no stall touches."""
    calm = np.ones(len(timeline), bool)
    step_s = _step(timeline)
    rises = np.clip(residuals(timeline), 0.0, np.log(20.0))
    if len(rises) < 40:
        return None, calm
    shortest = max(3, round(4 / step_s))
    found = period(rises, shortest)
    if found is not None and _is_of_steps(timeline, found.steps * step_s):
        # Right after a step of the load latency has not settled, and the steps are regular as well.
        rises = np.where(kept, rises, 0.0)
        found = period(rises, shortest)
    if found is None or found.strength < 0.35 or found.strength_twice < 0.25:
        return None, calm
    height = float(np.quantile(rises, 0.97))
    stalled = rises > 0.5 * height
    if np.exp(height) < _LEAST_RISE or stalled.mean() > 0.5 or _is_of_steps(timeline, found.steps * step_s):
        return None, calm
    # What follows the load is none: the users of the same moments say so.
    users = timeline.users - running_median(timeline.users, max(3, round(2 * found.steps)))
    with np.errstate(invalid="ignore"):
        with_users = float(np.nan_to_num(np.corrcoef(rises, users)[0, 1])) if np.ptp(users) > 0 else 0.0
    if abs(with_users) > 0.5:
        return None, calm
    calm = rises < np.log(_CALM)
    cycles = int(len(timeline) / found.steps)
    begins = int(np.sum(stalled[1:] & ~stalled[:-1])) + int(stalled[0])
    totals = timeline.totals
    count = totals.good + totals.failed
    sums = totals.good_s + totals.failed_s
    during_s = float(sums[stalled].sum() / max(count[stalled].sum(), 1))
    between_s = float(sums[calm].sum() / max(count[calm].sum(), 1))
    period_s = found.steps * step_s
    gaps = float(stalled.sum()) * step_s / max(cycles, 1)
    confidence = float(
        np.clip(0.35 + 0.6 * found.strength + 0.2 * min(cycles - 4, 6) / 6 - 0.4 * abs(with_users), 0.3, 0.98)
    )
    finding = Finding(
        Pattern.SAWTOOTH,
        f"Requests stall every {period_s:.1f} s, at every load.",
        (
            f"Latency repeats itself every {period_s:.1f} s (autocorrelation {found.strength:.2f} after one period, "
            f"{found.strength_twice:.2f} after two), over {cycles} periods with {begins} stalls.",
            f"A stall lasts about {gaps:.1f} s; requests take {seconds(during_s)} on average then and "
            f"{seconds(between_s)} in between.",
            f"It does not follow the load: the correlation of the rises with users is {with_users:+.2f}.",
        ),
        confidence,
        figures={
            "period_s": period_s, "strength": found.strength, "cycles": cycles, "stall_s": gaps,
            "during_s": during_s, "between_s": between_s, "correlation_with_users": with_users,
            "fixes": FIXES[Pattern.SAWTOOTH],
        },
        since_s=float(timeline.start_s[int(np.argmax(stalled))]),
    )  # fmt: skip
    return finding, calm
