"""Tests of what the parts of the exporter share."""

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
from locust_otel.exporter.session import State
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
    made.session.events.remove(1)  # the start of the run
    return made


def with_requests(exporter: Exporter, *times_ms: float) -> None:
    """Give the current run requests."""
    load = Load()
    record(load, KEY, times_ms)
    exporter.run.merged = load.merged


# --------------------------------------------------------------------------------------------------------- snapshot


def test_before_the_first_run() -> None:
    """Only the bridge itself is there."""
    taken = Exporter().session.snapshot()
    assert (taken.run, taken.workers, taken.worker_states, taken.workers_expected) == (None, (), {}, None)
    assert (taken.process_start_time, taken.is_final) == (START_TIME, False)
    assert (taken.health.unreconciled, taken.health.folded_requests) == (None, 0)
    assert taken.health.versions == {"version": "0.1.0", "python_version": "3.11.2"}


def test_in_a_run(exporter: Exporter) -> None:
    """Everything is in it, and what happens later is not."""
    session = exporter.session
    with_requests(exporter, 1, 2, 3)
    exporter.run.missing = -2
    session.exports.declare("prometheus")
    session.exports.note("prometheus", ok=True, seconds=0.5, rejected=2)
    session.state.workers.refused, session.state.merged_reports = 4, 5
    taken = session.snapshot()
    session.exports.note("prometheus", ok=True, seconds=0.5, rejected=2)
    with_requests(exporter, 1)
    exporter.run.finish()
    assert taken.run is not None
    assert (taken.run.requests.total, taken.run.run_id, taken.is_final) == (3, "run-1", False)
    health = taken.health
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
    """What is exported where: each number has one source."""
    assert Exporter(**process).session.scopes == scopes


# -------------------------------------------------------------------------------------------------------- successor


def test_what_outputs_keep() -> None:
    """Each has its own place; a successor's output gets what was there when the state was saved."""
    exporter = Exporter()
    assert exporter.session.keep("record", {"offset": 0}) == {"offset": 0}
    exporter.session.keep("record", {"offset": 9})["offset"] = 7
    assert exporter.session.keep("endpoint", [1]) == [1]
    later = exporter.successor()
    exporter.session.keep("record", {"offset": 0})["offset"] = 8
    assert later.session.keep("record", {"offset": 0}) == {"offset": 7}
    assert later.session.keep("endpoint", [0]) == [1]


def test_a_successor_knows_everything(exporter: Exporter) -> None:
    """Run, workers and events continue where they were; exports have a checkpoint of their own."""
    exporter.take(
        ["status", {"run_id": "run-1", "state": "running", "users": {"A": 1}, "users_target": {"A": 2},
                    "worker_users": {}, "merged_reports": 3}],
        ["mark", "run-1", "db", "fault", 1.5],
    )  # fmt: skip
    with_requests(exporter, 1, 2)
    later = exporter.successor()
    (before, after) = (each.session.snapshot() for each in (exporter, later))
    assert (before.run is not None, after.run is not None) == (True, True)
    assert after.health == before.health
    assert [event.body for event in later.session.events.peek(9)] == ["Marked (fault): db"]
    assert (later.run.users, later.run.marks, later.run.merged.total) == ({"A": 1}, {("db", "fault"): 1}, 2)
    later.run.merged.snapshot()
    assert pickle.loads(later.session.saved()).run.merged.total == 2  # noqa: S301  # our own


def test_an_empty_state_can_be_saved() -> None:
    """Before the first run too."""
    assert isinstance(pickle.loads(Exporter().session.saved()), State)  # noqa: S301  # our own


# ------------------------------------------------------------------------------------------------ events and marks


def test_events_reach_every_listener(exporter: Exporter) -> None:
    """And the queue for OTLP."""
    heard: list[Event] = []
    exporter.session.listeners += [heard.append, heard.append]
    event = Event("a", "b")
    exporter.session.add_event(event)
    assert heard == [event, event]
    assert exporter.session.events.peek(9) == [event]


def test_a_mark(exporter: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """It is in the run with its time, in the log, an event with the same time, and saved at once."""
    saved: list[int] = []
    exporter.session.on_mark = lambda: saved.append(exporter.run.marks["db primary killed", "fault"])
    done = exporter.session.mark("db  primary\nkilled", "fault")
    assert done is not None
    assert exporter.run.marks == {("db primary killed", "fault"): 1}
    assert [mark[1:] for mark in exporter.run.marked] == [("db primary killed", "fault")]
    assert "Marked (fault): db primary killed" in caplog.text
    (event,) = exporter.session.events.peek(10)
    assert (event.name, event.severity, event.body) == ("locust.mark", "INFO", "Marked (fault): db primary killed")
    assert event.attributes == {"run_id": "run-1", "mark": "db primary killed", "kind": "fault"}
    assert (done.run_id, done.time) == ("run-1", event.timestamp)
    assert saved == [1]
    assert exporter.session.mark("later", "note", 7.5) == ("run-1", 7.5)


def test_no_run_goes_on(exporter: Exporter) -> None:
    """Before the first run and after its end nothing is marked, and that is said; nonsense is refused all the same."""
    exporter.run.stop(200.0)
    assert exporter.session.mark("late", "note") is None
    assert exporter.run.marks == {}
    early = Exporter()
    assert early.session.mark("early", "note") is None
    with pytest.raises(MarkError):
        early.session.mark("early", "No Kind")


def test_a_storm_is_counted_and_not_told_one_by_one(exporter: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """A thousand marks at once are counted, the different ones up to a hundred, and fifty are told of."""
    for number in range(1000):
        exporter.session.mark(f"user {number}", "note")
    assert sum(exporter.run.marks.values()) == 1000
    assert exporter.run.marks["_OTHER", "_OTHER"] == 900
    assert len(exporter.session.events.peek(1000)) in {50, 51}
    assert caplog.text.count("Marked") in {50, 51}


def test_marks_at_once(exporter: Exporter) -> None:
    """From whichever threads they come, each counts."""

    def mark() -> None:
        for _ in range(50):
            exporter.session.mark("db", "fault")

    threads = [Thread(target=mark) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exporter.run.marks == {("db", "fault"): 200}


def test_a_worker_has_its_master_mark() -> None:
    """It counts nothing itself: it tells Locust's process, which tells the master."""
    worker = Exporter(is_worker=True)
    assert worker.session.mark("early", "note") is None
    worker.begin()
    done = worker.session.mark(" db ", "fault")
    assert done is not None
    assert done.run_id == "run-1"
    assert worker.told == [(frames.MARKED, "db", "fault")]
    assert (worker.run.marks, worker.session.events.peek(10)) == ({}, [])
    worker.run.stop(200.0)
    assert worker.session.mark("late", "note") is None
