"""Tests of the histogram: counts at edges are exact, and quantiles are within the stated error."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

import pytest

from locust_otel.core.histogram import (
    CLASSIC_EDGES,
    HIGHEST_INDEX,
    LOWEST_INDEX,
    QUANTILE_ERROR,
    SCALE,
    Exponential,
    Layout,
    difference,
    exponential_edges,
    joined,
    layout,
)
from locust_otel.core.snapshot import SeriesKey
from locust_otel.plugin.series import Series

THRESHOLDS = (0.00005, 0.29, 0.3, 1.1, 2.0, 2.675, 700.0)
STEPS = 2**SCALE
VIEWS = pytest.mark.parametrize("thresholds", [(), THRESHOLDS], ids=["plain", "thresholds"])


def counted(bounds: Layout, seconds: Sequence[float]) -> Counter[int]:
    """Return the counts of durations, found one by one."""
    return Counter(bisect_left(bounds.bounds, value) for value in seconds)


def exponential_index(value: float) -> int:
    """Return OpenTelemetry's index by exact arithmetic: `base ** i < value <= base ** (i + 1)`."""
    power = Fraction(value) ** STEPS
    index = math.floor(math.log2(value) * STEPS)
    while power <= Fraction(2) ** index:
        index -= 1
    while power > Fraction(2) ** (index + 1):
        index += 1
    clamped: int = min(max(index, LOWEST_INDEX - 1), HIGHEST_INDEX)
    return clamped


@VIEWS
def test_bounds(thresholds: tuple[float, ...]) -> None:
    """Bounds start at 0 and have every exponential edge, classic edge and threshold once."""
    conventions = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
    assert layout().classic_bounds == CLASSIC_EDGES == (*conventions, 15.0, 30.0, 60.0)
    assert list(layout(thresholds).classic_bounds) == sorted({*CLASSIC_EDGES, *thresholds})
    assert list(layout(thresholds).bounds) == sorted({0.0, *exponential_edges(), *CLASSIC_EDGES, *thresholds})
    assert layout([*thresholds, *reversed(thresholds)]) is layout(thresholds)


@pytest.mark.parametrize("threshold", [0, -1, math.inf, math.nan, -math.inf])
def test_invalid_thresholds(threshold: float) -> None:
    """A threshold must be positive and finite."""
    with pytest.raises(ValueError, match="positive and finite"):
        layout([threshold])


@VIEWS
def test_classic_counts_at_each_edge(thresholds: tuple[float, ...]) -> None:
    """An edge counts the values at it and just below it, and not those just above it."""
    view = layout(thresholds)
    for position, edge in enumerate(view.classic_bounds):
        for value, first in (
            (math.nextafter(edge, 0.0), position),
            (edge, position),
            (math.nextafter(edge, math.inf), position + 1),
        ):
            expected = tuple(int(i >= first) for i in range(len(view.classic_bounds) + 1))
            assert view.classic(counted(view, [value])) == expected, value


@VIEWS
def test_whole_milliseconds_are_exact(thresholds: tuple[float, ...]) -> None:
    """All whole milliseconds up to 10 minutes, recorded as in a run, are on the right side of each edge."""
    view = layout(thresholds)
    series = Series(SeriesKey("GET", "/", "", "success"))
    milliseconds = range(600_001)
    series.pending += [number for ms in milliseconds for number in (ms, 0)]
    series.tally(view.bounds)
    # The oracle counts in whole numbers, from the decimal digits of the edges.
    expected = [min(int(Decimal(repr(edge)) * 1000), 600_000) + 1 for edge in view.classic_bounds]
    assert view.classic(series.counts) == (*expected, 600_001)
    assert series.sum_s == pytest.approx(600 * 600_001 / 2, rel=1e-12)


def test_counts_above_thresholds() -> None:
    """The count above a threshold is the number of greater values."""
    view = layout(THRESHOLDS)
    rng = random.Random(1)
    near = [math.nextafter(t, to) for t in THRESHOLDS for to in (0.0, math.inf)]
    values = [*THRESHOLDS, *near, 0.0, *(rng.lognormvariate(-1, 2) for _ in range(2_000))]
    counts = counted(view, values)
    for threshold in (*THRESHOLDS, *CLASSIC_EDGES):
        assert view.above(counts, threshold) == sum(value > threshold for value in values)


@pytest.mark.parametrize("threshold", [0.31, 1_000.0, math.nextafter(0.3, 1)])
def test_no_count_between_bounds(threshold: float) -> None:
    """A threshold that is not a bound is a KeyError; counts are never interpolated."""
    with pytest.raises(KeyError):
        layout([0.3]).above({}, threshold)


def test_exponential_edges() -> None:
    """Each edge is the largest float whose 16th power does not exceed the power of two."""
    for index, edge in enumerate(exponential_edges(), LOWEST_INDEX):
        assert Fraction(edge) ** STEPS <= Fraction(2) ** index < Fraction(math.nextafter(edge, math.inf)) ** STEPS


@VIEWS
def test_exponential_buckets_at_every_edge(thresholds: tuple[float, ...]) -> None:
    """Values at, just below and just above each exponential edge are in the bucket of exact arithmetic."""
    view = layout(thresholds)
    for edge in exponential_edges():
        for value in (math.nextafter(edge, 0.0), edge, math.nextafter(edge, math.inf)):
            assert view.exponential(counted(view, [value])) == Exponential(0, exponential_index(value), (1,)), value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Exponential(0, 0, ())),
        ([0.0] * 3, Exponential(3, 0, ())),
        ([math.nextafter(0.0, 1.0)], Exponential(0, -213, (1,))),
        ([0.0001], Exponential(0, -213, (1,))),
        ([0.5, 1.0], Exponential(0, -17, (1, *[0] * 15, 1))),
        ([1.0], Exponential(0, -1, (1,))),
        ([math.nextafter(1.0, 2)], Exponential(0, 0, (1,))),
        ([2.0], Exponential(0, 15, (1,))),
        ([600.0], Exponential(0, 147, (1,))),
        ([609.0], Exponential(0, 148, (1,))),
        ([86_400.0], Exponential(0, 148, (1,))),
    ],
)
@VIEWS
def test_exponential_offsets(thresholds: tuple[float, ...], values: list[float], expected: Exponential) -> None:
    """Buckets have OpenTelemetry's numbers for scale 4; the last bucket has all values above ten minutes."""
    view = layout(thresholds)
    assert view.exponential(counted(view, values)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_exponential_on_random_data(seed: int) -> None:
    """Counts of random data are those of exact arithmetic."""
    rng = random.Random(seed)
    values = [rng.lognormvariate(-2, 3) for _ in range(1_000)] + [0.0] * 17
    view = layout(THRESHOLDS)
    exponential = view.exponential(counted(view, values))
    expected = Counter(exponential_index(value) for value in values if value)
    assert exponential.zero_count == 17
    assert {exponential.offset + i: n for i, n in enumerate(exponential.counts) if n} == expected
    assert exponential.counts[0]
    assert exponential.counts[-1]


DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "constant 122 ms": lambda _: 0.122,
    "constant at an edge": lambda _: 0.25,
    "uniform": lambda r: r.uniform(0.001, 3),
    "lognormal narrow": lambda r: r.lognormvariate(-1.5, 0.1),
    "lognormal wide": lambda r: min(r.lognormvariate(-2, 2), 599),
    "bimodal": lambda r: r.gauss(0.05, 0.002) if r.random() < 0.9 else r.gauss(4, 0.1),
    "exponential": lambda r: r.expovariate(5) + 1e-4,
    "pareto": lambda r: min(0.02 * r.paretovariate(1.1), 599),
    "sawtooth": lambda r: (r.randrange(100) + 1) / 50,
    "whole milliseconds": lambda r: r.randint(1, 2_000) / 1000,
    "near the threshold": lambda r: 0.3 + r.uniform(-1e-6, 1e-6),
    "very short": lambda r: r.gauss(0.0002, 0.00001),
    "very long": lambda r: r.gauss(300, 40),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("size", [1, 37, 5_000])
def test_quantiles(name: str, size: int) -> None:
    """Quantiles are within 2.19 % of the value of rank `ceil(q n)` in the sorted list."""
    assert pytest.approx(0.021897, abs=1e-6) == QUANTILE_ERROR
    draw = DISTRIBUTIONS[name]
    rng = random.Random(f"{name}{size}")
    values = sorted(draw(rng) for _ in range(size))
    view = layout([0.3])
    counts = counted(view, values)
    for q in (Fraction(1, 2), Fraction(9, 10), Fraction(99, 100), Fraction(999, 1000)):
        assert view.quantile(counts, float(q)) == pytest.approx(values[math.ceil(q * size) - 1], rel=0.0219)


def test_quantile_limits() -> None:
    """Without values there is no quantile; q of 0 and 1 are the first and the last value; zeros stay zero."""
    view = layout()
    assert view.quantile({}, 0.5) is None
    counts = counted(view, [0.010] * 9 + [7.0])
    assert view.quantile(counts, 0) == pytest.approx(0.010, rel=QUANTILE_ERROR)
    assert view.quantile(counts, 0.9) == pytest.approx(0.010, rel=QUANTILE_ERROR)
    assert view.quantile(counts, 1) == pytest.approx(7.0, rel=QUANTILE_ERROR)
    assert view.quantile(counted(view, [0.010, 7.0]), 0.5) == pytest.approx(0.010, rel=QUANTILE_ERROR)
    assert view.quantile(counted(view, [0.0, 0.0]), 1) == 0.0
    above_all_bounds = view.quantile(counted(view, [3_600.0]), 0.5)
    assert above_all_bounds is not None
    assert above_all_bounds > view.bounds[-1]


def test_sums_and_differences() -> None:
    """Counts are added and subtracted by index, without zeros in a difference."""
    assert joined([{1: 2, 3: 4}, {}, {3: 1, 5: 6}]) == {1: 2, 3: 5, 5: 6}
    assert difference({1: 2, 3: 5, 5: 6}, {1: 2, 3: 4}) == {3: 1, 5: 6}
