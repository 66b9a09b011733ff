"""Leak: latency that grows with time while the load stays the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from locust_otel.review.analysis.finding import FIXES, Finding, Pattern, seconds
from locust_otel.review.analysis.loads import SETTLE_S, points, stretches
from locust_otel.review.analysis.timeline import Flags, Floats, Timeline

_PIECE_S = 25.0
_HOLD_S = 8.0


class Held(NamedTuple):
    """How latency moves while the load is held, beside how it moves in the whole run.

    Attributes:
        slope: Within stretches of the same load, in seconds per second.
        error: Standard error of it, by stretches.
        ratio: The slope over that of the whole run: 1 where time explains all of it, 0 where time explains nothing.
        spread: Standard error of the ratio.
        stretches: How many there are.
    """

    slope: float
    error: float
    ratio: float
    spread: float
    stretches: int


def held(timeline: Timeline, kept: Flags) -> Held | None:
    """Return the regression on time with a level of its own for each stretch; None where the load was never held."""
    totals = timeline.totals
    usable = kept & (totals.good > 0)
    time_s = (timeline.start_s + timeline.end_s) / 2
    latency_s = totals.good_s / np.maximum(totals.good, 1)
    inner, square, count = 0.0, 0.0, 0
    parts: list[tuple[Floats, Floats, Floats]] = []
    for first, last in _holds(timeline):
        inside = np.arange(first, last)
        inside = inside[usable[inside]]
        if len(inside) < 5:
            continue
        weights = totals.good[inside]
        time = time_s[inside] - np.average(time_s[inside], weights=weights)
        value = latency_s[inside] - np.average(latency_s[inside], weights=weights)
        parts.append((weights, time, value))
        inner += float(np.sum(weights * time * value))
        square += float(np.sum(weights * time**2))
        count += 1
    if count < 4 or not square:
        return None
    slope = inner / square
    scores = [float(np.sum(weights * time * (value - slope * time))) for weights, time, value in parts]
    by_stretch = np.sqrt(np.sum(np.square(scores)) * count / (count - 1)) / square
    rest = sum(float(np.sum(weights * (value - slope * time) ** 2)) for weights, time, value in parts)
    free = sum(len(time) for _, time, _ in parts) - count - 1
    # Few stretches may agree by chance: the error of independent intervals is the least to be believed.
    error = float(max(by_stretch, np.sqrt(rest / max(free, 1) / square)))
    whole = np.polyfit(time_s[usable], latency_s[usable], 1, w=np.sqrt(totals.good[usable]))[0]
    whole = float(whole) if abs(whole) > 1e-12 else 1e-12
    return Held(slope, error, slope / whole, abs(error / whole), count)


def _holds(timeline: Timeline) -> Iterator[tuple[int, int]]:
    """Yield the stretches of the same load, short ones too, each without what it takes to settle."""
    users = timeline.users
    first = 0
    for index in range(1, len(users) + 1):
        if index < len(users) and users[index] == users[first]:
            continue
        length_s = float(timeline.end_s[index - 1] - timeline.start_s[first])
        if length_s >= _HOLD_S:
            settled = float(timeline.start_s[first]) + min(SETTLE_S, 0.4 * length_s)
            yield first + int(np.searchsorted(timeline.start_s[first:index], settled)), index
        first = index


def leak(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding, with `slope` in seconds per second."""
    return _by_pieces(timeline, kept) or _by_holds(timeline, kept)


def _by_holds(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding from many short stretches of the same load."""
    found = held(timeline, kept)
    of = points(timeline, kept)
    if found is None or len(of) < 8:
        return None
    start_s, end_s = float(np.median(of.latency_s[:3])), float(np.median(of.latency_s[-3:]))
    drift_s = found.slope * float(of.time_s[-1] - of.time_s[0])
    t_value = found.slope / max(found.error, 1e-12)
    is_all = found.ratio - 2 * found.spread > 0.5 and found.ratio - 2 * found.spread < 1.3
    if t_value < 4 or not is_all or drift_s < 0.5 * start_s or end_s < start_s:
        return None
    return Finding(
        Pattern.LEAK,
        f"Latency drifts by {seconds(found.slope * 60)} a minute while the load stays the same.",
        (
            f"Within {found.stretches} stretches of the same load it rises by {seconds(found.slope * 60)} a minute "
            f"(t = {t_value:.1f}), {found.ratio:.0%} ± {2 * found.spread:.0%} of the rise over the whole run.",
            f"From {seconds(start_s)} at the start to {seconds(end_s)} at the end.",
        ),
        float(np.clip(0.9 - found.spread - 0.3 * abs(found.ratio - 1), 0.3, 0.9)),
        figures={
            "slope_s_per_min": found.slope * 60, "slope": found.slope, "t": t_value, "pieces": found.stretches,
            "start_s": start_s, "end_s": end_s, "explained": found.ratio, "fixes": FIXES[Pattern.LEAK],
        },
    )  # fmt: skip


def _by_pieces(timeline: Timeline, kept: Flags) -> Finding | None:
    """Return the finding from long stretches of the same load."""
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
