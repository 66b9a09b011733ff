"""Tests of who marks what: in one process, and from a worker to its master."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from locust_otel.core.events import EventQueue
from locust_otel.core.marks import MarkError
from locust_otel.core.settings import resolve
from locust_otel.core.snapshot import Snapshot
from locust_otel.plugin.marker import MARK_MESSAGE, Marker
from locust_otel.plugin.master import MasterNode
from locust_otel.plugin.run import Run
from locust_otel.plugin.series import Aggregate
from tests.unit.factories import snapshot


class Node:
    """What a marker needs of a local node, or of a worker's."""

    def __init__(self, *, is_worker: bool = False) -> None:
        self.is_worker = is_worker
        self.run: Run | None = new_run()
        self.events = EventQueue()
        self.sent: list[tuple[str, Any]] = []
        self.environment = SimpleNamespace(runner=SimpleNamespace(send_message=self.send))

    def send(self, kind: str, data: Any) -> None:
        """Keep a message."""
        self.sent.append((kind, data))


def new_run(run_id: str = "run-1") -> Run:
    """Return a run that has just begun."""
    return Run(run_id, Aggregate(slow_s=2.0, max_names=10), {})


def marker(node: Node) -> Marker:
    """Return a marker of a node."""
    return Marker(node)  # type: ignore[arg-type]


def master() -> tuple[MasterNode, Marker, Callable[..., None]]:
    """Return a master in a run, its marker, and what it does with a worker's message."""
    heard: dict[str, Callable[..., None]] = {}
    runner = SimpleNamespace(register_message=heard.__setitem__, clients=SimpleNamespace(all=[]))
    environment = SimpleNamespace(runner=runner, parsed_options=None)
    node = MasterNode(environment, resolve(None, {"prometheus_port": "off"}), 3.0)
    node.run = new_run()
    return node, Marker(node), heard[MARK_MESSAGE]


def test_a_mark_is_counted_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """One mark is in the run with its time, in the log, and an event with the same time."""
    caplog.set_level(logging.INFO)
    node = Node()
    done = marker(node).mark("db  primary\nkilled", "fault")
    assert node.run is not None
    assert done is not None
    assert node.run.marks == {("db primary killed", "fault"): 1}
    assert [each[1:] for each in node.run.marked] == [("db primary killed", "fault")]
    assert "Marked (fault): db primary killed" in caplog.text
    (event,) = node.events.peek(10)
    assert (event.name, event.severity, event.body) == ("locust.mark", "INFO", "Marked (fault): db primary killed")
    assert event.attributes == {"run_id": "run-1", "mark": "db primary killed", "kind": "fault"}
    assert (done.run_id, done.time) == ("run-1", event.timestamp)


def test_no_run_goes_on() -> None:
    """Before the first run and after its end nothing is marked, and that is said; nonsense is refused all the same."""
    node = Node()
    assert node.run is not None
    node.run.stop()
    assert marker(node).mark("late", "note") is None
    assert node.run.marks == {}
    node.run = None
    assert marker(node).mark("early", "note") is None
    with pytest.raises(MarkError):
        marker(node).mark("early", "No Kind")


def test_a_storm_is_counted_and_not_told_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand marks at once are counted, the different ones up to a hundred, and fifty are told of."""
    caplog.set_level(logging.INFO)
    node = Node()
    of = marker(node)
    for number in range(1000):
        of.mark(f"user {number}", "note")
    assert node.run is not None
    assert sum(node.run.marks.values()) == 1000
    assert node.run.marks["_OTHER", "_OTHER"] == 900
    assert len(node.events.peek(1000)) in {50, 51}
    assert caplog.text.count("Marked") in {50, 51}


def test_a_worker_tells_its_master() -> None:
    """A worker counts nothing itself: it sends the run, the cleaned text and the kind."""
    node = Node(is_worker=True)
    done = marker(node).mark(" db ", "fault")
    assert node.run is not None
    assert done is not None
    assert done.run_id == "run-1"
    assert node.sent == [(MARK_MESSAGE, ["run-1", "db", "fault"])]
    assert (node.run.marks, node.events.peek(10)) == ({}, [])


def test_a_worker_without_its_master(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where the message cannot be sent nothing is raised, and the caller knows."""
    node = Node(is_worker=True)

    def fail(*_: object) -> None:
        raise OSError("no route")

    node.environment.runner.send_message = fail
    assert marker(node).mark("db", "fault") is None
    assert "no route" in caplog.text


def test_a_master_marks_what_a_worker_says() -> None:
    """A worker's mark counts in the run it is for, also just after its end, and in no other."""
    node, _, hear = master()
    assert node.run is not None
    hear(msg=SimpleNamespace(data=["run-1", "db", "fault"]), environment=None)
    hear(msg=SimpleNamespace(data=["run-0", "db", "fault"]))
    node.run.stop()
    hear(msg=SimpleNamespace(data=["run-1", "last words", "note"]))
    node.run.is_final = True
    hear(msg=SimpleNamespace(data=["run-1", "too late", "note"]))
    assert node.run.marks == {("db", "fault"): 1, ("last words", "note"): 1}
    node.run = None
    hear(msg=SimpleNamespace(data=["run-1", "db", "fault"]))


@pytest.mark.parametrize(
    "data", [None, 7, [], ["run-1"], ["run-1", "db", "fault", 1], ["run-1", 5, "fault"], ["run-1", "db", {"a": 1}]]
)
def test_a_message_that_makes_no_sense(data: object, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused with a warning, and raises nothing into Locust."""
    node, _, hear = master()
    hear(msg=SimpleNamespace(data=data))
    assert node.run is not None
    assert node.run.marks == {}
    assert "A worker's mark was refused" in caplog.text


def test_the_metric_has_it() -> None:
    """What was marked is in the snapshot that every exporter reads."""
    node = Node()
    of = marker(node)
    of.mark("db", "fault")
    of.mark("db", "fault")
    assert node.run is not None
    taken: Snapshot = snapshot(node.run.aggregate, marks=node.run.snapshot(None).marks)
    assert taken.run is not None
    assert taken.run.marks == {("db", "fault"): 2}
