"""Tests of the histogram: what is said about an edge is exact, what lies between two is an estimate with a bound."""

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
    exponential_edges,
    layout,
)
from locust_otel.core.snapshot import SeriesKey
from locust_otel.plugin.series import Series

THRESHOLDS = (0.00005, 0.29, 0.3, 1.1, 2.0, 2.675, 700.0)
STEPS = 2**SCALE


def counted(bounds: Layout, seconds: Sequence[float]) -> Counter[int]:
    """Count by comparing with the bounds, one by one."""
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


def test_edges_of_the_catalogue() -> None:
    """The classic edges are those of the semantic conventions and three more, and thresholds join them."""
    conventions = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
    assert (*conventions, 15.0, 30.0, 60.0) == CLASSIC_EDGES
    assert layout().classic_bounds == CLASSIC_EDGES
    assert layout([0.3, 5.0]).classic_bounds == tuple(sorted((*CLASSIC_EDGES, 0.3)))


@pytest.mark.parametrize("thresholds", [(), THRESHOLDS], ids=["plain", "thresholds"])
def test_bounds_are_the_sorted_union(thresholds: tuple[float, ...]) -> None:
    """Bounds are sorted, distinct, begin at 0, and hold every edge and threshold."""
    bounds = layout(thresholds).bounds
    assert list(bounds) == sorted({0.0, *exponential_edges(), *CLASSIC_EDGES, *thresholds})


def test_one_layout_for_the_same_thresholds() -> None:
    """The same thresholds, in whatever order and number, give the same object."""
    assert layout([1, 0.3]) is layout((0.3, 1.0, 0.3))


@pytest.mark.parametrize("threshold", [0, -1, math.inf, math.nan, -math.inf])
def test_thresholds_that_are_refused(threshold: float) -> None:
    """A threshold that is not positive and finite is an error."""
    with pytest.raises(ValueError, match="positive and finite"):
        layout([threshold])


@pytest.mark.parametrize("thresholds", [(), THRESHOLDS], ids=["plain", "thresholds"])
def test_classic_counts_at_each_edge(thresholds: tuple[float, ...]) -> None:
    """A value at an edge or just below is counted at it, one just above is not."""
    view = layout(thresholds)
    for position, edge in enumerate(view.classic_bounds):
        for value, first in (
            (math.nextafter(edge, 0.0), position),
            (edge, position),
            (math.nextafter(edge, math.inf), position + 1),
        ):
            expected = tuple(int(i >= first) for i in range(len(view.classic_bounds) + 1))
            assert view.classic(counted(view, [value])) == expected, value


@pytest.mark.parametrize("thresholds", [(), THRESHOLDS], ids=["plain", "thresholds"])
def test_whole_milliseconds_are_all_exact(thresholds: tuple[float, ...]) -> None:
    """Of the whole milliseconds up to 10 minutes, as a run records them, none is on the wrong side of an edge."""
    view = layout(thresholds)
    series = Series(SeriesKey("GET", "/", "", "success"))
    milliseconds = range(600_001)
    series.pending += [number for ms in milliseconds for number in (ms, 0)]
    series.tally(view.bounds)
    # In whole numbers: the edges in decimal, as they are written.
    expected = [min(int(Decimal(repr(edge)) * 1000), 600_000) + 1 for edge in view.classic_bounds]
    assert view.classic(series.counts) == (*expected, 600_001)
    assert series.sum_s == pytest.approx(600 * 600_001 / 2, rel=1e-12)


def test_at_most_is_exact_at_thresholds() -> None:
    """What lies at or below a threshold is counted as by comparing each value."""
    view = layout(THRESHOLDS)
    rng = random.Random(1)
    near = [math.nextafter(t, to) for t in THRESHOLDS for to in (0.0, math.inf)]
    values = [*THRESHOLDS, *near, 0.0, *(rng.lognormvariate(-1, 2) for _ in range(2_000))]
    counts = counted(view, values)
    for threshold in (*THRESHOLDS, *CLASSIC_EDGES):
        assert view.above(counts, threshold) == sum(value > threshold for value in values)


@pytest.mark.parametrize("threshold", [0.31, 1_000.0, math.nextafter(0.3, 1)])
def test_at_most_refuses_what_is_no_bound(threshold: float) -> None:
    """Nothing is interpolated: a value that is none of the bounds is a KeyError."""
    view = layout([0.3])
    with pytest.raises(KeyError):
        view.above({}, threshold)


def test_exponential_edges_are_the_true_ones_rounded_down() -> None:
    """Each edge is the largest float whose 16th power does not exceed the power of two."""
    for index, edge in enumerate(exponential_edges(), LOWEST_INDEX):
        assert Fraction(edge) ** STEPS <= Fraction(2) ** index < Fraction(math.nextafter(edge, math.inf)) ** STEPS


@pytest.mark.parametrize("thresholds", [(), THRESHOLDS], ids=["plain", "thresholds"])
def test_exponential_buckets_are_exact_at_every_edge(thresholds: tuple[float, ...]) -> None:
    """A value at, just below and just above each exponential edge lies in the bucket exact arithmetic says."""
    view = layout(thresholds)
    for edge in exponential_edges():
        for value in (math.nextafter(edge, 0.0), edge, math.nextafter(edge, math.inf)):
            assert view.exponential(counted(view, [value])) == Exponential(0, exponential_index(value), (1,)), value


def test_offsets_are_numbered_as_by_opentelemetry() -> None:
    """One second ends bucket -1, two seconds end bucket 15, as the data model says for scale 4."""
    view = layout()
    assert view.exponential(counted(view, [1.0])) == Exponential(0, -1, (1,))
    assert view.exponential(counted(view, [math.nextafter(1.0, 2)])) == Exponential(0, 0, (1,))
    assert view.exponential(counted(view, [2.0])) == Exponential(0, 15, (1,))
    assert view.exponential(counted(view, [0.5, 1.0])) == Exponential(0, -17, (1, *[0] * 15, 1))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, Exponential(1, 0, ())),
        (math.nextafter(0.0, 1.0), Exponential(0, -213, (1,))),
        (0.0001, Exponential(0, -213, (1,))),
        (600.0, Exponential(0, 147, (1,))),
        (609.0, Exponential(0, 148, (1,))),
        (86_400.0, Exponential(0, 148, (1,))),
    ],
)
def test_exponential_ends(value: float, expected: Exponential) -> None:
    """The zero bucket holds 0 only, the first bucket all above it, the top bucket whatever lies above ten minutes."""
    for view in (layout(), layout(THRESHOLDS)):
        assert view.exponential(counted(view, [value])) == expected


def test_exponential_of_nothing() -> None:
    """Nothing measured has no buckets, and zeros alone have none either."""
    view = layout()
    assert view.exponential({}) == Exponential(0, 0, ())
    assert view.exponential(counted(view, [0.0] * 3)) == Exponential(3, 0, ())


@pytest.mark.parametrize("seed", range(3))
def test_exponential_on_random_data(seed: int) -> None:
    """All counts of random data agree with an exact computation, and none is lost."""
    rng = random.Random(seed)
    values = [rng.lognormvariate(-2, 3) for _ in range(1_000)] + [0.0] * 17
    view = layout(THRESHOLDS)
    found = view.exponential(counted(view, values))
    expected = Counter(exponential_index(value) for value in values if value)
    assert found.zero_count == 17
    assert {found.offset + i: n for i, n in enumerate(found.counts) if n} == expected
    assert found.counts[0]
    assert found.counts[-1]
    assert found.zero_count + sum(found.counts) == len(values)


def _distributions() -> dict[str, Callable[[random.Random], float]]:
    return {
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


@pytest.mark.parametrize("name", _distributions())
@pytest.mark.parametrize("size", [1, 37, 5_000])
def test_quantiles_are_within_the_bound(name: str, size: int) -> None:
    """Quantiles lie within 2.2 % of the value of rank `ceil(q n)` in the sorted list."""
    draw = _distributions()[name]
    rng = random.Random(f"{name}{size}")
    values = sorted(draw(rng) for _ in range(size))
    view = layout([0.3])
    counts = counted(view, values)
    for q in (Fraction(1, 2), Fraction(9, 10), Fraction(99, 100), Fraction(999, 1000)):
        true = values[math.ceil(q * size) - 1]
        found = view.quantile(counts, float(q))
        assert found is not None
        assert abs(found - true) <= 0.022 * true, (q, found, true)


def test_quantile_bound_is_what_the_scale_gives() -> None:
    """The stated error is half a bucket in the logarithm, 2.19 %."""
    assert pytest.approx(0.021897, abs=1e-6) == QUANTILE_ERROR


def test_quantile_ends_and_the_empty_answer() -> None:
    """Nothing measured has no quantile; q of 0 and 1 give the first and the last value; zeros stay zero."""
    view = layout()
    assert view.quantile({}, 0.5) is None
    counts = counted(view, [0.010] * 9 + [7.0])
    assert view.quantile(counts, 0) == pytest.approx(0.010, rel=QUANTILE_ERROR)
    assert view.quantile(counts, 0.9) == pytest.approx(0.010, rel=QUANTILE_ERROR)
    assert view.quantile(counts, 1) == pytest.approx(7.0, rel=QUANTILE_ERROR)
    assert view.quantile(counted(view, [0.0, 0.0]), 1) == 0.0


def test_quantile_above_the_last_bound_is_at_least_that_bound() -> None:
    """A request of an hour does not read as less than the last bound."""
    view = layout()
    found = view.quantile(counted(view, [3_600.0]), 0.5)
    assert found is not None
    assert found > view.bounds[-1]
