"""The established methods that the detectors stand on, each a function of arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from locust_otel.review.analysis.timeline import Floats, Ints

_MIN_CYCLES = 4
_LEAST_TROUGH = 0.25
_SHAPES = (0.3, 60.0)


def change_points(values: Floats, min_length: int = 3, strength: float = 6.0) -> list[int]:
    """Return where the level of a series changes: the first index of each new segment.

    Optimal partitioning with squared error and a penalty of `strength * variance * log n` a change
    (Jackson et al. 2005, https://arxiv.org/abs/math/0309285); the variance is that of the differences, which level
    changes hardly touch.

    Args:
        values: Shape (n,), without NaN.
        min_length: Values in a segment at the least.
        strength: Factor on the penalty.
    """
    n = len(values)
    if n < 2 * min_length:
        return []
    spread = 1.4826 * float(np.median(np.abs(np.diff(values) - np.median(np.diff(values))))) / np.sqrt(2)
    variance = max(spread**2, 1e-12, float(np.var(values)) * 1e-4)
    penalty = strength * variance * np.log(n)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    best = np.full(n + 1, np.inf)
    best[0] = -penalty
    before = np.zeros(n + 1, np.int64)
    for end in range(min_length, n + 1):
        starts = np.arange(0, end - min_length + 1)
        length = end - starts
        cost = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / length
        total = best[starts] + cost + penalty
        choice = int(np.argmin(total))
        best[end], before[end] = total[choice], starts[choice]
    found: list[int] = []
    at = int(before[n])
    while at > 0:
        found.append(at)
        at = int(before[at])
    return found[::-1]


class Period(NamedTuple):
    """A period of a series, in steps, and its autocorrelation at one and two periods."""

    steps: float
    strength: float
    strength_twice: float


def autocorrelation(values: Floats) -> Floats:
    """Return the autocorrelation by lag, 1 at lag 0, corrected for the shorter overlap."""
    centred = values - values.mean()
    n = len(values)
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    raw = np.fft.irfft(power, size)[:n]
    if raw[0] <= 0:
        return np.zeros(n)
    result: Floats = raw / raw[0] * n / np.arange(n, 0, -1)
    return result


def period(values: Floats, shortest: int = 4) -> Period | None:
    """Return the period of a series that repeats itself at least four times; None where it does not.

    Args:
        values: Shape (n,), evenly spaced, without trend.
        shortest: Steps of the shortest period looked for.
    """
    longest = len(values) // _MIN_CYCLES
    if longest <= shortest:
        return None
    correlation = np.convolve(autocorrelation(values), [0.25, 0.5, 0.25], mode="same")
    window = np.arange(shortest, longest + 1)
    peaks = [
        int(lag)
        for lag in window
        if correlation[lag] >= correlation[lag - 1] and correlation[lag] > correlation[lag + 1]
    ]
    highest = max((float(correlation[lag]) for lag in peaks), default=0.0)
    if highest <= 0:
        return None
    lag = next(lag for lag in peaks if correlation[lag] >= 0.75 * highest)
    if correlation[lag] - min(correlation[lag // 2 : lag]) < _LEAST_TROUGH:
        return None  # alike at every distance: a trend, not a period
    # The peaks at whole multiples tell the period more finely than the first one does.
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
    """A straight line, and the share of the variance it explains."""

    slope: float
    intercept: float
    r2: float


def line(x: Floats, y: Floats) -> Line:
    """Return the Theil–Sen line, which outliers do not bend, and the R² of least squares."""
    if len(x) < 3 or np.ptp(x) == 0:
        return Line(0.0, float(np.median(y)) if len(y) else 0.0, 0.0)
    fitted = stats.theilslopes(y, x)
    return Line(float(fitted[0]), float(fitted[1]), float(stats.pearsonr(x, y)[0] ** 2) if np.ptp(y) else 0.0)


class Bend(NamedTuple):
    """How latency R follows concurrency L: `R = (R0^p + (L / C)^p)^(1/p)`.

    The two asymptotes of operational analysis (Denning & Buzen 1978): nobody waits, or the bottleneck is always busy.
    p says how sharp the bend between them is: 1 is a straight line from the first request on, infinity a cliff.

    Attributes:
        base_s: R0.
        capacity: C, requests/s.
        sharpness: p.
        error: Root mean square of the residuals of log R.
    """

    base_s: float
    capacity: float
    sharpness: float
    error: float


def bend(concurrency: Floats, latency_s: Floats, sharpness: float | None = None) -> Bend:
    """Fit a `Bend`, robustly; with a given sharpness only the other two."""
    logs = np.log(latency_s)
    start = [float(np.log(np.quantile(latency_s, 0.1))), float(np.log(np.max(concurrency / latency_s)))]
    free = [] if sharpness is not None else [np.log(2.0)]
    log_l = np.log(concurrency)
    low, high = np.log(_SHAPES)

    def residuals(values: Floats) -> Floats:
        p = sharpness if sharpness is not None else float(np.exp(np.clip(values[2], low, high)))
        result: Floats = np.logaddexp(p * values[0], p * (log_l - values[1])) / p - logs
        return result

    fitted = optimize.least_squares(residuals, [*start, *free], loss="soft_l1", f_scale=0.1, max_nfev=200)
    p = sharpness if sharpness is not None else float(np.exp(np.clip(fitted.x[2], low, high)))
    error = float(np.sqrt(np.mean(np.minimum(residuals(fitted.x) ** 2, 1.0))))
    return Bend(float(np.exp(fitted.x[0])), float(np.exp(fitted.x[1])), p, error)


class Scalability(NamedTuple):
    """The Universal Scalability Law, `X = r L / (1 + a (L - 1) + b L (L - 1))` (Gunther 1993).

    Attributes:
        rate: r, requests/s of one request at a time.
        contention: a.
        coherence: b.
        peak: The highest throughput it allows, requests/s; infinity where nothing limits it.
        low: Lower end of the 95 % interval of the peak, by bootstrap.
        high: Upper end.
    """

    rate: float
    contention: float
    coherence: float
    peak: float
    low: float
    high: float


def scalability(concurrency: Floats, throughput: Floats, *, rounds: int = 24, seed: int = 1) -> Scalability:
    """Fit the law, with the interval of its peak from resampled points."""
    rng = np.random.default_rng(seed)
    values = _law(concurrency, throughput)
    peaks = []
    for _ in range(rounds):
        chosen = rng.integers(0, len(concurrency), len(concurrency))
        peaks.append(_peak(*_law(concurrency[chosen], throughput[chosen], start=values)))
    low, high = np.quantile(peaks, [0.025, 0.975], method="nearest")
    return Scalability(*values, _peak(*values), float(low), float(high))


def _law(
    concurrency: Floats, throughput: Floats, start: tuple[float, float, float] | None = None
) -> tuple[float, float, float]:
    # L / X is a polynomial of L: least squares under r > 0, a ≥ 0, b ≥ 0, in logs so that no level outweighs others.
    begin = start or (float(np.max(throughput / concurrency)), 0.05, 1e-4)

    def residuals(values: Floats) -> Floats:
        rate, contention, coherence = values
        below = 1 + contention * (concurrency - 1) + coherence * concurrency * (concurrency - 1)
        result: Floats = np.log(rate * concurrency / np.maximum(below, 1e-9)) - np.log(throughput)
        return result

    fitted = optimize.least_squares(
        residuals, np.maximum(begin, [1e-6, 1e-9, 1e-12]), bounds=([1e-9, 0, 0], np.inf), loss="soft_l1", f_scale=0.1,
        x_scale=[begin[0], 0.1, 1e-3], max_nfev=100,
    )  # fmt: skip
    rate, contention, coherence = (float(value) for value in fitted.x)
    return rate, contention, coherence


def _peak(rate: float, contention: float, coherence: float) -> float:
    if coherence > 1e-9 and contention < 1:
        best = max(1.0, float(np.sqrt((1 - contention) / coherence)))
        return rate * best / (1 + contention * (best - 1) + coherence * best * (best - 1))
    return rate / contention if contention > 1e-9 else float("inf")


def running_median(values: Floats, width: int) -> Floats:
    """Return the median of the values around each one."""
    half = max(1, width // 2)
    padded = np.pad(values, half, mode="edge")
    result: Floats = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return result


def filled(values: Floats) -> Floats:
    """Return the values with each gap filled by the next one, or by the last where there is none."""
    known: Ints = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return np.zeros_like(values)
    at = np.searchsorted(known, np.arange(len(values)))
    result: Floats = values[known[np.minimum(at, len(known) - 1)]]
    return result
