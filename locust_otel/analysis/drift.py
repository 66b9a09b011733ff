"""Leak: latency that grows with time while the load stays the same."""

from __future__ import annotations

import numpy as np
from scipy import stats

from locust_otel.analysis.finding import FIXES, Finding, Pattern, seconds
from locust_otel.analysis.loads import points, stretches
from locust_otel.analysis.timeline import Flags, Floats, Timeline

_PIECE_S = 25.0


def leak(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding, with `slope` in seconds per second."""
    of = points(timeline, kept, width_s=2.5)
    slopes: list[float] = []
    lengths: list[float] = []
    for first, last in stretches(timeline, kept):
        begin, end = float(timeline.start_s[first]), float(timeline.end_s[last - 1])
        count = int(np.clip((end - begin) // _PIECE_S, 1, 8))
        for edge in np.linspace(begin, end, count + 1)[:-1]:
            length = (end - begin) / count
            inside = (of.time_s >= edge) & (of.time_s < edge + length)
            if inside.sum() >= 4:
                slopes.append(float(stats.theilslopes(of.latency_s[inside], of.time_s[inside])[0]))
                lengths.append(length)
    if len(slopes) < 4 or len(of) < 20:
        return None
    values, weights = np.array(slopes), np.array(lengths)
    mean = float(np.average(values, weights=weights))
    spread = float(np.std(values, ddof=1)) / np.sqrt(len(values))
    t_value = mean / max(spread, 1e-9)
    rising = float(np.mean(values > 0))
    span_s = float(of.time_s[-1] - of.time_s[0])
    edge_count = max(3, len(of) // 10)
    start_s, end_s = (float(np.median(part)) for part in (of.latency_s[:edge_count], of.latency_s[-edge_count:]))
    drift_s = mean * span_s
    grown_s = end_s - start_s
    if t_value < 3.5 or rising < 0.8 or drift_s < 0.25 * start_s or grown_s <= 0:
        return None
    explained = drift_s / grown_s
    if not 0.35 <= explained <= 3.0:
        return None
    # With several levels of load, the drift must not be the growth with load in disguise.
    p_value = float(stats.t.sf(t_value, len(values) - 1))
    confidence = float(
        np.clip(
            0.55 + 0.25 * min(t_value / 10, 1) + 0.2 * (rising - 0.8) / 0.2 - 0.3 * abs(np.log(explained)), 0.3, 0.98
        )
    )
    return Finding(
        Pattern.LEAK,
        f"Latency drifts by {seconds(mean * 60)} a minute while the load stays the same.",
        (
            f"In {rising:.0%} of {len(values)} pieces of constant load it rises; on average by {seconds(mean * 60)} a "
            f"minute (t = {t_value:.1f}, p = {p_value:.1g}).",
            f"From {seconds(start_s)} at the start to {seconds(end_s)} at the end; the drift makes up "
            f"{min(explained, 1):.0%} of that.",
        ),
        confidence,
        figures={
            "slope_s_per_min": mean * 60, "slope": mean, "t": t_value, "pieces": len(values), "start_s": start_s,
            "end_s": end_s, "explained": explained, "fixes": FIXES[Pattern.LEAK],
        },
    )  # fmt: skip


def without(latency_s: Floats, time_s: Floats, slope: float) -> Floats:
    """Return latencies without a drift, as at the start."""
    least_s = 0.5 * float(np.median(latency_s[: max(3, len(latency_s) // 10)]))
    result: Floats = np.maximum(latency_s - slope * (time_s - time_s[0]), least_s)
    return result
