"""A run as arrays, whatever it was read from: what every detector looks at.

Shapes: `T` intervals, all arrays of a timeline and its endpoints have that length. Durations are kept as triples
(interval, bucket, count), since most buckets of most intervals are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from locust_otel.slo.objectives import Slo
from locust_otel.wire.record import Mark

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class EndpointSeries:
    """All requests with one method and name.

    Attributes:
        good: Successful requests of each interval that have a duration.
        failed: Failed requests of each interval.
        good_s: Sum of the durations of the good ones, in seconds.
        failed_s: Sum of the durations of the failed ones.
        cells: Interval and bucket of the durations of all of them, shape (n, 2).
        weights: How many lie in each cell, shape (n,).
    """

    method: str
    name: str
    good: Floats
    failed: Floats
    good_s: Floats
    failed_s: Floats
    cells: Ints
    weights: Floats

    @property
    def label(self) -> str:
        """Method and name, as people say it."""
        return f"{self.method} {self.name}".strip()


@dataclass(frozen=True)
class Timeline:
    """A run, interval by interval.

    Attributes:
        source: What it was read from, for people.
        start_s: Start of each interval in seconds since the start of the run.
        end_s: End of each.
        users: Running users at its end.
        endpoints: The busiest first.
        bounds: Upper bounds of the buckets in seconds; `len(bounds)` is the bucket above the last one.
        keeps_up: Whether the load generator was fast enough.
        cpu: Highest share of a core of any generating process; NaN where unknown.
        marks: What was marked.
        slo: The objectives of the run; None without.
        warmup_s: Seconds that the objectives leave out.
    """

    source: str
    run_id: str
    start_s: Floats
    end_s: Floats
    users: Floats
    endpoints: tuple[EndpointSeries, ...]
    bounds: Floats
    keeps_up: Flags
    cpu: Floats
    marks: Sequence[Mark] = ()
    slo: Slo | None = None
    warmup_s: float = 0.0
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
    def midpoints(self) -> Floats:
        """Upper ends of the buckets' representatives: their geometric midpoints, in seconds."""
        low = np.concatenate(([0.0], self.bounds))
        high = np.concatenate((self.bounds, [self.bounds[-1] * 1.05]))
        middle: Floats = np.where(low > 0, np.sqrt(low * high), high)
        return middle

    def part(self, start_s: float, end_s: float) -> Timeline:
        """Return the intervals within a span."""
        kept = np.flatnonzero((self.start_s >= start_s - 1e-6) & (self.end_s <= end_s + 1e-6))
        if not len(kept):
            kept = np.arange(0)
        first = int(kept[0]) if len(kept) else 0
        last = int(kept[-1]) + 1 if len(kept) else 0
        return self._sliced(first, last)

    def _sliced(self, first: int, last: int) -> Timeline:
        chosen = slice(first, last)
        return Timeline(
            self.source, self.run_id, self.start_s[chosen], self.end_s[chosen], self.users[chosen],
            tuple(_sliced(endpoint, first, last) for endpoint in self.endpoints),
            self.bounds, self.keeps_up[chosen], self.cpu[chosen], self.marks, self.slo, self.warmup_s,
        )  # fmt: skip


def _sliced(endpoint: EndpointSeries, first: int, last: int) -> EndpointSeries:
    kept = (endpoint.cells[:, 0] >= first) & (endpoint.cells[:, 0] < last)
    chosen = slice(first, last)
    return EndpointSeries(
        endpoint.method, endpoint.name, endpoint.good[chosen], endpoint.failed[chosen], endpoint.good_s[chosen],
        endpoint.failed_s[chosen], endpoint.cells[kept] - np.array([first, 0]), endpoint.weights[kept],
    )  # fmt: skip


def merged(endpoints: Sequence[EndpointSeries], length: int) -> EndpointSeries:
    """Return the requests of several endpoints together."""
    zeros = np.zeros(length)
    return EndpointSeries(
        "",
        "all requests",
        sum((e.good for e in endpoints), zeros),
        sum((e.failed for e in endpoints), zeros),
        sum((e.good_s for e in endpoints), zeros),
        sum((e.failed_s for e in endpoints), zeros),
        np.concatenate([e.cells for e in endpoints] or [np.empty((0, 2), np.int64)]),
        np.concatenate([e.weights for e in endpoints] or [np.empty(0)]),
    )


def binned(values: Floats, at: Ints, bins: int) -> Floats:
    """Return sums of values by the bin each interval is in; -1 is in none.

    Args:
        values: Shape (T,).
        at: Bin of each interval, shape (T,).
        bins: How many there are.
    """
    kept = at >= 0
    result: Floats = np.bincount(at[kept], values[kept], minlength=bins).astype(np.float64)
    return result


def quantiles(timeline: Timeline, endpoint: EndpointSeries, at: Ints, bins: int, q: Sequence[float]) -> Floats:
    """Return quantiles in seconds by bin, shape (len(q), bins); NaN where nothing was measured."""
    width = len(timeline.bounds) + 1
    where = at[endpoint.cells[:, 0]]
    kept = where >= 0
    flat = np.bincount(
        where[kept] * width + endpoint.cells[kept, 1], endpoint.weights[kept], minlength=bins * width
    ).reshape(bins, width)
    reached = flat.cumsum(axis=1)
    total = reached[:, -1:]
    middle = timeline.midpoints
    rows = [middle[np.argmax(reached >= np.maximum(share * total, 1e-9), axis=1)] for share in q]
    result: Floats = np.where(total[:, 0] > 0, np.array(rows), np.nan)
    return result


def even_bins(timeline: Timeline, width_s: float) -> tuple[Ints, int]:
    """Return the bin of each interval for bins of about one width, and how many there are."""
    if not len(timeline):
        return np.empty(0, np.int64), 0
    origin = float(timeline.start_s[0])
    middle = (timeline.start_s + timeline.end_s) / 2
    at: Ints = ((middle - origin) / width_s).astype(np.int64)
    return at, int(at.max()) + 1
