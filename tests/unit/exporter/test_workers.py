"""Tests of the state of the generating processes."""

from __future__ import annotations

from locust_otel.exporter.workers import Workers
from locust_otel.wire.report import Vitals

VITALS = Vitals(0.25, 64_000_000, ("lag",), 0.5, {7: 2}, 1.5, {0: 3, 9: 1})


def test_connected_workers() -> None:
    """Workers that are connected and have reported have a snapshot, with the master's names for them."""
    workers = Workers(
        vitals={"host_1": VITALS, "host_2": VITALS, "left": VITALS},
        names={"host_2": "host-0", "host_1": "host-1", "silent": "host-2"},
        users={"host_1": 3},
    )
    assert [(worker.worker, worker.users) for worker in workers.snapshots(None)] == [("host-0", 0), ("host-1", 3)]


def test_a_local_process() -> None:
    """A local process has one snapshot, with its source as the name."""
    workers = Workers(vitals={"host-0": VITALS, "other": VITALS}, users={"host-0": 3})
    assert [(worker.worker, worker.users) for worker in workers.snapshots("host-0")] == [("host-0", 3)]
    assert Workers().snapshots("host-0") == ()


def test_a_snapshot() -> None:
    """A snapshot has every reported number."""
    (snapshot,) = Workers(vitals={"a": VITALS}).snapshots("a")
    assert (snapshot.cpu_ratio, snapshot.memory_bytes, snapshot.reasons) == (0.25, 64_000_000, ("lag",))
    assert (snapshot.lag_counts, snapshot.lag_sum_s) == ({7: 2}, 0.5)
    assert (snapshot.schedule_counts, snapshot.schedule_sum_s) == ({0: 3, 9: 1}, 1.5)


def test_unknown_buckets() -> None:
    """Buckets that do not exist are left out: a hostile worker may report any."""
    vitals = VITALS._replace(lag_counts={7: 2, 10**9: 5}, schedule_counts={10**9: 5})
    (snapshot,) = Workers(vitals={"a": vitals}).snapshots("a")
    assert (snapshot.lag_counts, snapshot.schedule_counts) == ({7: 2}, {})


def test_errors() -> None:
    """The number of errors is the sum of unusable events and refused reports."""
    assert Workers(errors={"a": 2, "b": 3}, refused=4).total_errors == 9
