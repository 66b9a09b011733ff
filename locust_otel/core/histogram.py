"""Bounds and what is read from counts between them.

Rules that hold throughout:

- A layout has one sorted list of upper bounds in seconds, inclusive as in Prometheus and OpenTelemetry:
  `counts[i]` holds the requests with `bounds[i - 1] < duration <= bounds[i]`, found by one `bisect_left`.
- `len(counts) == len(bounds) + 1`: the last count is what lies above the last bound.
- `bounds[0] == 0.0`, so `counts[0]` holds durations of exactly zero.
- The list is the union of three families: base-2 exponential edges of scale 4 (from 0.1 ms to 10 min), the classic
  edges, and the thresholds of the user's objectives. Every view below adds whole counts up, so what is said about an
  edge or a threshold is exact; only a quantile inside a bucket is an estimate.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, compress, pairwise
from operator import itemgetter
from typing import Any

SCALE = 4
"""Scale of the exponential edges: bucket i ends at `2 ** (i / 16)` seconds, 4.4 % apart."""

LOWEST_INDEX = -212
"""Exponential index of the first bucket; it ends at 0.1026 ms and takes everything in (0, 0.1026 ms]."""

HIGHEST_INDEX = 148
"""Exponential index of the last edge, 609 s; what lies above it is counted in bucket `HIGHEST_INDEX + 1`."""

CLASSIC_EDGES = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    15.0, 30.0, 60.0,
)  # fmt: skip
"""Seconds. OpenTelemetry's advice for HTTP durations, and three more for load tests that time out late.
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/"""

QUANTILE_ERROR = 2 ** (1 / 2 ** (SCALE + 1)) - 1
"""Largest relative error of `Layout.quantile` between 0.1 ms and 10 min: 0.0219."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """Counts between exponential edges, as OTLP and native histograms carry them.

    Attributes:
        zero_count: Durations of exactly zero.
        offset: Exponential index of `counts[0]`; that bucket is `(2 ** (offset / 16), 2 ** ((offset + 1) / 16)]`,
            the numbering of OpenTelemetry.
        counts: One count a bucket, without leading or trailing zeros; empty where nothing was measured.
    """

    zero_count: int
    offset: int
    counts: tuple[int, ...]


@lru_cache(maxsize=1)
def exponential_edges() -> tuple[float, ...]:
    """Return `2 ** (i / 16)` for the indexes of this module, rounded down to a float.

    Rounded down, because a float then lies at or below its edge exactly when it lies at or below the true,
    irrational one.
    """
    return tuple(_root_below(index) for index in range(LOWEST_INDEX, HIGHEST_INDEX + 1))


def _root_below(index: int) -> float:
    steps = 2**SCALE
    edge: float = 2.0 ** (index / steps)
    power = Fraction(2) ** index
    while Fraction(edge) ** steps > power:
        edge = math.nextafter(edge, 0.0)
    while Fraction(math.nextafter(edge, math.inf)) ** steps <= power:
        edge = math.nextafter(edge, math.inf)
    return edge


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the bounds lie, and every view of counts between them.

    Made by `layout`, which gives one object for the same thresholds. Attributes:
        bounds: Upper bounds in seconds, sorted, distinct.
        classic_bounds: The bounds of the classic view: classic edges and thresholds, without `+Inf`.
    """

    bounds: tuple[float, ...]
    classic_bounds: tuple[float, ...]
    _classic: itemgetter[Any] = field(repr=False, compare=False)
    _between: tuple[int, ...] = field(repr=False, compare=False)
    _midpoints: tuple[float, ...] = field(repr=False, compare=False)

    def empty(self) -> array[int]:
        """Return counts of nothing, `len(bounds) + 1` zeros."""
        # Not a list: the garbage collector looks at each item of each new list, 3 ms for a snapshot of 1,000 series
        # (measured 2026-11), and an array it leaves alone.
        return array("Q", bytes(8 * (len(self.bounds) + 1)))

    def classic(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Return cumulative counts at `classic_bounds` and `+Inf`: `len(classic_bounds) + 1` numbers."""
        result: tuple[int, ...] = self._classic(tuple(accumulate(counts)))
        return result

    def exponential(self, counts: Sequence[int]) -> Exponential:
        """Return the counts between exponential edges; the top bucket takes what lies above 10 minutes."""
        first, end = (index + 1 for index in _extent(counts[1:]))
        if first == end:
            return Exponential(counts[0], 0, ())
        buckets, between = list(counts[first : end + 1]), self._between
        low, high = bisect_left(between, first), bisect_left(between, end)
        for index in reversed(between[low:high]):
            count = buckets.pop(index - first)
            buckets[index - first] += count
        while not buckets[-1]:
            buckets.pop()
        return Exponential(counts[0], LOWEST_INDEX + first - low - 2, tuple(buckets))

    def above(self, counts: Sequence[int], threshold_s: float) -> int:
        """Return how many lie above a threshold, exactly.

        Above, since few do: adding up the other side costs twice as much.

        Raises:
            KeyError: The threshold is none of the bounds.
        """
        index = bisect_left(self.bounds, threshold_s)
        if index == len(self.bounds) or self.bounds[index] != threshold_s:
            raise KeyError(threshold_s)
        return sum(counts[index + 1 :])

    def quantile(self, counts: Sequence[int], q: float) -> float | None:
        """Return the q-quantile in seconds, or None where nothing was measured.

        It is the geometric midpoint of the bucket that holds the value of rank `ceil(q * n)`, with q in [0, 1], and so
        within `QUANTILE_ERROR` of it.
        """
        total = sum(counts)
        if not total:
            return None
        rank = min(max(math.ceil(q * total), 1), total)
        return self._midpoints[bisect_left(tuple(accumulate(counts)), rank)]


def _extent(counts: Sequence[int]) -> tuple[int, int]:
    """Return the index of the first count that is not 0, and that behind the last; their number if all are 0."""
    number = len(counts)
    first = next(compress(range(number), counts), number)
    return first, number - next(compress(range(number), reversed(counts)), 0)


@lru_cache(maxsize=64)
def _layout(thresholds_s: tuple[float, ...]) -> Layout:
    edges = exponential_edges()
    classic = tuple(sorted({*CLASSIC_EDGES, *thresholds_s}))
    bounds = tuple(sorted({0.0, *edges, *classic}))
    place = {bound: index for index, bound in enumerate(bounds)}
    midpoints = [0.0, bounds[1] / (1 + QUANTILE_ERROR)]
    midpoints += [math.sqrt(low * high) for low, high in pairwise(bounds[1:])]
    return Layout(
        bounds=bounds,
        classic_bounds=classic,
        _classic=itemgetter(*(place[edge] for edge in classic), len(bounds)),
        _between=tuple(sorted(place[bound] for bound in {*bounds[1:]} - {*edges})),  # no exponential edges
        _midpoints=(*midpoints, bounds[-1] * (1 + QUANTILE_ERROR)),
    )


def layout(thresholds_s: Iterable[float] = ()) -> Layout:
    """Return the layout whose bounds include the given thresholds.

    Raises:
        ValueError: A threshold is not a positive, finite number.
    """
    thresholds = tuple(sorted({float(t) for t in thresholds_s}))
    for threshold in thresholds:
        if not 0 < threshold < math.inf:
            raise ValueError(f"a threshold must be positive and finite, not {threshold!r} s")
    return _layout(thresholds)
