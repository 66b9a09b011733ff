"""Leak: latency grows with time at constant load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import stats

from locust_otel.core.words import duration
from locust_otel.review.analysis.finding import Finding, Pattern
from locust_otel.review.analysis.timeline import SETTLE_S, Flags, Floats, Points, Timeline, points, same_load, stretches

_PIECE_S = 25.0
_HOLD_S = 8.0


class Held(NamedTuple):
    """Drift of latency at constant load, compared with that of the whole run."""

    slope: float  # within stretches of constant load, in seconds per second
    error: float  # its standard error, by stretches
    ratio: float  # slope over that of the whole run: 1 if time explains the whole rise, 0 if it explains nothing
    spread: float  # standard error of the ratio
    stretches: int


def held(timeline: Timeline, kept: Flags) -> Held | None:
    """Return the regression on time with a level for each stretch; None without stretches of constant load."""
    good, time_s = timeline.totals.good, timeline.middle_s
    usable = kept & (good > 0)
    latency_s = timeline.totals.good_s / np.maximum(good, 1)
    parts: list[tuple[Floats, Floats, Floats]] = []
    for first, end in _holds(timeline):
        inside = first + np.flatnonzero(usable[first:end])
        if len(inside) >= 5:
            weights, time, value = good[inside], time_s[inside], latency_s[inside]
            level = np.average(value, weights=weights)
            parts.append((weights, time - np.average(time, weights=weights), value - level))
    count = len(parts)
    square = sum(float(np.sum(weights * time**2)) for weights, time, _ in parts)
    if count < 4 or not square:
        return None
    slope = sum(float(np.sum(weights * time * value)) for weights, time, value in parts) / square
    scores = [float(np.sum(weights * time * (value - slope * time))) for weights, time, value in parts]
    by_stretch = np.sqrt(np.sum(np.square(scores)) * count / (count - 1)) / square
    rest = sum(float(np.sum(weights * (value - slope * time) ** 2)) for weights, time, value in parts)
    free = sum(len(time) for _, time, _ in parts) - count - 1
    # Few stretches may agree by chance, so the error is at least that of independent intervals.
    error = float(max(by_stretch, np.sqrt(rest / max(free, 1) / square)))
    whole = float(np.polyfit(time_s[usable], latency_s[usable], 1, w=np.sqrt(good[usable]))[0])
    whole = whole if abs(whole) > 1e-12 else 1e-12
    return Held(slope, error, slope / whole, abs(error / whole), count)


def _holds(timeline: Timeline) -> Iterator[tuple[int, int]]:
    """Yield the spans of exactly constant load, short ones too, each without its time to settle."""
    for first, end in same_load(timeline.users, np.zeros(len(timeline))):
        start_s = timeline.start_s[first:end]
        length_s = float(timeline.end_s[end - 1] - start_s[0])
        if length_s >= _HOLD_S:
            yield first + int(np.searchsorted(start_s, start_s[0] + min(SETTLE_S, 0.4 * length_s))), end


def leak(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding, with `slope` in seconds per second."""
    return _by_pieces(timeline, kept) or _by_holds(timeline, kept)


def _by_holds(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding from many short stretches of constant load."""
    drift = held(timeline, kept)
    load = points(timeline, kept)
    if drift is None or len(load) < 8:
        return None
    start_s, end_s = _ends(load, 3)
    drift_s = drift.slope * float(load.time_s[-1] - load.time_s[0])
    t_value = drift.slope / max(drift.error, 1e-12)
    is_all = 0.5 < drift.ratio - 2 * drift.spread < 1.3
    if t_value < 4 or not is_all or drift_s < 0.5 * start_s or end_s < start_s:
        return None
    return _finding(
        f"In {drift.stretches} stretches of constant load latency rises by {duration(drift.slope * 60)} a minute "
        f"(t = {t_value:.1f}), {drift.ratio:.0%} ± {2 * drift.spread:.0%} of the rise over the whole run.",
        f"It rises from {duration(start_s)} at the start to {duration(end_s)} at the end.",
        confidence=float(np.clip(0.9 - drift.spread - 0.3 * abs(drift.ratio - 1), 0.3, 0.9)),
        figures={"slope": drift.slope, "t": t_value, "pieces": drift.stretches, "start_s": start_s, "end_s": end_s,
                 "explained": drift.ratio},
    )  # fmt: skip


def _by_pieces(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding from long stretches of constant load."""
    load = points(timeline, kept, width_s=2.5)
    pieces = np.array(list(_pieces(timeline, kept, load)))
    if len(pieces) < 4 or len(load) < 20:
        return None
    slopes, lengths = pieces.T
    slope = float(np.average(slopes, weights=lengths))
    t_value = slope / max(float(stats.sem(slopes)), 1e-9)
    rising = float(np.mean(slopes > 0))
    start_s, end_s = _ends(load, max(3, len(load) // 10))
    drift_s = slope * float(load.time_s[-1] - load.time_s[0])
    if t_value < 3.5 or rising < 0.8 or drift_s < 0.25 * start_s or end_s <= start_s:
        return None
    explained = drift_s / (end_s - start_s)
    if not 0.35 <= explained <= 3.0:
        return None
    p_value = float(stats.t.sf(t_value, len(slopes) - 1))
    confidence = 0.55 + 0.25 * min(t_value / 10, 1) + 0.2 * (rising - 0.8) / 0.2 - 0.3 * abs(np.log(explained))
    return _finding(
        f"In {rising:.0%} of {len(slopes)} pieces of constant load latency rises, on average by "
        f"{duration(slope * 60)} a minute (t = {t_value:.1f}, p = {p_value:.1g}).",
        f"It rises from {duration(start_s)} at the start to {duration(end_s)} at the end; the drift explains "
        f"{min(explained, 1):.0%} of that.",
        confidence=float(np.clip(confidence, 0.3, 0.98)),
        figures={"slope": slope, "t": t_value, "pieces": len(slopes), "start_s": start_s, "end_s": end_s,
                 "explained": explained},
    )  # fmt: skip


def _pieces(timeline: Timeline, kept: Flags, load: Points) -> Iterator[tuple[float, float]]:
    """Yield the slope of latency in each piece of a long stretch, and the length of the piece in seconds."""
    for first, last in stretches(timeline, kept):
        begin, end = float(timeline.start_s[first]), float(timeline.end_s[last - 1])
        count = int(np.clip((end - begin) // _PIECE_S, 1, 8))
        length_s = (end - begin) / count
        for edge in np.linspace(begin, end, count + 1)[:-1]:
            inside = (load.time_s >= edge) & (load.time_s < edge + length_s)
            if inside.sum() >= 4:
                yield float(stats.theilslopes(load.latency_s[inside], load.time_s[inside])[0]), length_s


def _ends(load: Points, count: int) -> tuple[float, float]:
    """Return the median latency of the first `count` points, and of the last."""
    return float(np.median(load.latency_s[:count])), float(np.median(load.latency_s[-count:]))


def _finding(*evidence: str, confidence: float, figures: dict[str, float]) -> Finding:
    per_minute = figures["slope"] * 60
    return Finding(
        Pattern.LEAK,
        f"Latency drifts by {duration(per_minute)} a minute at constant load.",
        evidence,
        confidence,
        figures={"slope_s_per_min": per_minute, **figures},
    )


def without(load: Points, slope: float) -> Points:
    """Return the points with the latencies that they would have without the drift since the start."""
    least_s = max(1e-6, 0.5 * _ends(load, max(3, len(load) // 10))[0])
    return replace(load, latency_s=np.maximum(load.latency_s - slope * (load.time_s - load.time_s[0]), least_s))
