"""Tests of a run: its phases, its clock, and the account of its requests."""

from __future__ import annotations

import logging
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from locust_otel.core.catalogue import RUN_STATES
from locust_otel.core.marks import MAX_SINGLE
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.run import Phase, Run, account, warn_of_account
from locust_otel.slo.progress import Progress
from tests.unit.factories import Load, objectives, record

KEY = SeriesKey("GET", "/", "Shopper", "success")
START = 1_764_000_000.25
DIFFERS = "Run run-1 does not add up: Locust's count differs from the recorded requests by "


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give a clock that the test sets."""
    now = SimpleNamespace(s=500.0)
    monkeypatch.setattr("locust_otel.exporter.run.monotonic", lambda: now.s)
    return now


def begun(*times_ms: float, **changes: Any) -> Run:
    """Return a new run with these requests."""
    load = Load(slow_s=2.0, thresholds_s=(0.3,))
    record(load, KEY, times_ms)
    values: dict[str, Any] = {
        "run_id": "nightly", "info": {"host": "http://shop"}, "start_time": START, "started_s": 500.0, "settings": {},
        "merged": load.merged, "progress": None, "users": {"Shopper": 3, "Admin": 0},
        "users_target": {"Shopper": 3, "Admin": 1},
    }  # fmt: skip
    return Run(**values | changes)


def test_a_running_run(clock: SimpleNamespace) -> None:
    """A snapshot has identity, start, duration, users and requests of the run."""
    run = begun(1, 2)
    clock.s += 61.5
    taken = run.snapshot()
    assert (taken.run_id, taken.state, taken.active) == ("nightly", "spawning", True)
    assert (taken.start_time, taken.elapsed_s, taken.info) == (START, 61.5, {"host": "http://shop"})
    assert (taken.users, taken.users_target) == ({"Shopper": 3, "Admin": 0}, {"Shopper": 3, "Admin": 1})
    assert (taken.requests.total, taken.slo) == (2, None)


def test_a_stopped_run(clock: SimpleNamespace) -> None:
    """The first stop stops the clock and sets the target of users to 0; the requests stay."""
    run = begun(1)
    clock.s += 20
    run.stop(510.0)
    run.stop(515.0)
    taken = run.snapshot()
    assert (taken.state, taken.active, taken.elapsed_s) == ("stopped", False, 10.0)
    assert taken.users_target == {"Shopper": 0, "Admin": 0}
    assert taken.users == {"Shopper": 3, "Admin": 0}  # they are still ending
    assert taken.requests.total == 1
    run.finish()
    assert run.snapshot().users == {"Shopper": 0, "Admin": 0}


def test_objectives() -> None:
    """The objectives in a snapshot are judged by the requests in it."""
    run = begun(1, 2, 400, progress=Progress(objectives(), START))
    slo = run.snapshot().slo
    assert slo is not None
    assert [(point.name, point.good, point.bad) for point in slo] == [
        ("availability", 3, 0), ("latency", 2, 1), ("mean", 3, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.SPAWNING, Phase.RUNNING, Phase.STOPPING])
def test_active_phases(phase: Phase) -> None:
    """A run has the phase that Locust reports; each one has a state of the catalogue."""
    run = begun()
    run.go_on(phase)
    assert (run.phase, run.is_active, run.is_final) == (phase, True, False)
    assert run.snapshot().state in RUN_STATES
    run.go_on(Phase.STOPPED)  # Locust reports it before it fires `test_stop`, which stops the clock
    assert (run.phase, run.stopped_s) == (phase, None)


ENDINGS: dict[str, Any] = {
    "stop": lambda run: run.stop(501.0), "finish": lambda run: run.finish(), "lose": lambda run: run.lose(),
}  # fmt: skip


@pytest.mark.parametrize(
    ("calls", "phase", "state", "elapsed_s"),
    [
        (["stop"], Phase.STOPPED, "stopped", 1.0),
        (["stop", "stop"], Phase.STOPPED, "stopped", 1.0),
        (["stop", "finish"], Phase.FINAL, "stopped", 1.0),
        (["finish"], Phase.FINAL, "stopped", 2.0),
        (["finish", "stop", "finish", "lose"], Phase.FINAL, "stopped", 2.0),
        (["lose"], Phase.LOST, "lost", 2.0),
        (["stop", "lose"], Phase.LOST, "lost", 1.0),
        (["lose", "finish", "stop", "lose"], Phase.LOST, "lost", 2.0),
    ],
)  # fmt: skip
def test_ends(clock: SimpleNamespace, calls: list[str], phase: Phase, state: str, elapsed_s: float) -> None:
    """Each end has one phase; after it neither phase nor clock changes."""
    run = begun()
    clock.s = 502.0
    for call in calls:
        ENDINGS[call](run)
        run.go_on(Phase.RUNNING)
        clock.s += 10
    assert (run.phase, run.is_active) == (phase, False)
    assert run.is_final == (phase is not Phase.STOPPED)
    taken = run.snapshot()
    assert (taken.state, taken.active, taken.elapsed_s) == (state, False, elapsed_s)


@pytest.mark.parametrize(
    ("missing", "counted", "locust_total", "unreconciled"),
    [
        (None, None, None, None),
        (0, None, 3, 0),
        (2, None, 5, 2),
        (-2, None, 1, -2),
        # In a distributed run `missing`, which is that of one worker, is ignored.
        (7, 0, 0, -3),
        (7, 3, 3, 0),
        (7, 5, 5, 2),
    ],
)
def test_reconciliation(
    missing: int | None, counted: int | None, locust_total: int | None, unreconciled: int | None
) -> None:
    """The difference between Locust's count and ours may be negative; it is None if Locust counts none."""
    run = begun(1, 2, 3, missing=missing, counted=counted)
    assert (run.locust_total, run.unreconciled) == (locust_total, unreconciled)


def test_marks(clock: SimpleNamespace) -> None:
    """Marks are counted, and kept with their times, up to a limit."""
    run = begun()
    clock.s += 7
    for _ in range(MAX_SINGLE + 5):
        run.mark("again", "note")
    run.mark("db", "fault")
    assert run.marks == {("again", "note"): MAX_SINGLE + 5, ("db", "fault"): 1}
    assert run.marked == [(7.0, "again", "note")] * MAX_SINGLE
    assert run.snapshot().marks == run.marks
    many = begun()
    for number in range(1_000):
        many.mark(f"user {number}", "note")
    assert len(many.marks) == 101
    assert many.marks["_OTHER", "_OTHER"] == 900


def test_a_successor(clock: SimpleNamespace) -> None:
    """A successor has the same run, in the same phase, on the same clock."""
    run = begun(1, 2, progress=Progress(objectives(), START))
    run.go_on(Phase.RUNNING)
    run.mark("db", "fault")
    copy: Run = pickle.loads(pickle.dumps(run))  # noqa: S301  # our own
    clock.s += 3
    assert copy.snapshot() == run.snapshot()
    assert copy.phase is Phase.RUNNING
    copy.finish()
    assert (copy.is_final, run.is_final) == (True, False)


# ---------------------------------------------------------------------------------------------------------- account


def finished(**changes: Any) -> Run:
    """Return a run of 12,345 requests."""
    load = Load()
    record(load, KEY, [1] * 12_345)
    return Run("run-1", {}, 0.0, 0.0, {}, load.merged, None, **{"missing": 0, **changes})


@pytest.mark.parametrize(
    ("changes", "accounts", "line", "warning"),
    [
        ({}, ["last scrape 12,345", "", "OTLP 12,345"],
         "Locust 12,345 · recorded 12,345 · last scrape 12,345 · OTLP 12,345", ""),
        ({"missing": None}, [], "recorded 12,345", ""),
        ({"reset": {"a": 1_000, "b": 234}}, [], "Locust 12,345 (1,234 before a reset) · recorded 12,345", ""),
        ({"counted": 12_345, "missing": 7}, [], "Locust 12,345 · recorded 12,345", ""),
        ({"counted": 12_350}, [], "Locust 12,350 · recorded 12,345", DIFFERS + "+5; "),
        ({"missing": -3}, [], "Locust 12,342 · recorded 12,345", DIFFERS + "-3; "),
        ({"unfinished": {"a", "b"}}, [], "Locust 12,345 · recorded 12,345", "2 workers left without their last report"),
    ],
)  # fmt: skip
def test_account(
    caplog: pytest.LogCaptureFixture, changes: dict[str, Any], accounts: list[str], line: str, warning: str
) -> None:
    """The account has the counts of Locust, the exporter and the outputs; a warning says what may be missing."""
    caplog.set_level(logging.INFO)
    assert account(finished(**changes), accounts) == f"requests: {line}"
    warn_of_account(finished(**changes))
    assert [message[: len(warning)] for message in caplog.messages] == [warning] * bool(warning)
