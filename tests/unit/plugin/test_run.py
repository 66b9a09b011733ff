"""Tests of a run: its identity, its clock, and the account of its requests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from locust_otel.core.snapshot import SeriesKey
from locust_otel.plugin.run import Run, RunIds
from locust_otel.plugin.series import Aggregate
from tests.unit.factories import Admin, Shopper, record

KEY = SeriesKey("GET", "/", "Shopper", "success")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand still at a second of ours, in both clocks."""
    now = SimpleNamespace(monotonic=500.0)
    monkeypatch.setattr("locust_otel.plugin.run.monotonic", lambda: now.monotonic)
    monkeypatch.setattr("locust_otel.plugin.run.time", lambda: now.monotonic + 1_764_000_000)
    return now


def run() -> Run:
    """Return a run that has just begun."""
    return Run("nightly", Aggregate(slow_s=5.0, max_names=10), {"host": "http://shop"})


def runner(state: str = "running") -> SimpleNamespace:
    """Return a runner with three of four users."""
    return SimpleNamespace(
        state=state, user_classes=[Shopper, Admin], user_classes_count={"Shopper": 3}, target_user_count=4,
        target_user_classes_count={},
    )  # fmt: skip


def test_ids() -> None:
    """A given id gets a number from the second run on; without one each run has a new id."""
    given = RunIds("nightly", lambda: pytest.fail("an id was given"))
    assert [given.next() for _ in range(3)] == ["nightly", "nightly-2", "nightly-3"]
    made = iter(["a", "b"])
    new = RunIds(None, lambda: next(made))
    assert [new.next(), new.next()] == ["a", "b"]


def test_snapshot_of_a_run(clock: SimpleNamespace) -> None:
    """A run says who it is, since when and for how long, with which users."""
    going = run()
    record(going.aggregate, KEY, [1, 2])
    clock.monotonic += 61.5
    taken = going.snapshot(runner())
    assert (taken.run_id, taken.state, taken.active) == ("nightly", "running", True)
    assert (taken.start_time, taken.elapsed_s) == (1_764_000_500.0, 61.5)
    assert taken.info == {"host": "http://shop"}
    assert taken.users == {"Shopper": 3, "Admin": 0}
    assert taken.users_target == {"Shopper": 3, "Admin": 1}
    assert taken.requests.total == 2


def test_a_stopped_run(clock: SimpleNamespace) -> None:
    """Its clock stands still from the first stop on, nobody is asked for any more, and its requests stay."""
    going = run()
    record(going.aggregate, KEY, [1])
    clock.monotonic += 10
    assert not going.stopped
    going.stop()
    clock.monotonic += 10
    going.stop()
    taken = going.snapshot(runner("running"))
    assert (taken.state, taken.active, taken.elapsed_s) == ("stopped", False, 10.0)
    assert taken.users_target == {"Shopper": 0, "Admin": 0}
    assert taken.requests.total == 1
    assert going.stopped


def test_without_a_runner(clock: SimpleNamespace) -> None:
    """`run_single_user` has a run without users."""
    taken = run().snapshot(None)
    assert (taken.state, taken.users, taken.users_target) == ("running", {}, {})


def test_account_of_requests() -> None:
    """What Locust counted less what was recorded, in either direction; nothing where Locust counts none."""
    going = run()
    assert going.unreconciled is None
    record(going.aggregate, KEY, [1, 2, 3])
    for total, expected in ((3, 0), (5, 2), (1, -2), (0, -3)):
        going.locust_total = total
        assert going.unreconciled == expected
