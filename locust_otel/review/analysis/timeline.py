"""Timeline: a run as arrays, from any source, and its load; the input of each detector.

All arrays of a timeline and its endpoints have the shape (T,), with T intervals, if no other shape is given. Durations
are kept as triples (interval, bucket, count), since most buckets of most intervals are empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from locust_otel.slo.objectives import Slo
from locust_otel.wire.record import Mark

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

SETTLE_S = 8.0
"""Seconds after a step of the load until latency has settled."""

_SAME = 0.03  # users that differ by this share are the same load
_MIN_STRETCH_S = 20.0
_MOST_POINTS = 240


@dataclass(frozen=True)
class EndpointSeries:
    """Requests of an endpoint by interval."""

    method: str
    name: str
    good: Floats  # successful requests with a duration
    failed: Floats
    good_s: Floats  # sum of their durations
    failed_s: Floats
    cells: Ints  # interval and bucket of the durations of all requests, shape (n, 2)
    weights: Floats  # number of requests in each cell, shape (n,)

    @property
    def label(self) -> str:
        """Method and name."""
        return f"{self.method} {self.name}".strip()

    @property
    def requests(self) -> Floats:
        """Requests of each interval, good and failed."""
        return self.good + self.failed

    @property
    def requests_s(self) -> Floats:
        """Sum of the durations of all requests in each interval."""
        return self.good_s + self.failed_s


@dataclass(frozen=True)
class Timeline:
    """Run, interval by interval."""

    source: str
    run_id: str
    start_s: Floats  # since the start of the run
    end_s: Floats
    users: Floats  # running users at the end of each interval
    endpoints: tuple[EndpointSeries, ...]  # the busiest first
    bounds: Floats  # upper bounds of the buckets in seconds; bucket `len(bounds)` is above the last bound
    keeps_up: Flags  # whether the load generator was fast enough
    cpu: Floats  # highest share of a core of any generating process; NaN if unknown
    marks: Sequence[Mark] = ()
    slo: Slo | None = None
    totals: EndpointSeries = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "totals", merged(self.endpoints, len(self.users)))

    def __len__(self) -> int:
        return len(self.users)

    @property
    def length_s(self) -> Floats:
        """Seconds of each interval."""
        return self.end_s - self.start_s

    @property
    def middle_s(self) -> Floats:
        """Middle of each interval."""
        return (self.start_s + self.end_s) / 2

    @property
    def midpoints(self) -> Floats:
        """Geometric middle of each bucket, in seconds."""
        low = np.concatenate(([0.0], self.bounds))
        high = np.concatenate((self.bounds, [self.bounds[-1] * 1.05]))
        return np.where(low > 0, np.sqrt(low * high), high)


def merged(endpoints: Sequence[EndpointSeries], length: int) -> EndpointSeries:
    """Return the sum of endpoints."""
    good, failed, good_s, failed_s = (
        sum((getattr(endpoint, name) for endpoint in endpoints), np.zeros(length))
        for name in ("good", "failed", "good_s", "failed_s")
    )
    cells = np.concatenate([endpoint.cells for endpoint in endpoints] or [np.empty((0, 2), np.int64)])
    weights = np.concatenate([endpoint.weights for endpoint in endpoints] or [np.empty(0)])
    return EndpointSeries("", "all requests", good, failed, good_s, failed_s, cells, weights)


def even_bins(timeline: Timeline, width_s: float, kept: Flags | None = None) -> tuple[Ints, int]:
    """Return the bin of each interval, -1 if the interval is not kept, and the number of bins of this width."""
    at: Ints = ((timeline.middle_s - timeline.start_s[0]) / width_s).astype(np.int64)
    bins = int(at.max()) + 1
    return at if kept is None else np.where(kept, at, -1), bins


def binned(values: Floats, at: Ints, bins: int) -> Floats:
    """Return the sum of the values in each bin, without values in bin -1."""
    kept = at >= 0
    return np.bincount(at[kept], values[kept], minlength=bins).astype(np.float64)


def quantiles(timeline: Timeline, endpoint: EndpointSeries, at: Ints, bins: int, q: Sequence[float]) -> Floats:
    """Return quantiles in seconds by bin, shape (len(q), bins); NaN without requests."""
    width = len(timeline.bounds) + 1
    where = at[endpoint.cells[:, 0]]
    table = binned(endpoint.weights, np.where(where < 0, -1, where * width + endpoint.cells[:, 1]), bins * width)
    reached = table.reshape(bins, width).cumsum(axis=1)
    total = reached[:, -1:]
    middle = timeline.midpoints
    rows = [middle[np.argmax(reached >= np.maximum(share * total, 1e-9), axis=1)] for share in q]
    return np.where(total[:, 0] > 0, np.array(rows), np.nan)


@dataclass(frozen=True)
class Points:
    """Run in bins of a few seconds, without bins that have no successful request. Each value is a mean."""

    time_s: Floats
    users: Floats
    rps: Floats  # successful requests/s
    latency_s: Floats  # of successful requests
    failing: Floats  # share of failed requests
    think_s: Floats  # of a user between requests, by the interactive response time law: Z = N / X - R

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def concurrency(self) -> Floats:
        """Successful requests in flight, by Little's law."""
        return self.rps * self.latency_s


def points(timeline: Timeline, kept: Flags, *, width_s: float = 5.0, endpoint: EndpointSeries | None = None) -> Points:
    """Return the points of a run, or of an endpoint, with wider bins if the run is long."""
    width_s = max(width_s, float(timeline.end_s[-1] - timeline.start_s[0]) / _MOST_POINTS)
    at, bins = even_bins(timeline, width_s, kept)
    requests = endpoint or timeline.totals
    length = binned(timeline.length_s, at, bins)
    good, failed = binned(requests.good, at, bins), binned(requests.failed, at, bins)
    good_s, failed_s = binned(requests.good_s, at, bins), binned(requests.failed_s, at, bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        users = binned(timeline.users * timeline.length_s, at, bins) / length
        times = binned(timeline.middle_s * timeline.length_s, at, bins) / length
        think_s = users / ((good + failed) / length) - (good_s + failed_s) / (good + failed)
        columns = (times, users, good / length, good_s / good, failed / (good + failed), think_s)
    usable = (good >= 1) & (length >= width_s / 3) & (users > 0)
    return Points(*(column[usable] for column in columns))


def jumps(users: Floats) -> Ints:
    """Return the intervals with a step of the load."""
    return np.flatnonzero(np.abs(np.diff(users)) > np.maximum(2.0, 0.05 * users[:-1])) + 1


def steady(timeline: Timeline) -> Flags:
    """Return flags of the intervals that are not right after a step of the load."""
    end = timeline.end_s
    result: Flags = end >= timeline.start_s[0] + SETTLE_S
    for jump in jumps(timeline.users):
        result &= (end < end[jump]) | (end >= end[jump] + SETTLE_S)
    return result if result.mean() > 0.4 else np.ones(len(end), bool)


def same_load(users: Floats, tolerance: Floats) -> Iterator[tuple[int, int]]:
    """Yield the first interval of each span of constant load, and the one past its last.

    `tolerance`, shape (T,), is the largest difference to the users of the first interval of a span.
    """
    first = 0
    for index in range(1, len(users) + 1):
        if index == len(users) or abs(users[index] - users[first]) > tolerance[first]:
            yield first, index
            first = index


def stretches(timeline: Timeline, kept: Flags) -> Iterator[tuple[int, int]]:
    """Yield the long spans of constant load, without their time to settle."""
    for first, end in same_load(timeline.users, np.maximum(1.0, _SAME * timeline.users)):
        begin = first + int(np.argmax(kept[first:end]))
        if kept[begin] and timeline.end_s[end - 1] - timeline.start_s[begin] >= _MIN_STRETCH_S:
            yield begin, end


def variation(timeline: Timeline) -> float:
    """Return the highest load over the lowest, in users."""
    low, high = np.quantile(timeline.users, [0.05, 0.98])
    return float(high / max(low, 1.0))


def low_and_high(load: Points) -> tuple[Flags, Flags]:
    """Return flags of the points with low load, and of those with high load."""
    low, high = float(load.users.min()), float(load.users.max())
    span = high - low
    return load.users <= low + 0.25 * span, load.users >= high - 0.15 * span
