"""Makers of timelines: runs whose latency is a formula of time and users."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from locust_otel.core.histogram import layout
from locust_otel.review.analysis.timeline import EndpointSeries, Flags, Floats, Timeline
from locust_otel.wire.record import Mark

BOUNDS = np.array(layout((0.2,)).bounds)
THINK_S = 3.0
Latency = Callable[[Floats, Floats], Floats]
"""Function from seconds and users to the mean duration in seconds."""


def stairs(high: int, length_s: int = 360, count: int = 8, step_s: int = 40) -> Floats:
    """Return numbers of users that rise in steps and stay at the highest step."""
    step = np.minimum(np.arange(length_s) // step_s, count - 1)
    result: Floats = np.round(high * (step + 1) / count).astype(np.float64)
    return result


def made(
    users: Floats, latencies: Mapping[str, Latency], *, failing: Floats | None = None, seed: int = 1,
    keeps_up: bool | Floats | Flags = True, marks: tuple[Mark, ...] = (), noise: float = 0.1,
) -> Timeline:  # fmt: skip
    """Return a run of users who think for three seconds; each endpoint has its latency and the same share of them."""
    rng = np.random.default_rng(seed)
    length = len(users)
    time_s = np.arange(length, dtype=np.float64)
    means = {name: latency(time_s, users) for name, latency in latencies.items()}
    whole = np.mean(list(means.values()), axis=0)
    rate = users / (THINK_S + whole) / len(means)
    share = np.zeros(length) if failing is None else failing
    endpoints = []
    for name, mean in means.items():
        count = rng.poisson(rate).astype(np.float64)
        failed = np.round(count * share)
        seen = mean * np.maximum(0.1, 1 + noise * rng.standard_normal(length))
        bucket = np.searchsorted(BOUNDS, seen)
        at = np.flatnonzero(count)
        endpoints.append(
            EndpointSeries("GET", name, count - failed, failed, (count - failed) * seen, failed * seen,
                           np.stack((at, bucket[at]), axis=1).astype(np.int64), count[at])
        )  # fmt: skip
    return Timeline(
        source="made", run_id="made", start_s=time_s, end_s=time_s + 1, users=users, endpoints=tuple(endpoints),
        bounds=BOUNDS, keeps_up=np.broadcast_to(np.asarray(keeps_up, bool), (length,)).copy(),
        cpu=np.full(length, 0.3), marks=marks,
    )  # fmt: skip


def flat(base_s: float = 0.05) -> Latency:
    """Return a constant latency."""
    return lambda time_s, _users: np.full(len(time_s), base_s)


def saturated(time_s: Floats, users: Floats, per_request_s: float = 0.01, base_s: float = 0.04) -> Floats:
    """Return the latency if each request waits for all others: R = R0 + a X R, X = N / (Z + R)."""
    half = (THINK_S - base_s - per_request_s * users) / 2
    return -half + np.sqrt(half**2 + base_s * THINK_S)


def capped(time_s: Floats, users: Floats) -> Floats:
    """Return a latency with a knee at 100 requests/s, 305 users."""
    return np.maximum(0.05, users / 100 - THINK_S)


def stalled(time_s: Floats, users: Floats) -> Floats:
    """Return a latency with a stall of 3 s every 17 s."""
    return np.where(time_s % 17 < 3, 0.9, 0.05)


def drifting(time_s: Floats, users: Floats) -> Floats:
    """Return a latency that drifts by 60 ms a minute."""
    return 0.05 + time_s / 1000


def late(time_s: Floats, users: Floats) -> Floats:
    """Return a latency that is ten times as high from 200 s on."""
    return np.where(time_s >= 200, 0.8, 0.08)
