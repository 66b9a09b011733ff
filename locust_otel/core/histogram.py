"""Bounds and what is read from counts between them.

Rules that hold throughout:

- A layout has one sorted list of upper bounds in seconds, inclusive as in Prometheus and OpenTelemetry:
  `counts[i]` is the number of requests with `bounds[i - 1] < duration <= bounds[i]`, found by one `bisect_left`.
- Counts are a mapping that holds only buckets with requests: of 379 buckets a series has some 20. Index `len(bounds)`
  is what lies above the last bound.
- `bounds[0] == 0.0`, so `counts[0]` holds durations of exactly zero.
- The list is the union of three families: base-2 exponential edges of scale 4 (from 0.1 ms to 10 min), the classic
  edges, and the thresholds of the user's objectives. Every view below adds whole counts up, so what is said about an
  edge or a threshold is exact; only a quantile inside a bucket is an estimate.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, pairwise

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
        """Return the counts between exponential edges; the top bucket takes what lies above 10 minutes."""
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
        """Return how many lie above a threshold, exactly.

        Raises:
            KeyError: The threshold is none of the bounds.
        """
        last = bisect_left(self.bounds, threshold_s)
        if last == len(self.bounds) or self.bounds[last] != threshold_s:
            raise KeyError(threshold_s)
        return sum(count for index, count in counts.items() if index > last)

    def quantile(self, counts: Mapping[int, int], q: float) -> float | None:
        """Return the q-quantile in seconds, or None where nothing was measured.

        It is the geometric midpoint of the bucket that holds the value of rank `ceil(q * n)`, with q in [0, 1], and so
        within `QUANTILE_ERROR` of it.
        """
        if not counts:
            return None
        indexes = sorted(counts)
        up_to = list(accumulate(counts[index] for index in indexes))
        rank = min(max(math.ceil(q * up_to[-1]), 1), up_to[-1])
        return self._midpoints[indexes[bisect_left(up_to, rank)]]


def difference(new: Mapping[int, int], old: Mapping[int, int]) -> dict[int, int]:
    """Return by how much counts have grown since the old ones, where they have."""
    return {index: more for index, count in new.items() if (more := count - old.get(index, 0))}


def joined(several: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Return the sum of several counts."""
    result = Counter[int]()
    for counts in several:
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
