"""Tests of a master: workers' reports reach the exporter as they came, and make one run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.catalogue import OTHER
from locust_otel.plugin.worker import MARK_MESSAGE, NAMES_MESSAGE, REPORT_KEY, RUN_OPTION
from locust_otel.wire import frames
from tests.unit.factories import objectives, totals
from tests.unit.processes import Master, Worker

KEY = ("GET", "/", "Shopper", "success")
DEEP = msgpack.unpackb(b"\x91" * 1_000 + b"\x90")
"""Nested almost as deep as msgpack reads."""


@pytest.fixture
def master() -> Master:
    """Make a master in its first run."""
    made = Master(["host_1", "host_2"], run_id="run-1")
    made.begin()
    made.link.said.clear()
    return made


def test_a_run_is_in_the_options_that_locust_sends(master: Master) -> None:
    """Each run has an id of its own, and says how workers record it; plain enough for Locust's wire."""
    judged = Master(slo=objectives(), run_id="nightly", propagate_traces="0.5")
    judged.begin()
    told = getattr(judged.environment.parsed_options, RUN_OPTION)
    assert msgpack.unpackb(msgpack.packb(told)) == told == ["nightly", 2.0, 200, 0.5, [0.3], []]
    assert judged.node.info()["host"] == "http://shop"
    assert [master.begin().run_id, master.begin().run_id] == ["run-1-2", "run-1-3"]


@pytest.mark.parametrize("part", [[b"one", b"\x00two"], [], None, {"v": 2}, "text", 7, DEEP])
def test_a_report_is_handed_on_unread(master: Master, part: Any) -> None:
    """The worker, what Locust counted there, and our part of the report, whatever it is."""
    data = {"stats_total": {"num_requests": 7}, **({REPORT_KEY: part} if part is not None else {})}
    master.node.on_worker_report(client_id="host_1", data=data)
    assert msgpack.packb(master.link.said) == msgpack.packb([[frames.WORKER, "host_1", 7, part]])
    master.deliver()


def test_status(master: Master) -> None:
    """Who is there, who is missing, how many were expected, and how many users each has."""
    clients = master.runner.clients
    clients["host_1"].user_classes_count, clients["host_2"].state = {"Shopper": 3}, "missing"
    master.node.tick()
    master.node.flush()
    (told,) = master.link.only(frames.STATUS)
    assert told == {
        "run_id": "run-1", "state": "running", "users": {"Shopper": 3, "Admin": 0},
        "users_target": {"Shopper": 3, "Admin": 1}, "worker_states": {"running": 1, "missing": 1},
        "workers_expected": 2, "worker_names": {"host_1": "host-0"}, "worker_users": {"host_1": 3, "host_2": 0},
    }  # fmt: skip
    taken = master.deliver()
    assert (taken.worker_states, taken.workers_expected) == ({"running": 1, "missing": 1}, 2)


def test_a_missing_worker_stays_missing_until_the_next_run(master: Master) -> None:
    """Locust forgets it after a minute; a new run expects only those that are there."""
    master.runner.clients["host_2"].state = "missing"
    master.node.tick()
    del master.runner.clients["host_2"]
    assert master.node.status()["worker_states"]["missing"] == 1
    master.begin()
    assert master.node.status()["worker_states"]["missing"] == 0


def test_three_workers_make_one_run(master: Master) -> None:
    """Their requests add up; one that joins late works in the same run; one that leaves stays counted."""
    first, second = Worker("host_1"), Worker("host_2", 1)
    for worker in (first, second):
        worker.begin(master)
        worker.request(5)
        worker.request(name="/failed", exception=OSError())
        worker.report_to(master)
    del master.runner.clients["host_1"]
    master.runner.add_worker("host_3")
    late = Worker("host_3", 2)
    late.begin(master)
    late.request(2)
    late.report_to(master)
    second.request()
    second.report_to(master)
    taken = master.deliver()
    assert taken.run is not None
    assert totals(taken.run.requests) == {KEY: 13, ("GET", "/failed", "Shopper", "failure"): 2}
    assert sum(taken.run.requests.errors.values()) == 2
    assert (taken.health.unreconciled, master.exporter.run.locust_total) == (0, 15)
    master.link.send(frames.STATUS, master.node.status())
    assert {worker.worker for worker in master.deliver().workers} == {"host-0", "host-1"}


def test_resets(master: Master) -> None:
    """What `--reset-stats` throws away on workers is counted all the same, and is said in the account."""
    workers = [Worker("host_1"), Worker("host_2", 1)]
    for worker in workers:
        worker.begin(master)
        worker.request(3)
        worker.report_to(master)
        worker.request(2)
        worker.node.on_reset()
        worker.environment.stats.clear_all()
        worker.request(4)
    master.node.on_reset()
    for worker in workers:
        worker.report_to(master)
    assert sum(master.exporter.run.reset.values()) == 4
    assert (master.exporter.run.locust_total, master.exporter.run.unreconciled) == (18, 0)


def test_runs_that_ended(master: Master) -> None:
    """The last requests of a run arrive with the next run's first reports, and count in their own."""
    worker = Worker("host_1")
    worker.begin(master)
    worker.request(3)
    worker.report_to(master)
    worker.request(2)
    assert worker.node.run is not None
    worker.node.run.is_stopped = True
    before = master.exporter.run
    master.begin()
    worker.begin(master)
    worker.request()
    worker.report_to(master)
    assert (before.merged.total, master.exporter.run.merged.total) == (5, 1)
    assert (before.run_id, master.exporter.run.run_id) == ("run-1", "run-1-2")


def test_names_fold_in_the_exporter() -> None:
    """Two workers with 15 names each and room for 20: 20 have series, the rest one; workers fold from then on too."""
    master = Master(["host_1", "host_2"], max_request_names="20")
    run = master.begin()
    workers = [Worker("host_1"), Worker("host_2", 1)]
    for number, worker in enumerate(workers):
        worker.begin(master)
        for name in range(15):
            worker.request(2, name=f"/{number}/{name}", exception=OSError())
    sent = []
    for _ in range(2):
        for worker in workers:
            master.hear(worker.client_id, worker.report())
            sent.append([(name, data[0], len(data[1]), client) for name, data, client in master.runner.sent])
            for _, data, _ in master.runner.sent:
                worker.runner.heard[NAMES_MESSAGE](msg=SimpleNamespace(data=data))
            master.runner.sent.clear()
    assert sent == [[], [(NAMES_MESSAGE, run.run_id, 20, "host_2")], [], []]
    found = totals(run.merged.snapshot())
    assert len(found) == 21
    assert found["GET", OTHER, "Shopper", "failure"] == run.merged.folded == 20
    workers[1].request(name="/new")
    assert ("GET", OTHER, "Shopper", "success") in workers[1].node.recorder.requests.series
    workers[1].report_to(master)
    assert (run.merged.total, run.unreconciled) == (61, 0)


STEPS = ["request", "failure", "reset", "report", "lost", "tick", "exporter replaced"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(STEPS)), max_size=30))
def test_nothing_is_lost_on_the_way(steps: list[tuple[int, str]]) -> None:
    """However reports are lost and exporters replaced: at the end every request is counted, once."""
    master = Master(["host_0", "host_1"], run_id="run-1")
    master.begin()
    workers = [Worker(f"host_{number}", number) for number in range(2)]
    for worker in workers:
        worker.begin(master)
    lost = 0
    for number, what in steps:
        worker = workers[number]
        if what == "request":
            worker.request()
        elif what == "failure":
            worker.request(name="/failed", exception=OSError())
        elif what == "reset":
            worker.node.on_reset()
            worker.environment.stats.clear_all()
        elif what == "report":
            worker.report_to(master)
        elif what == "lost":
            lost += worker.report()["stats_total"]["num_requests"]
        elif what == "tick":
            worker.node.tick()
        else:
            master.exporter = master.exporter.successor()
    for worker in workers:
        assert worker.node.run is not None
        worker.node.run.is_stopped = True
        worker.report_to(master)
    run = master.exporter.run
    recorded = sum(worker.node.recorder.requests.total for worker in workers)
    assert run.merged.total == recorded
    assert run.unreconciled == -lost  # Locust's master has not got those either
    assert not run.unfinished


def test_marks(master: Master) -> None:
    """A mark is told with its run; a worker's message counts in the run that it is for."""
    run = master.node.run
    assert run is not None
    master.node.mark(run, "deploy", "note")
    hear = master.runner.heard[MARK_MESSAGE]
    hear(msg=SimpleNamespace(data=["run-1", "db ", "fault"]), environment=None)
    hear(msg=SimpleNamespace(data=["run-0", "db", "fault"]))
    master.deliver()
    assert master.exporter.run.marks == {("deploy", "note"): 1, ("db", "fault"): 1}


@pytest.mark.parametrize(
    "data",
    [None, 7, [], ["run-1"], ["run-1", "db", "fault", 1], ["run-1", 5, "fault"], ["run-1", "db", {"a": 1}], "", {}],
)
def test_a_message_that_makes_no_sense(master: Master, data: object, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused with a warning, and raises nothing into Locust."""
    master.runner.heard[MARK_MESSAGE](msg=SimpleNamespace(data=data))
    master.deliver()
    assert master.exporter.run.marks == {}
    assert "A worker's mark was refused" in caplog.text


def test_the_last_reports_are_waited_for(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker reports every three seconds, so the one after its users' end is there in four."""
    slept: list[float] = []
    monkeypatch.setattr(gevent, "sleep", slept.append)
    master.node.wait_for_last_requests()
    assert slept == [4.0]
