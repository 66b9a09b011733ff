"""Histograms: bounds, and the views and quantiles of the counts between them.

Invariants:

- A layout has one sorted list of upper bounds in seconds, inclusive as in Prometheus and OpenTelemetry:
  `counts[i]` is the number of requests with `bounds[i - 1] < duration <= bounds[i]`, found by one `bisect_left`.
- Counts are a mapping that holds only buckets with requests: a series uses some 20 of 379 buckets. Index `len(bounds)`
  counts the requests above the last bound.
- `bounds[0] == 0.0`, so `counts[0]` holds durations of exactly zero.
- The bounds are the union of three lists: base-2 exponential edges of scale 4 (from 0.1 ms to 10 min), the classic
  edges, and the thresholds of the user's objectives. Every view adds up whole counts, so a count at an edge or a
  threshold is exact. Only a quantile inside a bucket is an estimate.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise

SCALE = 4
"""Scale of the exponential edges: bucket i ends at `2 ** (i / 16)` seconds, 4.4 % apart."""

LOWEST_INDEX = -212
"""Exponential index of the first edge, 0.1026 ms; the first bucket is (0, 0.1026 ms]."""

HIGHEST_INDEX = 148
"""Exponential index of the last edge, 609 s; longer durations are counted in bucket `HIGHEST_INDEX + 1`."""

CLASSIC_EDGES = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    15.0, 30.0, 60.0,
)  # fmt: skip
"""Seconds. OpenTelemetry's advice for HTTP durations, and three edges more for load tests with long timeouts.
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/"""

QUANTILE_ERROR = 2 ** (1 / 2 ** (SCALE + 1)) - 1
"""Largest relative error of `Layout.quantile` between 0.1 ms and 10 min: 0.0219."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """Counts between exponential edges, in the shape of OTLP and native histograms.

    As in OpenTelemetry, `counts[0]` is for durations in `(2 ** (offset / 16), 2 ** ((offset + 1) / 16)]`.
    """

    zero_count: int  # durations of exactly zero
    offset: int  # exponential index of `counts[0]`
    counts: tuple[int, ...]  # one for each bucket, without leading or trailing zeros; empty if nothing was measured


@lru_cache(maxsize=1)
def exponential_edges() -> tuple[float, ...]:
    """Return `2 ** (i / 16)` from `LOWEST_INDEX` to `HIGHEST_INDEX`, rounded down to a float.

    Rounding down keeps comparisons exact: a float is at or below the rounded edge exactly when it is at or below the
    true, irrational edge.
    """
    return tuple(_root_below(index) for index in range(LOWEST_INDEX, HIGHEST_INDEX + 1))


def _root_below(index: int) -> float:
    shift = 52 - (index >> SCALE)  # the root gets the 53 bits of a float
    root = 1 << (index + (shift << SCALE))
    for _ in range(SCALE):
        root = math.isqrt(root)  # exact: the root of a rounded-down root is rounded down too
    return math.ldexp(root, -shift)


@dataclass(frozen=True, slots=True)
class Layout:
    """Bounds of histograms, and the views of counts between them; `layout` makes one for each set of thresholds."""

    bounds: tuple[float, ...]  # upper bounds in seconds, sorted, distinct
    classic_bounds: tuple[float, ...]  # bounds of the classic view: classic edges and thresholds, without `+Inf`
    _classic: tuple[int, ...] = field(repr=False, compare=False)  # index of the classic bucket, by index of the bound
    _exponential: tuple[int, ...] = field(repr=False, compare=False)  # likewise the exponential index
    _midpoints: tuple[float, ...] = field(repr=False, compare=False)

    def classic(self, counts: Mapping[int, int]) -> tuple[int, ...]:
        """Return cumulative counts at `classic_bounds` and `+Inf`: `len(classic_bounds) + 1` numbers."""
        buckets, place = [0] * (len(self.classic_bounds) + 1), self._classic
        for index, count in counts.items():
            buckets[place[index]] += count
        return tuple(accumulate(buckets))

    def exponential(self, counts: Mapping[int, int]) -> Exponential:
        """Return the counts between exponential edges; the top bucket holds all durations above 10 minutes."""
        place, zero_count = self._exponential, counts.get(0, 0)
        placed = [(place[index], count) for index, count in counts.items() if index]
        if not placed:
            return Exponential(zero_count, 0, ())
        offset = min(placed)[0]
        buckets = [0] * (max(placed)[0] - offset + 1)
        for index, count in placed:
            buckets[index - offset] += count
        return Exponential(zero_count, offset, tuple(buckets))

    def above(self, counts: Mapping[int, int], threshold_s: float) -> int:
        """Return the exact number of durations above a threshold.

        Raises:
            KeyError: The threshold is not a bound.
        """
        last = bisect_left(self.bounds, threshold_s)
        if last == len(self.bounds) or self.bounds[last] != threshold_s:
            raise KeyError(threshold_s)
        return sum(count for index, count in counts.items() if index > last)

    def quantile(self, counts: Mapping[int, int], q: float) -> float | None:
        """Return the q-quantile in seconds, with q in [0, 1]; None if nothing was measured.

        It is the geometric midpoint of the bucket with the value of rank `ceil(q * n)`, and so within `QUANTILE_ERROR`
        of that value.
        """
        if not counts:
            return None
        indexes = sorted(counts)
        cumulative = list(accumulate(counts[index] for index in indexes))
        rank = min(max(math.ceil(q * cumulative[-1]), 1), cumulative[-1])
        return self._midpoints[indexes[bisect_left(cumulative, rank)]]


def difference(new: Mapping[int, int], old: Mapping[int, int]) -> dict[int, int]:
    """Return the growth of counts since the old ones, without zeros."""
    return {index: more for index, count in new.items() if (more := count - old.get(index, 0))}


def joined(parts: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Return the sum of several counts, by index."""
    result = Counter[int]()
    for counts in parts:
        result.update(counts)
    return result


@lru_cache(maxsize=64)
def _layout(thresholds_s: tuple[float, ...]) -> Layout:
    edges = exponential_edges()
    classic = tuple(sorted({*CLASSIC_EDGES, *thresholds_s}))
    bounds = tuple(sorted({0.0, *edges, *classic}))
    midpoints = [0.0, bounds[1] / (1 + QUANTILE_ERROR)]
    midpoints += [math.sqrt(low * high) for low, high in pairwise(bounds[1:])]
    return Layout(
        bounds=bounds,
        classic_bounds=classic,
        _classic=tuple(bisect_left(classic, bound) for bound in (*bounds, math.inf)),
        _exponential=tuple(bisect_left(edges, bound) + LOWEST_INDEX - 1 for bound in (*bounds, math.inf)),
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
