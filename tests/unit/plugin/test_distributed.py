"""Tests of a distributed run: the reports of workers, and how a master passes them to the exporter."""

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
from tests.unit.factories import objectives, totals, user
from tests.unit.plugin.clocks import Clock
from tests.unit.processes import Exporter, FakeLink, Master, Worker, flags

KEY = ("GET", "/", "Shopper", "success")
FAILED_KEY = ("GET", "/failed", "Shopper", "failure")
DEEP = msgpack.unpackb(b"\x91" * 1_000 + b"\x90")
"""Nested almost as deep as msgpack reads."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock of the workers."""
    clock = Clock()
    monkeypatch.setattr(distributed, "monotonic", clock)
    return clock


@pytest.fixture
def master() -> Master:
    """Return a master in its first run."""
    master = Master(["host_1", "host_2"], run_id="run-1")
    master.begin()
    master.link.said.clear()
    return master


@pytest.fixture
def worker(master: Master) -> Worker:
    """Return a worker in the run of the master."""
    worker = Worker()
    worker.begin(master)
    return worker


def stop(worker: Worker) -> None:
    """Stop the run of a worker."""
    assert worker.node.run is not None
    worker.node.run.is_stopped = True


def reset(worker: Worker) -> None:
    """Empty Locust's table."""
    worker.node.on_reset()
    worker.environment.stats.clear_all()


def pieces(worker: Worker) -> list[Piece]:
    """Return our part of the next report."""
    return [decode(piece) for piece in worker.report()[REPORT_KEY]]


def tail(report: list[Piece]) -> Tail:
    """Return the tail, which only the last piece has."""
    last = report[-1].tail
    assert last is not None
    assert [piece.tail for piece in report[:-1]] == [None] * (len(report) - 1)
    return last


def counted(report: list[Piece], run_id: str = "run-1") -> dict[tuple[str, ...], int]:
    """Return the requests that an exporter knows from the pieces of a run alone."""
    requests = Master().begin().merged
    target = Merged(requests.layout, requests.slow_s, Names(10_000))
    for piece in report:
        if piece.run_id == run_id:
            target.merge("host_1", piece)
    return totals(target.snapshot())


def test_a_report(worker: Worker) -> None:
    """It has the totals of each series that has changed since the last report, and each event once."""
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


def test_each_report_empties_locusts_table(worker: Worker) -> None:
    """Locust's count is the sum of all reports and of the requests that a reset has dropped between them."""
    for turn in range(3):
        worker.request(4)
        worker.report()
        worker.request(2)
        reset(worker)
        worker.request(1)
        end = tail(pieces(worker))
        assert (end.reset, end.missing) == (2 * (turn + 1), 0)


def test_workers_record_the_masters_run() -> None:
    """The order to spawn users has the id, thresholds and names, also for a worker that joins late."""
    master = Master(["host_1"], slo=objectives(), run_id="nightly", max_request_names="7", propagate_traces="0.5")
    master.begin()
    order = getattr(master.environment.parsed_options, RUN_OPTION)
    assert msgpack.unpackb(msgpack.packb(order)) == order == ["nightly", 2.0, 7, 0.5, [0.3], [], False]
    for _ in range(2):
        worker = Worker()
        worker.begin(master)
        assert worker.node.run is not None
        assert list(worker.node.run.order) == ["nightly", 2.0, 7 * PROVISIONAL, *order[3:]]
        assert worker.node.recorder.requests.layout == master.exporter.run.merged.layout
    assert [master.begin().run_id, master.begin().run_id] == ["nightly-2", "nightly-3"]


@pytest.mark.parametrize(("of_master", "of_worker"), [("true", "false"), ("false", "true")])
def test_the_master_decides_whether_names_are_grouped(of_master: str, of_worker: str) -> None:
    """The option of a worker has no effect, nor that of a worker's own exporter."""
    master = Master(["host_1", "host_2"], group_names=of_master)
    run = master.begin()
    names = {"/items/[id]"} if of_master == "true" else {"/items/1", "/items/2"}
    for number in range(2):
        worker = Worker(f"host_{number + 1}", number, group_names=of_worker)
        worker.begin(master)
        for name in ("/items/1", "/items/2"):
            worker.request(name=name)
            worker.request(name=name, exception=OSError())
        master.hear(worker.client_id, worker.report())
    assert {key.name for key in run.merged.snapshot().errors} == names
    assert {name for _, name, *_ in totals(run.merged.snapshot())} == names
    exporter = Exporter(is_worker=True, export_from="workers", prometheus_port="0", group_names=of_worker)
    own = exporter.begin(group_names=of_master == "true")
    assert own.settings["group_names"] == own.merged.names.groups == (of_master == "true")


@pytest.mark.parametrize("ids", [(1, 1_000), (1_000, 2_000)], ids=["at the master first", "at a worker too"])
def test_the_exporter_logs_that_names_fold(caplog: pytest.LogCaptureFixture, ids: tuple[int, int]) -> None:
    """The master's exporter logs it once, with names that were requested."""
    master = Master(["host_1", "host_2"], max_request_names="20")
    master.begin()
    for number, start in enumerate(ids):
        worker = Worker(f"host_{number + 1}", number)
        worker.begin(master)
        for name in range(15 if start == 1 else 20 * PROVISIONAL + 5):
            worker.request(name=f"/items/{start + name}")
        master.hear(worker.client_id, worker.report())
    (line,) = caplog.messages
    assert "more than 20 request names" in line
    assert f"GET /items/{ids[0]}" in line
    assert 'name="/items/[id]"' in line


def test_a_master_without_locust_otel(caplog: pytest.LogCaptureFixture) -> None:
    """A worker records with its own options, and logs a warning."""
    worker = Worker(slow_request="250ms", max_request_names="9", run_id="mine", group_names="true")
    run = worker.node.start_run()
    assert (run.run_id, run.order.slow_s, run.order.group_names) == ("mine", 0.25, True)
    worker.request(3)
    (piece, _) = pieces(worker)
    assert (piece.run_id, piece.series[0].key, sum(piece.series[0].counts.values())) == ("mine", KEY, 3)
    assert "The master runs without locust-otel" in caplog.text


def test_before_the_first_run() -> None:
    """A worker reports its state only, and no request."""
    worker = Worker()
    worker.request()
    worker.node.tick()
    (piece,) = pieces(worker)
    assert (piece.run_id, piece.series, piece.errors, tail([piece]).is_over) == ("", (), (), False)


def test_pieces_ahead_of_a_report(worker: Worker, clock: Clock) -> None:
    """Pieces are encoded 0.4 s before Locust's report, and each is sent once."""
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
    report = pieces(worker)
    assert len(report) == ahead + 2
    names = counted(report)
    assert len(names) == 3 * SERIES_PER_PIECE + 1
    assert names["GET", "/0", "Shopper", "success"] == 2
    worker.node.tick()
    assert worker.node._pieces == []  # the next report is not due yet


def test_a_report_during_the_encoding(worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Locust sends its report between two pieces, the remaining pieces are part of the next report."""
    requests = worker.node.recorder.requests
    for number in range(4 * SERIES_PER_PIECE):
        worker.request(name=f"/{number}")
    requests.tally()
    report: list[Piece] = []
    turns = iter([False, True])

    def sleep(_: float) -> None:
        if next(turns, False):
            report.extend(pieces(worker))
            worker.request(name="/late")
            requests.tally()  # as at the end of a run

    monkeypatch.setattr(gevent, "sleep", sleep)
    clock.now_s += 2.75
    worker.node.tick()
    assert worker.node._pieces
    assert len(counted(report)) == 4 * SERIES_PER_PIECE
    report += pieces(worker)
    assert counted(report)["GET", "/late", "Shopper", "success"] == 1


def test_a_lost_report_heals(worker: Worker, master: Master) -> None:
    """Its changes are repeated within a minute of ticks."""
    for number in range(50):
        worker.request(name=f"/{number}")
    worker.report()  # lost
    for _ in range(20):
        for _ in range(12):
            worker.node.tick()
        worker.report_to(master)
    assert master.exporter.run.merged.total == 50


def test_the_last_reports_of_a_run_are_complete(worker: Worker) -> None:
    """Two reports after the end repeat all of the run, for a master that has missed the others; then none does."""
    worker.request(3)
    worker.request(name="/failed", exception=OSError())
    worker.report()
    stop(worker)
    for _ in range(2):
        report = pieces(worker)
        assert counted(report) == {KEY: 3, FAILED_KEY: 1}
        assert (tail(report).is_over, len(report[-1].errors)) == (True, 1)
    (piece,) = pieces(worker)
    assert (piece.series, tail([piece]).is_over) == ((), True)


def test_the_run_before_is_repeated_in_the_next(worker: Worker, master: Master) -> None:
    """If the next run begins before the last report, its first two reports repeat all of the run before."""
    worker.request(3)
    stop(worker)
    master.begin()
    worker.begin(master)
    worker.request(2)
    reports = [pieces(worker) for _ in range(3)]
    assert [[piece.run_id for piece in report] for report in reports] == [
        ["run-1", "run-1-2", "run-1-2"], ["run-1", "run-1-2"], ["run-1-2"],
    ]  # fmt: skip
    assert counted(reports[1], "run-1") == {KEY: 3}
    assert counted(reports[0], "run-1-2") == {KEY: 2}


def test_requests_of_two_runs(worker: Worker, master: Master, clock: Clock) -> None:
    """The last requests of a run arrive with reports of the next; pieces encoded ahead do not add to the next run."""
    worker.request(3)
    worker.report_to(master)
    worker.request(2)
    clock.now_s += 2.75
    worker.node.tick()
    assert worker.node._pieces
    before = master.exporter.run
    master.begin()
    worker.begin(master)
    worker.request()
    worker.report_to(master)
    assert (before.run_id, before.merged.total) == ("run-1", 5)
    assert (master.exporter.run.run_id, master.exporter.run.merged.total) == ("run-1-2", 1)


def test_names_from_the_master(worker: Worker) -> None:
    """A new name is folded once the master has sent the names of this run."""
    worker.request(name="/mine")
    worker.runner.heard[NAMES_MESSAGE](msg=SimpleNamespace(data=["run-0", [["GET", "/a"]]]), environment=None)
    worker.request(name="/b")
    worker.runner.heard[NAMES_MESSAGE](msg=SimpleNamespace(data=["run-1", [["GET", "/a"]]]))
    for name in ("/mine", "/a", "/b", "/c"):
        worker.request(name=name)
    names = {key[1]: number for key, number in counted(pieces(worker)).items()}
    assert names == {"/mine": 2, "/a": 1, "/b": 2, OTHER: 1}


def test_marks_of_a_worker(worker: Worker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark is sent to the master at once; an error is logged and not raised."""
    run = worker.node.run
    assert run is not None
    assert worker.node.mark(run, "db", "fault")
    assert worker.runner.sent == [(MARK_MESSAGE, ["run-1", "db", "fault"], None)]

    def fail(*_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(worker.runner, "send_message", fail)
    assert not worker.node.mark(run, "db", "fault")
    assert "no route" in caplog.text


def test_a_worker_with_its_own_exporter(master: Master, caplog: pytest.LogCaptureFixture) -> None:
    """With --export-from workers both the exporter and the master get all numbers; only the master gets events."""
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
    report = pieces(worker)
    exporter.take(*link.said)
    assert counted(report) == totals(exporter.run.merged.snapshot())
    assert counted(report) == {KEY: 3, ("GET", "/slow", "Shopper", "success"): 1}
    (own,) = [decode(data).tail for name, *_, data in link.said if name == frames.REPORT and decode(data).tail]
    assert own is not None
    assert (own.slow, len(tail(report).slow)) == ((), 1)


# ---------------------------------------------------------------------------------------------------------- master


@pytest.mark.parametrize("part", [[b"one", b"\x00two"], [], None, {"v": 2}, "text", 7, DEEP])
def test_a_report_is_passed_on_undecoded(master: Master, part: Any) -> None:
    """The exporter gets the worker, Locust's count, and our part of the report, whatever it is."""
    data = {"stats_total": {"num_requests": 7}, **({REPORT_KEY: part} if part is not None else {})}
    master.node.on_worker_report(client_id="host_1", data=data)
    assert msgpack.packb(master.link.said) == msgpack.packb([[frames.WORKER, "host_1", 7, part]])
    master.deliver()


def test_status(master: Master) -> None:
    """It has the present, missing and expected workers, and the users of each; a new run forgets missing workers."""
    clients = master.runner.clients
    clients["host_1"].user_classes_count, clients["host_2"].state = {"Shopper": 3}, "missing"
    master.node.tick()
    master.node.flush()
    (status,) = master.link.only(frames.STATUS)
    assert status == {
        "run_id": "run-1", "state": "running", "users": {"Shopper": 3, "Admin": 0},
        "users_target": {"Shopper": 3, "Admin": 1}, "worker_states": {"running": 1, "missing": 1},
        "workers_expected": 2, "worker_names": {"host_1": "host-0"}, "worker_users": {"host_1": 3, "host_2": 0},
    }  # fmt: skip
    snapshot = master.deliver()
    assert (snapshot.worker_states, snapshot.workers_expected) == ({"running": 1, "missing": 1}, 2)
    del clients["host_2"]
    assert master.node.status()["worker_states"]["missing"] == 1
    master.begin()
    assert master.node.status()["worker_states"]["missing"] == 0


def test_three_workers_in_one_run(master: Master) -> None:
    """Their requests add up, also of a worker that joins late, and of one that has left."""
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
    snapshot = master.deliver()
    assert snapshot.run is not None
    assert totals(snapshot.run.requests) == {KEY: 13, FAILED_KEY: 2}
    assert sum(snapshot.run.requests.errors.values()) == 2
    assert (snapshot.health.unreconciled, master.exporter.run.locust_total) == (0, 15)
    master.link.send(frames.STATUS, master.node.status())
    assert {worker.worker for worker in master.deliver().workers} == {"host-0", "host-1"}


def test_names_fold_in_the_exporter() -> None:
    """If two workers have 15 names each and the limit is 20, then 20 have series; workers fold from then on, too."""
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
    requests = totals(run.merged.snapshot())
    assert len(requests) == 21
    assert requests["GET", OTHER, "Shopper", "failure"] == run.merged.folded == 20
    workers[1].request(name="/new")
    assert ("GET", OTHER, "Shopper", "success") in workers[1].node.recorder.requests.series
    workers[1].report_to(master)
    assert (run.merged.total, run.unreconciled) == (61, 0)


STEPS = ["request", "failure", "reset", "report", "lost", "tick", "exporter replaced"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(STEPS)), max_size=30))
def test_every_request_counts_once(steps: list[tuple[int, str]]) -> None:
    """At the end all requests and resets are counted, however reports were lost and exporters replaced."""
    master = Master(["host_0", "host_1"], run_id="run-1")
    master.begin()
    workers = [Worker(f"host_{number}", number) for number in range(2)]
    for worker in workers:
        worker.begin(master)
    lost = dropped = 0
    for number, step in steps:
        worker = workers[number]
        if step == "request":
            worker.request()
        elif step == "failure":
            worker.request(name="/failed", exception=OSError())
        elif step == "reset":
            dropped += worker.environment.stats.total.num_requests
            reset(worker)
        elif step == "report":
            worker.report_to(master)
        elif step == "lost":
            lost += worker.report()["stats_total"]["num_requests"]
        elif step == "tick":
            worker.node.tick()
        else:
            master.exporter = master.exporter.successor()
    for worker in workers:
        stop(worker)
        worker.report_to(master)
    run = master.exporter.run
    assert run.merged.total == sum(worker.node.recorder.requests.total for worker in workers)
    assert sum(run.reset.values()) == dropped
    assert run.unreconciled == -lost  # Locust's master has not received those either
    assert not run.unfinished


def test_marks_at_the_master(master: Master) -> None:
    """A mark has its run; a worker's mark of another run is dropped."""
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
def test_an_invalid_mark_of_a_worker(master: Master, data: object, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused with a warning, and raises nothing into Locust."""
    master.runner.heard[MARK_MESSAGE](msg=SimpleNamespace(data=data))
    master.deliver()
    assert master.exporter.run.marks == {}
    assert "A worker's mark was refused" in caplog.text


def test_the_master_waits_for_the_last_reports(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker reports every 3 s, so its last report arrives within 4 s."""
    slept: list[float] = []
    monkeypatch.setattr(gevent, "sleep", slept.append)
    master.node.wait_for_last_requests()
    assert slept == [4.0]
