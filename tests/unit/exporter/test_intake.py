"""Tests of what the exporter makes of the messages of Locust's process."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from locust_otel.core.events import Event
from locust_otel.core.snapshot import SeriesKey, SlowRequest
from locust_otel.exporter.run import Phase
from locust_otel.wire import frames
from locust_otel.wire.report import encode, encode_event, fingerprint
from tests.unit.factories import objectives, totals
from tests.unit.processes import Exporter

KEY = ("GET", "/", "Shopper", "success")


def vitals(**changes: Any) -> list[Any]:
    """Return how a process says it is."""
    values = {"cpu": 0.25, "memory": 64_000_000, "reasons": [], "lag_sum": 0.5, "lags": {7: 2}, "sum": 0.0, "late": {}}
    return list((values | changes).values())


def tail(**changes: Any) -> dict[str, Any]:
    """Return the end of a report."""
    return {
        "is_over": False, "reset": 0, "missing": 0, "errors": 0, "events": [], "slow": [], "slow_dropped": 0,
        "vitals": vitals(), **changes,
    }  # fmt: skip


class Reports:
    """Makes the pieces of a run."""

    def __init__(self, exporter: Exporter) -> None:
        self._layout = fingerprint(exporter.run.merged.layout)
        self._run_id = exporter.run.run_id

    def piece(self, count: int = 0, name: str = "/") -> bytes:
        """Return a piece that tells of so many requests."""
        series = [["GET", name, "Shopper", 0, 0, count / 100, 10 * count, [8, count], {}]] if count else []
        return encode(self._run_id, self._layout, series)

    def last(self, **changes: Any) -> bytes:
        """Return a last piece."""
        return encode(self._run_id, self._layout, [], tail=tail(**changes))


@pytest.fixture
def local() -> Exporter:
    """Make an exporter beside a local Locust, in a run."""
    made = Exporter()
    made.begin()
    return made


@pytest.fixture
def master() -> Exporter:
    """Make an exporter beside a master, in a run."""
    made = Exporter(is_master=True)
    made.begin()
    return made


def errors(exporter: Exporter) -> int:
    """Return how often something could not be made sense of."""
    return exporter.session.snapshot().health.listener_errors


# -------------------------------------------------------------------------------------------------------------- runs


def test_a_run_begins() -> None:
    """It has what was told of it and what the settings say; its start is an event."""
    exporter = Exporter(slo=objectives(), max_request_names="7", propagate_traces="0.5")
    run = exporter.begin("run-1", settings={"users": 4}, is_headless=False, only_summary=True)
    assert exporter.session.run is run
    assert (run.run_id, run.phase, run.is_headless, run.only_summary) == ("run-1", Phase.WAITING, False, True)
    assert run.settings == {
        "slow_request_s": 2.0, "max_request_names": 7, "group_names": False, "export_from": "master",
        "slo_abort": False, "propagate_traces": 0.5, "users": 4,
    }  # fmt: skip
    assert {0.3, 2.0} <= set(run.merged.layout.bounds)
    assert run.progress is not None
    (event,) = exporter.session.events.peek(9)
    assert (event.name, event.body) == ("locust.run.start", "Run run-1 starts")
    assert event.attributes == {"run_id": "run-1", "host": "http://shop", "users_target": 4}


def test_a_run_of_a_worker() -> None:
    """Its master judges it, and tells of its start."""
    exporter = Exporter(is_worker=True)
    assert exporter.begin().progress is None
    assert exporter.session.events.peek(9) == []


def test_what_is_known_of_processes_begins_anew(local: Exporter) -> None:
    """Until they report from the new run nothing is known of them; the run before is kept for late reports."""
    local.take(["report", "host-0", Reports(local).last()])
    assert len(local.session.snapshot().workers) == 1
    first = local.run
    local.begin("run-2")
    assert local.session.snapshot().workers == ()
    assert local.session.state.before is first


def test_status(local: Exporter) -> None:
    """What Locust's runner says goes to its run; of no run, or one that is gone, only what concerns the processes."""
    told = {
        "run_id": "run-1", "state": "spawning", "users": {"A": 1}, "users_target": {"A": 2},
        "worker_users": {"host-0": 1}, "merged_reports": 3,
    }  # fmt: skip
    local.take(["status", told])
    assert (local.run.phase, local.run.users, local.run.users_target) == (Phase.SPAWNING, {"A": 1}, {"A": 2})
    assert local.session.snapshot().health.merged_reports == 3
    for run_id in ("", "run-0"):
        local.take(["status", {**told, "run_id": run_id, "state": "running", "merged_reports": 4}])
    assert (local.run.phase, local.session.state.merged_reports) == (Phase.SPAWNING, 4)


def test_the_end_of_a_run(local: Exporter) -> None:
    """Its clock stops when it was stopped, and not when that was read; requests still come until it is final."""
    reports = Reports(local)
    local.take(["report", "host-0", reports.piece(3)], ["stopped", "run-0", 107.0], ["stopped", "run-1", 107.5])
    assert (local.run.phase, local.run.elapsed_s) == (Phase.STOPPED, 7.5)
    local.take(["report", "host-0", reports.piece(5)])
    assert local.run.merged.total == 5
    local.take(["finish", "run-1", None], ["report", "host-0", reports.piece(9)])
    assert local.run.merged.total == 5


@pytest.mark.parametrize(
    ("run_id", "is_final", "expected"), [("run-1", False, 1), ("run-1", True, 0), ("run-0", False, 0)]
)
def test_marks(local: Exporter, run_id: str, is_final: bool, expected: int) -> None:
    """A mark counts in the run it is for, also just after its stop, and in no other; it has the time it was made at."""
    local.run.stop(107.0)
    if is_final:
        local.run.finish()
    local.take(["mark", run_id, "db", "fault", 1.5])
    assert local.run.marks == ({("db", "fault"): 1} if expected else {})
    assert [event.timestamp for event in local.session.events.peek(9)[1:]] == [1.5] * expected


def test_marks_of_the_run_before(local: Exporter) -> None:
    """One that was on its way when the next run began counts in its own."""
    first = local.run
    local.begin("run-2")
    local.take(["mark", "run-1", "db", "fault", 1.5])
    assert (first.marks, local.run.marks) == ({("db", "fault"): 1}, {})


# ------------------------------------------------------------------------------------------------------------- local


def test_reports_of_a_local_process(local: Exporter) -> None:
    """Its requests, its own health, and Locust's account."""
    reports = Reports(local)
    local.take(
        ["report", "host-0", reports.piece(3)],
        ["report", "host-0", reports.last(missing=2, reset=4, errors=1, vitals=vitals(reasons=["lag"]))],
    )
    taken = local.session.snapshot()
    assert taken.run is not None
    assert totals(taken.run.requests) == {KEY: 3}
    assert (taken.health.unreconciled, taken.health.listener_errors) == (2, 1)
    assert (local.run.locust_total, local.run.reset) == (5, {"host-0": 4})
    ((worker, reasons),) = [(worker.worker, worker.reasons) for worker in taken.workers]
    assert (worker, reasons) == ("host-0", ("lag",))
    local.take(["report", "host-0", reports.last(errors=0, missing=None)])
    assert local.session.snapshot().health.listener_errors == 1
    assert local.run.locust_total is None


def test_what_a_report_says_of_a_run_before(local: Exporter) -> None:
    """Its requests count there; its delays are none of the run that goes on."""
    reports, first = Reports(local), local.run
    local.begin("run-2")
    local.take(["report", "host-0", reports.piece(3)], ["report", "host-0", reports.last(missing=1)])
    assert (first.merged.total, first.missing) == (3, 1)
    assert (local.run.merged.total, local.run.missing) == (0, None)
    assert local.session.snapshot().workers == ()
    local.begin("run-3")
    local.take(["report", "host-0", reports.piece(5)])
    assert first.merged.total == 3


def test_what_happened(local: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """Events and slow requests that a report carries are taken, those of the plugin itself too."""
    event = Event("locust.user_error", "KeyError in a task of Shopper", "ERROR", {"worker": "host-0"}, 1.5)
    slow = SlowRequest(SeriesKey(*KEY), 6.0, "200", "", "", 1.5)
    local.session.events.remove(1)
    local.take(
        ["report", "host-0", Reports(local).last(events=[encode_event(event)], slow=[encode_event(slow)])],
        ["event", encode_event(event)],
    )
    local.slow_log.emit()
    names = [found.name for found in local.session.events.peek(9)]
    assert local.session.events.peek(2) == [event, event]
    assert names == ["locust.user_error", "locust.user_error", "locust.slow_request"]
    assert "slow request run_id=run-1 name=/ method=GET duration_s=6.0" in caplog.text


# ------------------------------------------------------------------------------------------------------------ master


def test_reports_of_workers(master: Exporter) -> None:
    """Requests add up by worker; Locust's total is what its reports said; names and users are those of the master."""
    reports = Reports(master)
    master.take(
        ["worker", "a", 3, [reports.piece(3), reports.last(missing=99)]],
        ["worker", "b", 2, [reports.piece(2), reports.last(vitals=vitals(cpu=0.5))]],
        ["worker", "a", 1, [reports.piece(4), reports.last()]],
        ["status", {"run_id": "run-1", "state": "running", "users": {}, "users_target": {}, "worker_users": {"a": 7},
                    "worker_states": {"running": 2}, "workers_expected": 3,
                    "worker_names": {"b": "host-0", "a": "host-1"}}],
    )  # fmt: skip
    taken = master.session.snapshot()
    assert (master.run.merged.total, master.run.locust_total, master.run.unreconciled) == (6, 6, 0)
    assert (taken.worker_states, taken.workers_expected) == ({"running": 2}, 3)
    assert [(worker.worker, worker.users, worker.cpu_ratio) for worker in taken.workers] == [
        ("host-0", 0, 0.5), ("host-1", 7, 0.25),
    ]  # fmt: skip


def test_a_worker_that_missed_something(master: Exporter) -> None:
    """What Locust counted there and we did not is in the account."""
    reports = Reports(master)
    master.take(["worker", "a", 5, [reports.piece(3), reports.last()]])
    assert master.session.snapshot().health.unreconciled == 2


def test_resets(master: Exporter) -> None:
    """What a worker's table forgot is part of Locust's total, each request once, by worker."""
    reports = Reports(master)
    master.take(
        ["worker", "a", 3, [reports.piece(7), reports.last(reset=4)]],
        ["worker", "b", 1, [reports.piece(3), reports.last(reset=2)]],
        ["worker", "a", 2, [reports.piece(14), reports.last(reset=9)]],
    )
    assert master.run.reset == {"a": 9, "b": 2}
    assert (master.run.locust_total, master.run.unreconciled) == (17, 0)


def test_workers_that_leave(master: Exporter) -> None:
    """One whose last report has not come is unfinished; it is not once that has come."""
    reports = Reports(master)
    for worker in ("a", "b"):
        master.take(["worker", worker, 1, [reports.piece(1), reports.last()]])
    assert master.run.unfinished == {"a", "b"}
    master.take(["worker", "a", 0, [reports.last(is_over=True)]])
    assert master.run.unfinished == {"b"}
    master.take(["worker", "c", 0, [encode("", 0, [], tail=tail())]])  # which has no run yet
    assert master.run.unfinished == {"b", "c"}


def test_requests_of_the_run_before(master: Exporter) -> None:
    """They come with the first report of the next run, and count in their own; Locust's count is of the new one."""
    old, first = Reports(master), master.run
    master.take(["worker", "a", 3, [old.piece(3), old.last()]])
    master.begin("run-2")
    new = Reports(master)
    master.take(["worker", "a", 2, [old.piece(4), new.piece(1), new.last()]])
    assert (first.merged.total, first.locust_total) == (4, 3)
    assert (master.run.merged.total, master.run.locust_total) == (1, 2)
    master.take(["worker", "b", 2, [old.piece(4), old.last()]])  # one that has not heard of the new run yet
    assert (first.merged.total, master.run.locust_total, errors(master)) == (8, 2, 0)


def test_names_are_told_once() -> None:
    """A worker that tells of names for which there is no room is told which ones have series."""
    master = Exporter(is_master=True, max_request_names="1")
    master.begin()
    reports = Reports(master)
    for _ in range(2):
        master.take(["worker", "a", 1, [reports.piece(1, "/a"), reports.last()]])
        master.take(["worker", "b", 2, [reports.piece(1, "/a"), reports.piece(1, "/b"), reports.last()]])
    assert master.told == [(frames.NAMES, "b", "run-1", [["GET", "/a"]])]
    assert master.session.snapshot().health.folded_requests == 1


# ----------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (
            ["/", "/items/1", "/items/2", "/items/3"],
            "GET /items/1, /items/2, … look like one: /items/[id]. "
            'Give the calls name="/items/[id]", or --group-names does it.',
        ),
        (["/", "/a", "/b", "/c"], "--max-request-names raises the limit."),
    ],
)
def test_the_first_fold_is_told(caplog: pytest.LogCaptureFixture, names: list[str], remedy: str) -> None:
    """Once a run, with examples and what to do; a successor of the process does not repeat it."""
    exporter = Exporter(max_request_names="4")
    exporter.begin()
    reports = Reports(exporter)
    for name in names:
        exporter.intake.report("a", reports.piece(1, name))
    assert caplog.text == ""
    for name in ("/more", "/further"):
        exporter.intake.report("a", reports.piece(1, name))
    successor = exporter.successor()
    successor.intake.report("a", reports.piece(1, "/last"))
    assert caplog.messages == [f"There are more than 4 request names, and the others are counted as _OTHER: {remedy}"]
    successor.begin("run-2")
    again = Reports(successor)
    for name in (*names, "/more"):
        successor.intake.report("a", again.piece(1, name))
    assert caplog.messages == caplog.messages[:1] * 2


def test_an_exporter_of_a_worker_leaves_the_warning_to_the_master(caplog: pytest.LogCaptureFixture) -> None:
    """With --export-from workers the first fold is not logged once for each worker."""
    exporter = Exporter(is_worker=True, export_from="workers", prometheus_port="0", max_request_names="1")
    exporter.begin()
    for name in ("/a", "/b"):
        exporter.intake.report("a", Reports(exporter).piece(1, name))
    assert exporter.run.merged.folds
    assert caplog.messages == []


def test_a_worker_without_us(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """What it counted is missing here: in the account, counted each time, and logged once."""
    master.take(["worker", "a", 0, None])
    assert errors(master) == 0
    for _ in range(3):
        master.take(["worker", "a", 5, None])
    assert (errors(master), master.run.unreconciled) == (3, 15)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line == (
        "A worker's report was refused: worker a sent nothing of ours: it runs without locust-otel; its requests are "
        "missing here"
    )


def test_a_worker_in_a_run_of_its_own(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """Its requests are not counted; how it is and what went wrong there is known all the same."""
    strange = encode("run-0", 0, [], tail=tail(errors=2))
    master.take(["worker", "a", 5, [strange]])
    assert (master.run.locust_total, errors(master)) == (0, 1)
    assert "worker a sent requests of run run-0, which this master has not started" in caplog.text
    master.take(["worker", "a", 0, [strange]])
    assert errors(master) == 3


@pytest.mark.parametrize("part", [{"v": 2, "runs": []}, "text", 7])
def test_another_version(master: Exporter, caplog: pytest.LogCaptureFixture, part: Any) -> None:
    """It is refused with what to do about it, and what is good of others is taken."""
    master.take(["worker", "a", 5, part], ["worker", "b", 2, [Reports(master).piece(2), Reports(master).last()]])
    assert (errors(master), master.run.merged.total) == (1, 2)
    assert "install the same locust-otel on both" in caplog.text


def test_a_report_with_a_bad_piece(master: Exporter) -> None:
    """Nothing of the report is taken, and the next good one makes up for it."""
    reports = Reports(master)
    master.take(["worker", "a", 5, [reports.piece(5), b"\xc1", reports.last()]])
    assert (master.run.merged.total, errors(master)) == (0, 1)
    master.take(["worker", "a", 1, [reports.piece(6), reports.last()]])
    assert master.run.merged.total == 6


def test_other_bounds(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """A piece of this run that counts between other bounds is refused; Locust's count shows what is missing."""
    piece = encode("run-1", 7, [["GET", "/", "A", 0, 0, 1.0, 0, [8, 3], {}]], tail=tail())
    master.take(["worker", "a", 3, [piece]])
    assert (master.run.merged.total, master.run.unreconciled, errors(master)) == (0, 3, 1)
    assert "it counts between other bounds than this run" in caplog.text


def test_each_stranger_is_logged_once(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """However often it reports, and whatever else is wrong with it; each time is counted."""
    for _ in range(3):
        for worker in ("a", "b"):
            master.take(["worker", worker, 1, 7])
            master.take(["worker", worker, 1, [b"\xc1"]])
    assert errors(master) == 12
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_a_local_report_that_makes_no_sense(local: Exporter) -> None:
    """It is counted, and the next one is taken."""
    local.take(["report", "host-0", b"\xc1"], ["report", "host-0", Reports(local).piece(2)])
    assert (errors(local), local.run.merged.total) == (1, 2)


def test_before_the_first_run() -> None:
    """Reports, marks and ends of runs that nobody has begun change nothing."""
    master = Exporter(is_master=True)
    master.take(
        ["worker", "a", 0, [encode("", 0, [], tail=tail())]], ["worker", "a", 3, None], ["stopped", "run-1", 1.0],
        ["mark", "run-1", "db", "fault", 1.5], ["report", "host-0", encode("run-1", 0, [])],
    )  # fmt: skip
    assert (master.session.snapshot().run, errors(master)) == (None, 0)
