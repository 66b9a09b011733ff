"""Makers of timelines: runs whose latency is a formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from locust_otel.core.histogram import layout
from locust_otel.review.analysis.timeline import EndpointSeries, Floats, Timeline
from locust_otel.wire.record import Mark

BOUNDS = np.array(layout((0.2,)).bounds)
THINK_S = 3.0
Latency = Callable[[Floats, Floats], Floats]
"""From seconds and users to mean seconds."""


def stairs(high: int, length_s: int = 360, count: int = 8, step_s: int = 40) -> Floats:
    """Return users that climb in steps and stay at the top."""
    step = np.minimum(np.arange(length_s) // step_s, count - 1)
    result: Floats = np.round(high * (step + 1) / count).astype(np.float64)
    return result


def made(
    users: Floats, latencies: Mapping[str, Latency], *, failing: Floats | None = None, seed: int = 1,
    keeps_up: bool | Floats = True, marks: tuple[Mark, ...] = (), noise: float = 0.1,
) -> Timeline:  # fmt: skip
    """Return a run of users who think for three seconds, each endpoint with its latency and the same share of them."""
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
    """Return a latency that nothing changes."""
    return lambda time_s, _users: np.full(len(time_s), base_s)
