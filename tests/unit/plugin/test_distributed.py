"""Tests of a distributed run: what reports of workers hold, and how a master hands them to the exporter."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import gevent
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.cardinality import Names
from locust_otel.core.catalogue import OTHER
from locust_otel.exporter.merged import Merged
from locust_otel.plugin import distributed
from locust_otel.plugin.distributed import MARK_MESSAGE, NAMES_MESSAGE, PROVISIONAL, REPORT_KEY, RUN_OPTION, WorkerNode
from locust_otel.plugin.reporter import SERIES_PER_PIECE
from locust_otel.wire import frames
from locust_otel.wire.report import Piece, Tail, decode
from tests.unit.factories import event, fire, objectives, totals, user
from tests.unit.processes import Exporter, FakeLink, Master, Worker, environment, flags

KEY = ("GET", "/", "Shopper", "success")
DEEP = msgpack.unpackb(b"\x91" * 1_000 + b"\x90")
"""Nested almost as deep as msgpack reads."""


class Clock:
    """The monotonic clock of a worker, to turn."""

    now_s = 1_000.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock."""
    made = Clock()
    monkeypatch.setattr(distributed, "monotonic", made)
    return made


@pytest.fixture
def master() -> Master:
    """Make a master in its first run."""
    made = Master(["host_1", "host_2"], run_id="run-1")
    made.begin()
    made.link.said.clear()
    return made


@pytest.fixture
def worker(master: Master) -> Worker:
    """Make a worker in the run of the master."""
    made = Worker()
    made.begin(master)
    return made


def pieces(worker: Worker) -> list[Piece]:
    """Return our part of the next report."""
    return [decode(piece) for piece in worker.report()[REPORT_KEY]]


def tail(told: list[Piece]) -> Tail:
    """Return the end of a report."""
    found = told[-1].tail
    assert found is not None
    assert [piece.tail for piece in told[:-1]] == [None] * (len(told) - 1)
    return found


def counted(told: list[Piece], run_id: str = "run-1") -> dict[tuple[str, ...], int]:
    """Return what the pieces of a run say alone, to somebody who knew nothing."""
    requests = Master().begin().merged
    target = Merged(requests.layout, requests.slow_s, Names(10_000))
    for piece in told:
        if piece.run_id == run_id:
            target.merge("host_1", piece)
    return totals(target.snapshot())


def test_what_changed_and_how_the_process_is(worker: Worker) -> None:
    """A report tells what was hit since the last one, whole; and what happened meanwhile, once."""
    worker.request(2)
    worker.request(name="/slow", response_time=6_000)
    worker.node.on_user_error(user_instance=user(), exception=KeyError())
    first = pieces(worker)
    assert counted(first) == {KEY: 2, ("GET", "/slow", "Shopper", "success"): 1}
    end = tail(first)
    assert (end.is_over, end.reset, end.missing, end.errors) == (False, 0, 0, 0)
    assert ([slow.key.name for slow in end.slow], len(end.events)) == (["/slow"], 1)
    worker.request()
    second = pieces(worker)
    assert counted(second) == {KEY: 3}
    assert (tail(second).slow, tail(second).events, tail(second).missing) == ((), (), 0)


def test_locusts_table_is_emptied_by_each_report(worker: Worker) -> None:
    """What Locust has counted is compared over all reports, with what a reset threw away between two of them."""
    for turn in range(3):
        worker.request(4)
        worker.report()
        worker.request(2)
        worker.node.on_reset()
        worker.environment.stats.clear_all()
        worker.request(1)
        end = tail(pieces(worker))
        assert (end.reset, end.missing) == (2 * (turn + 1), 0)


def test_the_run_is_the_masters(master: Master) -> None:
    """The order to spawn users says how to record: which id, thresholds, names; a late worker gets the same."""
    slow = Master(["host_1"], slo=objectives(), run_id="nightly", max_request_names="7")
    slow.begin()
    for _ in range(2):
        worker = Worker()
        worker.begin(slow)
        assert worker.node.run is not None
        order = worker.node.run.order
        assert (order.run_id, order.slow_s, order.thresholds_s) == ("nightly", 2.0, [0.3])
        assert order.max_names == 7 * PROVISIONAL
        assert worker.node.recorder.requests.layout == slow.exporter.run.merged.layout


@pytest.mark.parametrize(("mine", "its"), [("true", "false"), ("false", "true")])
def test_names_are_grouped_as_the_master_says(mine: str, its: str) -> None:
    """Every worker groups names, or none does, whatever options it has itself; so does an exporter beside it."""
    master = Master(["host_1", "host_2"], group_names=mine)
    run = master.begin()
    names = {"/items/[id]"} if mine == "true" else {"/items/1", "/items/2"}
    for number in range(2):
        worker = Worker(f"host_{number + 1}", number, group_names=its)
        worker.begin(master)
        for name in ("/items/1", "/items/2"):
            worker.request(name=name)
            worker.request(name=name, exception=OSError())
        master.hear(worker.client_id, worker.report())
    assert {key.name for key in run.merged.snapshot().errors} == names
    assert {name for _, name, *_ in totals(run.merged.snapshot())} == names
    own = Exporter(is_worker=True, export_from="workers", prometheus_port="0", group_names=its).begin(
        group_names=mine == "true"
    )
    assert own.settings["group_names"] == own.merged.names.groups == (mine == "true")


@pytest.mark.parametrize("ids", [(1, 1_000), (1_000, 2_000)], ids=["first at the master", "at a worker too"])
def test_the_master_says_that_names_fold(caplog: pytest.LogCaptureFixture, ids: tuple[int, int]) -> None:
    """Wherever names are folded first, the master's exporter says so, once, with names that were requested."""
    master = Master(["host_1", "host_2"], max_request_names="20")
    master.begin()
    for number, start in enumerate(ids):
        worker = Worker(f"host_{number + 1}", number)
        worker.begin(master)
        for name in range(15 if start == 1 else 20 * PROVISIONAL + 5):
            worker.request(name=f"/items/{start + name}")
        master.hear(worker.client_id, worker.report())
    (line,) = caplog.messages
    assert line.startswith(
        f"There are more than 20 request names, and the others are counted as _OTHER: GET /items/{ids[0]}"
    )
    assert 'Give the calls name="/items/[id]"' in line


def test_a_master_without_us(caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose master says nothing of a run records by itself, and says so."""
    worker = Worker(slow_request="250ms", max_request_names="9", run_id="mine", group_names="true")
    run = worker.node.start_run()
    assert (run.run_id, run.order.slow_s, run.order.group_names) == ("mine", 0.25, True)
    worker.request(3)
    (piece, _) = pieces(worker)
    assert (piece.run_id, piece.series[0].key, sum(piece.series[0].counts.values())) == ("mine", KEY, 3)
    assert "The master runs without locust-otel" in caplog.text


def test_before_the_first_run() -> None:
    """A worker that has no run yet says how it is, and nothing else."""
    worker = Worker()
    worker.node.tick()
    (only,) = pieces(worker)
    assert (only.run_id, only.series, only.errors, tail([only]).is_over) == ("", (), (), False)


def test_a_report_made_ahead(worker: Worker, clock: Clock) -> None:
    """Just before Locust's report is due, the pieces are made with turns for users between; each is sent once."""
    for number in range(3 * SERIES_PER_PIECE):
        worker.request(name=f"/{number}")
    clock.now_s += 2.5
    worker.node.tick()
    assert worker.node._pieces == []
    clock.now_s += 0.25
    worker.node.tick()
    ahead = len(worker.node._pieces)
    assert ahead >= 3
    worker.node.tick()
    assert len(worker.node._pieces) == ahead
    worker.request(name="/0")
    worker.request(name="/last")
    told = pieces(worker)
    assert len(told) == ahead + 2
    names = counted(told)
    assert len(names) == 3 * SERIES_PER_PIECE + 1
    assert names["GET", "/0", "Shopper", "success"] == 2
    assert worker.node._pieces == []
    worker.node.tick()
    assert worker.node._pieces == []  # not again before the next one is due


def test_a_report_while_one_is_made_ahead(worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Locust's report is sent between two pieces, the piece in the making goes with the next one."""
    for number in range(4 * SERIES_PER_PIECE):
        worker.request(name=f"/{number}")
    told: list[Piece] = []
    clock.now_s += 2.75
    worker.node.recorder.requests.tally()
    turns = iter([False, True])
    monkeypatch.setattr(gevent, "sleep", lambda _: told.extend(pieces(worker) if next(turns, False) else []))
    worker.node.tick()
    told += pieces(worker)
    assert len(counted(told)) == 4 * SERIES_PER_PIECE


def test_a_lost_report_heals(worker: Worker, master: Master) -> None:
    """What only a lost message told comes again within a minute of ticks."""
    for number in range(50):
        worker.request(name=f"/{number}")
    worker.report()  # lost
    for _ in range(20):
        for _ in range(12):
            worker.node.tick()
        worker.report_to(master)
    assert master.exporter.run.merged.total == 50


def test_a_run_that_is_over_is_told_whole_twice(worker: Worker) -> None:
    """The last two reports are enough for a master that has missed all others; after them there is nothing to tell."""
    worker.request(3)
    worker.request(name="/failed", exception=OSError())
    worker.report()
    run = worker.node.run
    assert run is not None
    run.is_stopped = True
    expected = {KEY: 3, ("GET", "/failed", "Shopper", "failure"): 1}
    for _ in range(2):
        told = pieces(worker)
        assert counted(told) == expected
        assert (tail(told).is_over, len(told[-1].errors)) == (True, 1)
    (only,) = pieces(worker)
    assert (only.series, tail([only]).is_over) == ((), True)


def test_the_run_before_is_told_with_the_next(worker: Worker, master: Master) -> None:
    """Where the next run begins before the last report, the one before is told whole with the first two of it."""
    worker.request(3)
    run = worker.node.run
    assert run is not None
    run.is_stopped = True
    master.begin()
    worker.begin(master)
    worker.request(2)
    told = [pieces(worker) for _ in range(3)]
    assert [[piece.run_id for piece in one] for one in told] == [
        ["run-1", "run-1-2", "run-1-2"], ["run-1", "run-1-2"], ["run-1-2"],
    ]  # fmt: skip
    assert counted(told[1], "run-1") == {KEY: 3}
    assert counted(told[0], "run-1-2") == {KEY: 2}


def test_requests_while_the_next_run_begins(worker: Worker, master: Master) -> None:
    """A report made ahead of a new run does not take the requests of the run before with it."""
    worker.request(3)
    worker.node.tick()
    master.begin()
    worker.begin(master)
    worker.request(2)
    worker.report_to(master)
    assert master.exporter.session.state.before is not None
    assert master.exporter.session.state.before.merged.total == 3
    assert master.exporter.run.merged.total == 2


def test_names_from_the_master(worker: Worker) -> None:
    """Once the master has said which names have series, a new one is folded; of another run it says nothing here."""
    worker.request(name="/mine")
    worker.runner.heard[NAMES_MESSAGE](msg=SimpleNamespace(data=["run-0", [["GET", "/a"]]]), environment=None)
    worker.request(name="/b")
    worker.runner.heard[NAMES_MESSAGE](msg=SimpleNamespace(data=["run-1", [["GET", "/a"]]]))
    for name in ("/mine", "/a", "/b", "/c"):
        worker.request(name=name)
    names = {key[1]: number for key, number in counted(pieces(worker)).items()}
    assert names == {"/mine": 2, "/a": 1, "/b": 2, OTHER: 1}


def test_marks_of_a_worker(worker: Worker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark goes to the master at once; where it cannot be sent nothing is raised, and the caller knows."""
    run = worker.node.run
    assert run is not None
    assert worker.node.mark(run, "db", "fault")
    assert worker.runner.sent == [(MARK_MESSAGE, ["run-1", "db", "fault"], None)]

    def fail(*_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(worker.runner, "send_message", fail)
    assert not worker.node.mark(run, "db", "fault")
    assert "no route" in caplog.text


def test_with_an_exporter_of_its_own(master: Master, caplog: pytest.LogCaptureFixture) -> None:
    """With --export-from workers both are told everything; what happened goes to the master."""
    caplog.set_level(logging.INFO)
    exporter = Exporter(is_worker=True, export_from="workers", prometheus_port="0")
    link = FakeLink(exporter.ready)
    worker = Worker(export_from="workers")
    worker.node = WorkerNode(worker.environment, flags(export_from="workers"), link)
    worker.begin(master)
    assert worker.node.run is not None
    assert worker.node.run.order.max_names == 200  # each worker has its own series
    exporter.begin("run-1")
    worker.request(3)
    worker.request(name="/slow", response_time=6_000)
    worker.node.tick()
    told = pieces(worker)
    exporter.take(*link.said)
    expected = {KEY: 3, ("GET", "/slow", "Shopper", "success"): 1}
    assert counted(told) == totals(exporter.run.merged.snapshot()) == expected
    (own,) = [decode(data).tail for name, *_, data in link.said if name == frames.REPORT and decode(data).tail]
    assert own is not None
    assert (own.slow, len(tail(told).slow)) == ((), 1)


def test_listener_of_locust() -> None:
    """What is added to Locust's report is bytes in a list, beside Locust's own parts."""
    node: Any = WorkerNode(environment(), flags(), FakeLink())
    fire(node.recorder.on_request, [event()], user())
    data: dict[str, Any] = {"stats_total": {"num_requests": 1}}
    node.on_report_to_master(client_id="host_1", data=data)
    assert data["stats_total"] == {"num_requests": 1}
    assert [type(part) for part in data[REPORT_KEY]] == [bytes]
    assert not hasattr(node.environment.parsed_options, RUN_OPTION)


# ---------------------------------------------------------------------------------------------------------- master


def test_a_run_is_in_the_options_that_locust_sends(master: Master) -> None:
    """Each run has an id of its own, and says how workers record it; plain enough for Locust's wire."""
    judged = Master(slo=objectives(), run_id="nightly", propagate_traces="0.5")
    judged.begin()
    told = getattr(judged.environment.parsed_options, RUN_OPTION)
    assert msgpack.unpackb(msgpack.packb(told)) == told == ["nightly", 2.0, 200, 0.5, [0.3], [], False]
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


def test_marks_at_the_master(master: Master) -> None:
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
