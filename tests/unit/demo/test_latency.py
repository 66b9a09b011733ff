"""Tests of the service times and of the capacity of the demo shop."""

from __future__ import annotations

import statistics

import pytest

from locust_otel.demo.latency import SERVICES, WEBSHOP_MIX, LatencyModel, capacity_rps


def test_drawn_times_have_the_documented_means() -> None:
    """The mean of 5,000 draws is within 4 % of the documented one, for every route."""
    model = LatencyModel(seed=5)
    for route, service in SERVICES.items():
        app_s, db_s = zip(*(model.draw(route) for _ in range(5_000)), strict=True)
        assert statistics.mean(app_s) == pytest.approx(service.app_mean_s, rel=0.04)
        assert statistics.mean(db_s) == pytest.approx(service.db_mean_s, rel=0.04)


def test_draws_of_a_route_do_not_depend_on_the_others() -> None:
    """The n-th request of a route takes the same time independent of the others in between."""
    alone, mixed = LatencyModel(seed=5), LatencyModel(seed=5)
    expected = [alone.draw("/api/orders") for _ in range(3)]
    draws = []
    for _ in range(3):
        mixed.draw("/api/cart")
        draws.append(mixed.draw("/api/orders"))
    assert draws == expected


@pytest.mark.parametrize(
    ("workers", "db_connections", "time_scale", "expected"),
    [
        (16, 8, 1.0, 16 / 0.0332),  # a worker 27.5 + 5.7 ms
        (16, 1, 1.0, 1 / 0.0057),  # 1.9 queries of 3 ms
        (4, 8, 1.0, 4 / 0.0332),
        (16, 8, 0.5, 16 / 0.0166),
        (16, 8, 0.0, float("inf")),
    ],
)
def test_capacity_follows_from_the_figures(
    workers: int, db_connections: int, time_scale: float, expected: float
) -> None:
    """The webshop mix saturates the workers at 482 requests/s, one connection at 175."""
    capacity = capacity_rps(WEBSHOP_MIX, workers=workers, db_connections=db_connections, time_scale=time_scale)
    assert capacity == pytest.approx(expected)
