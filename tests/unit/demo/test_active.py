"""Tests of the active faults of the demo shop, and their joint effect."""

from __future__ import annotations

import pytest

from locust_otel.demo.active import ActiveFaults
from locust_otel.demo.faults import build


def test_active_faults_add_up_and_respect_their_route() -> None:
    """Two delays add up where both apply; a fault restricted to one route leaves the others alone."""
    active = ActiveFaults(seed=1)
    active.activate(build("latency", {"added_s": 0.5, "route": "/api/orders"}), now_s=100)
    active.activate(build("leak", {"per_minute_s": 0.6}), now_s=100)
    assert active.delay_s("/api/orders", 130, 1, 0.03) == pytest.approx(0.8)
    assert active.delay_s("/api/cart", 130, 1, 0.03) == pytest.approx(0.3)


def test_activating_again_replaces_and_restarts_the_age() -> None:
    """A second leak counts its minutes from its own activation."""
    active = ActiveFaults(seed=1)
    active.activate(build("leak", {}), now_s=0)
    active.activate(build("leak", {"per_minute_s": 6}), now_s=60)
    assert active.delay_s("/api/cart", 61, 1, 0.03) == pytest.approx(0.1)
    assert active.describe(61) == [{"name": "leak", "per_minute_s": 6.0, "route": "", "age_s": 1}]


def test_clearing_ends_one_fault_or_all() -> None:
    """`clear` returns whether a fault was active, and an ended fault has no effect."""
    active = ActiveFaults(seed=1)
    active.activate(build("latency", {}), now_s=0)
    active.activate(build("pool-cliff", {}), now_s=0)
    assert (active.clear("stall"), active.clear("latency"), len(active.describe(0))) == (False, True, 1)
    assert (active.pool_size(8), active.clear(), active.pool_size(8), active.clear()) == (1, True, 8, False)


def test_the_same_seed_gives_the_same_effects() -> None:
    """The same requests fail with the same seed, and others with another one."""

    def effects(seed: int) -> list[int | None]:
        active = ActiveFaults(seed)
        active.activate(build("errors", {"ratio": 0.5}), now_s=0)
        return [active.forced_status("/api/cart") for _ in range(100)]

    assert effects(1) == effects(1)
    assert effects(1) != effects(2)


def test_every_fault_draws_for_every_request() -> None:
    """A second fault does not change which requests the first one refuses."""
    both, alone = ActiveFaults(seed=1), ActiveFaults(seed=1)
    both.activate(build("latency", {}), now_s=0)
    for active in (both, alone):
        active.activate(build("refuse", {"ratio": 0.5}), now_s=0)
    refused = [alone.refuses() for _ in range(100)]
    assert [both.refuses() for _ in range(100)] == refused
    assert 30 < sum(refused) < 70
