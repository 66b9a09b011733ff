"""Tests of what is known of the generating processes."""

from __future__ import annotations

from locust_otel.exporter.workers import Workers
from locust_otel.wire.report import Vitals

VITALS = Vitals(0.25, 64_000_000, ("lag",), 0.5, {7: 2}, 1.5, {0: 3, 9: 1})


def test_those_that_are_there_and_have_reported() -> None:
    """By the names that the master has for them; one that has left, or said nothing, is not among them."""
    workers = Workers(
        vitals={"host_1": VITALS, "host_2": VITALS, "left": VITALS},
        names={"host_2": "host-0", "host_1": "host-1", "silent": "host-2"},
        users={"host_1": 3},
    )
    assert [(worker.worker, worker.users) for worker in workers.snapshots(None)] == [("host-0", 0), ("host-1", 3)]


def test_the_only_process() -> None:
    """It has no worker's name but its own, which is its source too."""
    workers = Workers(vitals={"host-0": VITALS, "other": VITALS}, users={"host-0": 3})
    assert [(worker.worker, worker.users) for worker in workers.snapshots("host-0")] == [("host-0", 3)]
    assert Workers().snapshots("host-0") == ()


def test_a_snapshot() -> None:
    """It has every number that was told."""
    (found,) = Workers(vitals={"a": VITALS}).snapshots("a")
    assert (found.cpu_ratio, found.memory_bytes, found.reasons) == (0.25, 64_000_000, ("lag",))
    assert (found.lag_counts[7], sum(found.lag_counts.values()), found.lag_sum_s) == (2, 2, 0.5)
    assert (found.schedule_counts[0], found.schedule_counts[9], sum(found.schedule_counts.values())) == (3, 1, 4)
    assert found.schedule_sum_s == 1.5


def test_users_without_a_schedule() -> None:
    """Then there is no histogram of their delays."""
    (found,) = Workers(vitals={"a": VITALS._replace(schedule_counts={})}).snapshots("a")
    assert not found.schedule_counts


def test_buckets_that_are_none() -> None:
    """They are left out, as a hostile worker may tell of any."""
    (found,) = Workers(vitals={"a": VITALS._replace(lag_counts={7: 2, 10**9: 5})}).snapshots("a")
    assert sum(found.lag_counts.values()) == 2


def test_errors() -> None:
    """What could not be made sense of, in workers and of them, is one number."""
    assert Workers(errors={"a": 2, "b": 3}, refused=4).total_errors == 9
