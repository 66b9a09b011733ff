"""Tests of the shared state of the exporter's parts."""

from __future__ import annotations

import logging
import pickle
from threading import Thread
from typing import Any

import pytest

from locust_otel.core.events import Event
from locust_otel.core.families import ALL_SCOPES, MASTER_SCOPES, WORKER_SCOPES
from locust_otel.core.marks import MarkError
from locust_otel.core.snapshot import ExportCount, SeriesKey
from locust_otel.wire import frames
from tests.unit.factories import Load, record
from tests.unit.processes import START_TIME, Exporter

KEY = SeriesKey("GET", "/", "Shopper", "success")


@pytest.fixture
def exporter(caplog: pytest.LogCaptureFixture) -> Exporter:
    """Make an exporter in a run."""
    caplog.set_level(logging.INFO)
    made = Exporter()
    made.begin()
    made.session.state.events.remove(1)  # the start of the run
    return made


def with_requests(exporter: Exporter, *times_ms: float) -> None:
    """Give the current run requests."""
    load = Load()
    record(load, KEY, times_ms)
    exporter.run.merged = load.merged


# --------------------------------------------------------------------------------------------------------- snapshot


def test_before_the_first_run() -> None:
    """A snapshot has only the process and its health."""
    snapshot = Exporter().session.snapshot()
    assert (snapshot.run, snapshot.workers, snapshot.worker_states, snapshot.workers_expected) == (None, (), {}, None)
    assert (snapshot.process_start_time, snapshot.is_final) == (START_TIME, False)
    assert (snapshot.health.unreconciled, snapshot.health.folded_requests) == (None, 0)
    assert snapshot.health.versions == {"version": "0.1.0", "python_version": "3.11.2"}


def test_in_a_run(exporter: Exporter) -> None:
    """A snapshot has all current numbers, and does not change."""
    session = exporter.session
    with_requests(exporter, 1, 2, 3)
    exporter.run.missing = -2
    session.exports.declare("prometheus")
    session.exports.note("prometheus", ok=True, seconds=0.5, rejected=2)
    session.state.workers.refused, session.state.merged_reports = 4, 5
    snapshot = session.snapshot()
    session.exports.note("prometheus", ok=True, seconds=0.5, rejected=2)
    with_requests(exporter, 1)
    exporter.run.finish()
    assert snapshot.run is not None
    assert (snapshot.run.requests.total, snapshot.run.run_id, snapshot.is_final) == (3, "run-1", False)
    health = snapshot.health
    assert (health.unreconciled, health.listener_errors, health.merged_reports, health.restarts) == (-2, 4, 5, 0)
    assert ExportCount("prometheus", "success", 1, 0.5) in health.exports
    assert (health.rejected_points, list(health.last_exports)) == ({"prometheus": 2}, ["prometheus"])
    assert session.snapshot().is_final


@pytest.mark.parametrize(
    ("process", "scopes"),
    [
        ({}, ALL_SCOPES), ({"is_master": True}, ALL_SCOPES),
        ({"is_master": True, "export_from": "workers", "prometheus_port": "0"}, MASTER_SCOPES),
        ({"is_worker": True, "export_from": "workers", "prometheus_port": "0"}, WORKER_SCOPES),
        ({"export_from": "workers", "prometheus_port": "0"}, ALL_SCOPES),
    ],
)  # fmt: skip
def test_scopes(process: dict[str, Any], scopes: object) -> None:
    """Only one process exports each number."""
    assert Exporter(**process).session.scopes == scopes


# -------------------------------------------------------------------------------------------------------- successor


def test_state_of_outputs() -> None:
    """Each output has its own state; a successor's output gets it as it was saved."""
    exporter = Exporter()
    assert exporter.session.keep("record", {"offset": 0}) == {"offset": 0}
    exporter.session.keep("record", {"offset": 9})["offset"] = 7
    assert exporter.session.keep("endpoint", [1]) == [1]
    later = exporter.successor()
    exporter.session.keep("record", {"offset": 0})["offset"] = 8
    assert later.session.keep("record", {"offset": 0}) == {"offset": 7}
    assert later.session.keep("endpoint", [0]) == [1]


def test_a_successor_has_everything(exporter: Exporter) -> None:
    """A successor has the same run, workers and events."""
    exporter.take(
        ["status", {"run_id": "run-1", "state": "running", "users": {"A": 1}, "users_target": {"A": 2},
                    "worker_users": {}, "merged_reports": 3}],
        ["mark", "run-1", "db", "fault", 1.5],
    )  # fmt: skip
    with_requests(exporter, 1, 2)
    later = exporter.successor()
    assert later.session.snapshot().health == exporter.session.snapshot().health
    assert [event.body for event in later.session.state.events.peek(9)] == ["Marked (fault): db"]
    assert (later.run.users, later.run.marks, later.run.merged.total) == ({"A": 1}, {("db", "fault"): 1}, 2)
    later.run.merged.snapshot()
    assert pickle.loads(later.session.saved()).run.merged.total == 2  # noqa: S301  # our own


# ------------------------------------------------------------------------------------------------ events and marks


def test_events(exporter: Exporter) -> None:
    """An event reaches every listener, and the queue for OTLP."""
    received: list[Event] = []
    exporter.session.listeners += [received.append, received.append]
    event = Event("a", "b")
    exporter.session.add_event(event)
    assert received == [event, event]
    assert exporter.session.state.events.peek(9) == [event]


def test_a_mark(exporter: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """A mark is in the run, in the log, and an event with the same time; then `on_mark` is called."""
    saved: list[int] = []
    exporter.session.on_mark = lambda: saved.append(exporter.run.marks["db primary killed", "fault"])
    marked = exporter.session.mark("db  primary\nkilled", "fault")
    assert marked is not None
    assert exporter.run.marks == {("db primary killed", "fault"): 1}
    assert [mark[1:] for mark in exporter.run.marked] == [("db primary killed", "fault")]
    assert "Marked (fault): db primary killed" in caplog.text
    (event,) = exporter.session.state.events.peek(10)
    assert (event.name, event.severity, event.body) == ("locust.mark", "INFO", "Marked (fault): db primary killed")
    assert event.attributes == {"run_id": "run-1", "mark": "db primary killed", "kind": "fault"}
    assert marked == ("run-1", event.timestamp)
    assert saved == [1]
    assert exporter.session.mark("later", "note", 7.5) == ("run-1", 7.5)


def test_no_active_run(exporter: Exporter) -> None:
    """Before the first run and after its end no mark is made; an invalid mark is still refused."""
    exporter.run.stop(200.0)
    assert exporter.session.mark("late", "note") is None
    assert exporter.run.marks == {}
    early = Exporter()
    assert early.session.mark("early", "note") is None
    with pytest.raises(MarkError):
        early.session.mark("early", "No Kind")


def test_a_storm_of_marks(exporter: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """Of a thousand different marks at once a hundred are counted by their text, and fifty are logged."""
    for number in range(1000):
        exporter.session.mark(f"user {number}", "note")
    assert sum(exporter.run.marks.values()) == 1000
    assert exporter.run.marks["_OTHER", "_OTHER"] == 900
    assert len(exporter.session.state.events.peek(1000)) in {50, 51}
    assert caplog.text.count("Marked") in {50, 51}


def test_marks_at_once(exporter: Exporter) -> None:
    """Each mark counts, from any thread."""

    def mark() -> None:
        for _ in range(50):
            exporter.session.mark("db", "fault")

    threads = [Thread(target=mark) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exporter.run.marks == {("db", "fault"): 200}


def test_a_mark_on_a_worker() -> None:
    """A worker counts no mark: it sends it to Locust's process, for the master."""
    worker = Exporter(is_worker=True)
    assert worker.session.mark("early", "note") is None
    worker.begin()
    marked = worker.session.mark(" db ", "fault")
    assert marked is not None
    assert marked.run_id == "run-1"
    assert worker.told == [(frames.MARKED, "db", "fault")]
    assert (worker.run.marks, worker.session.state.events.peek(10)) == ({}, [])
    worker.run.stop(200.0)
    assert worker.session.mark("late", "note") is None


# ----------------------------------------------------------------------------------------------------------- pages


def test_give_way(exporter: Exporter) -> None:
    """A thread waits while a page is rendered."""
    session, ends = exporter.session, list[str]()

    def wait() -> None:
        session.give_way(60.0)
        ends.append("wait")

    session.rendering.acquire()
    thread = Thread(target=wait)
    thread.start()
    ends.append("page")
    session.rendering.release()
    thread.join(5)
    assert ends == ["page", "wait"]


def test_in_turns(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work gives way every hundred items, and for 0.15 s in total."""
    limits_s: list[float] = []

    def give_way(limit_s: float) -> float:
        limits_s.append(limit_s)
        return 0.0625

    monkeypatch.setattr(exporter.session, "give_way", give_way)
    assert list(exporter.session.in_turns(range(250))) == list(range(250))
    assert limits_s == pytest.approx([0.15, 0.0875, 0.025])
    limits_s.clear()
    assert len(list(exporter.session.in_turns(range(1000)))) == 1000
    assert limits_s == pytest.approx([0.15, 0.0875, 0.025])


@pytest.mark.parametrize(
    ("limit_s", "grace_s", "linger", "expected"),
    [(9.0, None, "auto", 9.0), (9.0, 4.0, "auto", 4.0), (9.0, 4.0, "3s", 3.0), (2.0, 4.0, "3s", 2.0)],
)
def test_patience(limit_s: float, grace_s: float | None, linger: str, expected: float) -> None:
    """The longest wait at the end is the least of the three limits."""
    session = Exporter(prometheus_linger=linger).session
    session.grace_s = grace_s
    assert session.patience_s(limit_s) == expected
