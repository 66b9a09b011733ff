"""Statistical methods of the detectors: functions of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage, optimize, signal, stats

from locust_otel.review.analysis.timeline import Floats, Ints

_MIN_CYCLES = 4
_LEAST_TROUGH = 0.25
_SHAPES = (0.3, 60.0)
_ROUNDS = 24


def change_points(values: Floats, min_length: int, strength: float) -> list[int]:
    """Return the first index of each segment after a change of level.

    Optimal partitioning with squared error and a penalty of `strength * variance * log n` for each change
    (Jackson et al. 2005, https://arxiv.org/abs/math/0309285). The variance is that of the differences, which changes of
    level hardly affect. The values must not have NaN; a segment has at least `min_length` values.
    """
    n = len(values)
    if n < 2 * min_length:
        return []
    spread = 1.4826 * float(stats.median_abs_deviation(np.diff(values))) / np.sqrt(2)
    variance = max(spread**2, 1e-12, float(np.var(values)) * 1e-4)
    penalty = strength * variance * np.log(n)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    best = np.full(n + 1, np.inf)
    best[0] = -penalty
    before = np.zeros(n + 1, np.int64)
    for end in range(min_length, n + 1):
        starts = np.arange(0, end - min_length + 1)
        cost = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / (end - starts)
        total = best[starts] + cost + penalty
        before[end] = np.argmin(total)
        best[end] = total[before[end]]
    changes: list[int] = []
    at = int(before[n])
    while at > 0:
        changes.append(at)
        at = int(before[at])
    return changes[::-1]


class Period(NamedTuple):
    """Period of a series in steps, and the autocorrelation after one and two periods."""

    steps: float
    strength: float
    strength_twice: float


def _autocorrelation(values: Floats) -> Floats:
    """Return the autocorrelation by lag, 1 at lag 0, corrected for the shorter overlap."""
    centred = values - values.mean()
    n = len(values)
    raw = signal.correlate(centred, centred, method="fft")[n - 1 :]
    return raw / raw[0] * n / np.arange(n, 0, -1) if raw[0] > 0 else np.zeros(n)


def period(values: Floats, shortest: int) -> Period | None:
    """Return the period of a series without trend, of at least `shortest` steps and at least four times; else None."""
    longest = len(values) // _MIN_CYCLES
    if longest <= shortest:
        return None
    correlation = np.convolve(_autocorrelation(values), [0.25, 0.5, 0.25], mode="same")
    peaks, _ = signal.find_peaks(correlation[shortest - 1 : longest + 2], height=0)
    if not len(peaks):
        return None
    peaks += shortest - 1
    lag = int(peaks[np.argmax(correlation[peaks] >= 0.75 * correlation[peaks].max())])
    if correlation[lag] - min(correlation[lag // 2 : lag]) < _LEAST_TROUGH:
        return None  # similar at every lag: a trend, not a period
    # The peaks at multiples of the lag give a finer period than the first peak.
    estimate, near = float(lag), max(1, lag // 6)
    twice = 0.0
    for multiple in range(2, len(values) * 3 // 4 // lag + 1):
        middle = round(estimate * multiple)
        around = np.arange(max(middle - near, 1), min(middle + near + 1, len(values) - 1))
        if not len(around):
            break
        top = int(around[np.argmax(correlation[around])])
        if multiple == 2:
            twice = float(correlation[top])
        if correlation[top] < 0.15:
            break
        estimate = top / multiple
    return Period(estimate, float(correlation[lag]), twice)


class Line(NamedTuple):
    """Straight line, and the share of the variance that it explains."""

    slope: float
    intercept: float
    r2: float


def line(x: Floats, y: Floats) -> Line:
    """Return the Theil–Sen line, which is robust against outliers, and the R² of least squares."""
    if len(x) < 3 or np.ptp(x) == 0:
        return Line(0.0, float(np.median(y)) if len(y) else 0.0, 0.0)
    fitted = stats.theilslopes(y, x)
    return Line(float(fitted[0]), float(fitted[1]), float(stats.pearsonr(x, y)[0] ** 2) if np.ptp(y) else 0.0)


class Bend(NamedTuple):
    """Curve of latency R by concurrency L: `R = (R0^p + (L / C)^p)^(1/p)`.

    Its asymptotes are those of operational analysis (Denning & Buzen 1978): no request waits, or the bottleneck is
    always busy. p is the sharpness of the bend between them: 1 is a straight line, infinity a cliff.
    """

    base_s: float  # R0
    capacity: float  # C, requests/s
    sharpness: float  # p
    error: float  # root mean square of the residuals of log R


def bend(concurrency: Floats, latency_s: Floats, sharpness: float | None = None) -> Bend:
    """Fit a `Bend` robustly; a given sharpness is kept."""
    logs, log_l = np.log(latency_s), np.log(concurrency)
    start = [np.log(np.quantile(latency_s, 0.1)), np.log(np.max(concurrency / latency_s)), np.log(2.0)]

    def exponent(values: Floats) -> float:
        return float(np.exp(np.clip(values[2], *np.log(_SHAPES)))) if sharpness is None else sharpness

    def residuals(values: Floats) -> Floats:
        p = exponent(values)
        result: Floats = np.logaddexp(p * values[0], p * (log_l - values[1])) / p - logs
        return result

    free = start if sharpness is None else start[:2]
    fitted = optimize.least_squares(residuals, free, loss="soft_l1", f_scale=0.1, max_nfev=200).x
    error = float(np.sqrt(np.mean(np.minimum(residuals(fitted) ** 2, 1.0))))
    return Bend(float(np.exp(fitted[0])), float(np.exp(fitted[1])), exponent(fitted), error)


class Scalability(NamedTuple):
    """Universal Scalability Law, `X = r L / (1 + a (L - 1) + b L (L - 1))` (Gunther 1993)."""

    rate: float  # r, requests/s with one request at a time
    contention: float  # a
    coherence: float  # b
    peak: float  # highest throughput, requests/s; infinity without a limit
    low: float  # ends of the 95 % interval of the peak, by bootstrap
    high: float


def scalability(concurrency: Floats, throughput: Floats) -> Scalability:
    """Fit the law, with the interval of its peak from resampled points."""
    law = _law(concurrency, throughput, (float(np.max(throughput / concurrency)), 0.05, 1e-4))
    peaks = [_peak(*_law(concurrency[chosen], throughput[chosen], law)) for chosen in resampled(len(concurrency))]
    low, high = np.quantile(peaks, [0.025, 0.975], method="nearest")
    return Scalability(*law, _peak(*law), float(low), float(high))


def _law(concurrency: Floats, throughput: Floats, start: tuple[float, float, float]) -> tuple[float, float, float]:
    # Least squares under r > 0, a ≥ 0, b ≥ 0, in logs so that all levels have the same weight.
    def residuals(values: Floats) -> Floats:
        rate, contention, coherence = values
        below = 1 + contention * (concurrency - 1) + coherence * concurrency * (concurrency - 1)
        result: Floats = np.log(rate * concurrency / np.maximum(below, 1e-9)) - np.log(throughput)
        return result

    fitted = optimize.least_squares(
        residuals, np.maximum(start, [1e-6, 1e-9, 1e-12]), bounds=([1e-9, 0, 0], np.inf), loss="soft_l1", f_scale=0.1,
        x_scale=[start[0], 0.1, 1e-3], max_nfev=100,
    )  # fmt: skip
    rate, contention, coherence = (float(value) for value in fitted.x)
    return rate, contention, coherence


def _peak(rate: float, contention: float, coherence: float) -> float:
    if coherence > 1e-9 and contention < 1:
        best = max(1.0, float(np.sqrt((1 - contention) / coherence)))
        return rate * best / (1 + contention * (best - 1) + coherence * best * (best - 1))
    return rate / contention if contention > 1e-9 else float("inf")


def resampled(count: int) -> Iterator[Ints]:
    """Yield bootstrap samples of `count` points as indices, the same samples in each call."""
    rng = np.random.default_rng(1)
    for _ in range(_ROUNDS):
        yield rng.integers(0, count, count)


def running_median(values: Floats, width: int) -> Floats:
    """Return the median of `width` values around each value."""
    return ndimage.median_filter(values, 2 * max(1, width // 2) + 1, mode="nearest")


def filled(values: Floats) -> Floats:
    """Return the values with each NaN replaced by the next value, or by the last value; zeros without any value."""
    known: Ints = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return np.zeros_like(values)
    at = np.searchsorted(known, np.arange(len(values)))
    return values[known[np.minimum(at, len(known) - 1)]]
