"""Tests of the statistical methods, against data with known parameters."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from locust_otel.review.analysis import statistics

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("levels", [(1.0,), (1.0, 5.0), (1.0, 5.0, 2.0)])
def test_change_points(levels: tuple[float, ...]) -> None:
    """Levels of 40 noisy values change at 40 and 80; few values have no change."""
    values = np.concatenate([level + 0.1 * RNG.standard_normal(40) for level in levels])
    assert statistics.change_points(values, min_length=3, strength=8.0) == [40 * n for n in range(1, len(levels))]
    assert statistics.change_points(values[:5], min_length=3, strength=8.0) == []


def test_period() -> None:
    """A noisy sine has its period, and noise, a trend and a constant have none."""
    steps = np.arange(300)
    sine = statistics.period(np.sin(2 * np.pi * steps / 23.4) + 0.2 * RNG.standard_normal(300), 3)
    assert sine is not None
    assert sine.steps == pytest.approx(23.4, rel=0.02)
    assert sine.strength > 0.8
    for values in (steps / 300, np.ones(300), np.sin(2 * np.pi * steps / 100)):
        assert statistics.period(values, 3) is None
    assert statistics.period(sine.steps * np.ones(12), 3) is None


def test_line() -> None:
    """An outlier does not change the line; without variation it is flat."""
    x = np.arange(21.0)
    y = 3 * x + 2
    assert statistics.line(x, y) == pytest.approx((3, 2, 1))
    y[-1] = 1000
    assert statistics.line(x, y)[:2] == pytest.approx((3, 2))
    assert statistics.line(np.ones(5), np.arange(5.0)) == (0, 2, 0)
    assert statistics.line(np.arange(5.0), np.ones(5)) == (0, 1, 0)


@pytest.mark.parametrize("sharpness", [1.0, 2.0, 8.0])
def test_bend(sharpness: float) -> None:
    """The parameters of an exact curve come back; a given sharpness is kept."""
    concurrency = np.geomspace(0.5, 60, 40)
    latency_s = (0.05**sharpness + (concurrency / 100) ** sharpness) ** (1 / sharpness)
    assert statistics.bend(concurrency, latency_s) == pytest.approx((0.05, 100, sharpness, 0), rel=0.02, abs=1e-3)
    assert statistics.bend(concurrency, latency_s, sharpness)[:3] == pytest.approx((0.05, 100, sharpness), rel=0.02)


@pytest.mark.parametrize(
    ("contention", "coherence", "peak"),
    [(0.05, 0.0, 20 * 10), (0.02, 0.001, 10 * sqrt(980) / (1 + 0.02 * (sqrt(980) - 1) + 0.001 * (980 - sqrt(980))))],
)
def test_scalability(contention: float, coherence: float, peak: float) -> None:
    """The parameters of an exact law come back, with the peak by its formula and an interval around it."""
    load = np.linspace(1, 80, 60)
    law = statistics.scalability(load, 10 * load / (1 + contention * (load - 1) + coherence * load * (load - 1)))
    assert law[:3] == pytest.approx((10, contention, coherence), rel=0.02, abs=1e-6)
    assert law[3:] == pytest.approx((peak, peak, peak), rel=0.02)


def test_scalability_without_a_limit() -> None:
    """If throughput follows the load, the law allows far more than was measured."""
    load = np.linspace(1, 80, 60)
    assert min(statistics.scalability(load, 10 * load)[3:]) > 100 * 800


def test_resampled() -> None:
    """Each call gives the same samples, with indices of all points."""
    first, second = ([sample.tolist() for sample in statistics.resampled(9)] for _ in range(2))
    assert first == second
    assert {index for sample in first for index in sample} == set(range(9))


def test_filled() -> None:
    """A gap gets the next value, or the last one; without values it is zero."""
    nan = np.nan
    assert statistics.filled(np.array([nan, 1, nan, nan, 2, nan])).tolist() == [1, 1, 2, 2, 2, 2]
    assert statistics.filled(np.array([nan, nan])).tolist() == [0, 0]


def test_running_median() -> None:
    """It is the median of the values around, with the first and the last repeated."""
    assert statistics.running_median(np.array([9.0, 1, 5, 2, 8]), 3).tolist() == [9, 5, 2, 5, 8]
