"""Tests of timelines: sums, bins and quantiles against loops over single requests."""

from __future__ import annotations

import numpy as np
import pytest

from locust_otel.review.analysis import timeline
from tests.unit.timelines import BOUNDS, flat, made, saturated, stairs

RUN = made(stairs(200, 120), {"/a": flat(0.1), "/b": saturated}, failing=np.full(120, 0.25))
EVERY = np.ones(120, bool)


def test_totals() -> None:
    """The totals are the sums of the endpoints, and their durations those of all requests."""
    a, b = RUN.endpoints
    assert RUN.totals.requests == pytest.approx(a.requests + b.requests)
    assert RUN.totals.requests_s.sum() == pytest.approx(a.requests_s.sum() + b.requests_s.sum())
    assert RUN.totals.weights.sum() == RUN.totals.requests.sum()
    assert (a.label, RUN.totals.label) == ("GET /a", "all requests")


def test_quantiles() -> None:
    """Each quantile is in the bucket of the sorted durations; a bin without requests has none."""
    kept = np.arange(120) >= 30
    at, bins = timeline.even_bins(RUN, 30.0, kept)
    table = timeline.quantiles(RUN, RUN.totals, at, bins, (0.5, 0.95))
    assert table.shape == (2, 4)
    assert np.isnan(table[:, 0]).all()
    for bin_ in (1, 2, 3):
        buckets = sorted(
            bucket
            for (interval, bucket), weight in zip(RUN.totals.cells, RUN.totals.weights, strict=True)
            if at[interval] == bin_
            for _ in range(int(weight))
        )
        for row, share in zip(table, (0.5, 0.95), strict=True):
            bucket = buckets[int(np.ceil(share * len(buckets))) - 1]
            assert BOUNDS[bucket - 1] < row[bin_] < BOUNDS[bucket]


def test_points() -> None:
    """Points are means over their bin, and obey the laws of Little and of the interactive response time."""
    load = timeline.points(RUN, EVERY, width_s=10.0)
    span = slice(20, 30)
    good, users = RUN.totals.good[span].sum(), RUN.users[span].mean()
    assert (load.time_s[2], load.users[2], load.rps[2]) == pytest.approx((25, users, good / 10))
    assert load.latency_s[2] == pytest.approx(RUN.totals.good_s[span].sum() / good)
    assert load.failing[2] == pytest.approx(RUN.totals.failed[span].sum() / RUN.totals.requests[span].sum())
    assert load.concurrency[2] == pytest.approx(RUN.totals.good_s[span].sum() / 10)
    assert load.think_s.mean() == pytest.approx(3, rel=0.1)
    assert len(timeline.points(RUN, ~EVERY)) == 0


def test_steps_of_the_load() -> None:
    """Steps are at 40 and 80 s; 8 s after the start and each of them are not steady, and the rest are stretches."""
    assert timeline.jumps(RUN.users).tolist() == [40, 80]
    steady = timeline.steady(RUN)
    assert np.flatnonzero(~steady).tolist() == [*range(7), *range(40, 48), *range(80, 88)]
    assert list(timeline.stretches(RUN, steady)) == [(7, 40), (48, 80), (88, 120)]
    assert list(timeline.same_load(np.array([5.0, 5, 6, 9, 9]), np.full(5, 1.0))) == [(0, 3), (3, 5)]


def test_loads() -> None:
    """The variation is that of the users, and points of the lowest and the highest load are flagged."""
    assert timeline.variation(RUN) == 3
    low, high = timeline.low_and_high(timeline.points(RUN, EVERY, width_s=10.0))
    assert np.flatnonzero(low).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(high).tolist() == [8, 9, 10, 11]
