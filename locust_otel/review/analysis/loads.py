"""How a run was loaded: stretches of the same load, and points of load against latency."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from locust_otel.review.analysis.timeline import EndpointSeries, Flags, Floats, Timeline, binned, even_bins

SETTLE_S = 8.0
"""Seconds after a step of the load that belong to neither side of it."""

_SAME = 0.03  # users that differ by this share are the same load
_MIN_STRETCH_S = 20.0
_MOST_POINTS = 240


@dataclass(frozen=True)
class Points:
    """A run in bins of a few seconds, those without a successful request left out.

    Attributes:
        time_s: Middle of each bin.
        users: Mean of the users in it.
        rps: Successful requests/s.
        latency_s: Mean duration of the successful ones.
        failing: Share of failed requests.
        all_rps: Requests/s, failed ones too.
        all_s: Mean duration of all.
    """

    time_s: Floats
    users: Floats
    rps: Floats
    latency_s: Floats
    failing: Floats
    all_rps: Floats
    all_s: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def concurrency(self) -> Floats:
        """Successful requests in flight, by Little's law."""
        return self.rps * self.latency_s

    def where(self, kept: Flags) -> Points:
        """Return some of the points."""
        return Points(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))

    def with_latency(self, latency_s: Floats) -> Points:
        """Return the same points with other latencies."""
        return replace(self, latency_s=np.maximum(latency_s, 1e-6))


def steady(timeline: Timeline) -> Flags:
    """Return which intervals are not right after a step of the load."""
    users, end = timeline.users, timeline.end_s
    result = np.ones(len(users), bool)
    jumps = np.flatnonzero(np.abs(np.diff(users)) > np.maximum(2.0, 0.05 * users[:-1])) + 1
    for jump in jumps:
        result &= ~((end >= end[jump]) & (end < end[jump] + SETTLE_S))
    result &= end >= timeline.start_s[0] + SETTLE_S
    return result if result.mean() > 0.4 else np.ones(len(users), bool)


def points(timeline: Timeline, kept: Flags, *, width_s: float = 5.0, endpoint: EndpointSeries | None = None) -> Points:
    """Return the points of a run, or of one of its endpoints; wider ones where it is long."""
    width_s = max(width_s, float(timeline.end_s[-1] - timeline.start_s[0]) / _MOST_POINTS)
    at, bins = even_bins(timeline, width_s)
    at = np.where(kept, at, -1)
    of = endpoint or timeline.totals
    length = binned(timeline.length_s, at, bins)
    good, failed = binned(of.good, at, bins), binned(of.failed, at, bins)
    good_s, failed_s = binned(of.good_s, at, bins), binned(of.failed_s, at, bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        users = binned(timeline.users * timeline.length_s, at, bins) / length
        times = binned((timeline.start_s + timeline.end_s) / 2 * timeline.length_s, at, bins) / length
        result = Points(
            times, users, good / length, good_s / good, failed / (good + failed), (good + failed) / length,
            (good_s + failed_s) / (good + failed),
        )  # fmt: skip
    return result.where((good >= 1) & (length >= width_s / 3) & (users > 0))


def stretches(timeline: Timeline, kept: Flags) -> list[tuple[int, int]]:
    """Return the spans of intervals with the same load, first and one past the last, the settling left out."""
    users = timeline.users
    found: list[tuple[int, int]] = []
    first = 0
    for index in range(1, len(users) + 1):
        if index < len(users) and abs(users[index] - users[first]) <= max(1.0, _SAME * users[first]):
            continue
        begin = first
        while begin < index and not kept[begin]:
            begin += 1
        if index > begin and timeline.end_s[index - 1] - timeline.start_s[begin] >= _MIN_STRETCH_S:
            found.append((begin, index))
        first = index
    return found


def variation(timeline: Timeline) -> float:
    """Return the highest load over the lowest, in users."""
    low, high = np.quantile(timeline.users, [0.05, 0.98])
    return float(high / max(low, 1.0))


def low_and_high(of: Points) -> tuple[Flags, Flags]:
    """Return which points have little load, and which have much."""
    low, high = float(of.users.min()), float(of.users.max())
    span = high - low
    return of.users <= low + 0.25 * span, of.users >= high - 0.15 * span
