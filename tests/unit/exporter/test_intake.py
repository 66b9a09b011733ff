"""Tests of the intake of messages from Locust's process."""

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
    """Return the vitals of a process, as they are sent."""
    values = {"cpu": 0.25, "memory": 64_000_000, "reasons": [], "lag_sum": 0.5, "lags": {7: 2}, "sum": 0.0, "late": {}}
    return list((values | changes).values())


def tail(**changes: Any) -> dict[str, Any]:
    """Return the tail of a report."""
    return {
        "is_over": False, "reset": 0, "missing": 0, "errors": 0, "events": [], "slow": [], "slow_dropped": 0,
        "vitals": vitals(), **changes,
    }  # fmt: skip


class Reports:
    """Makes pieces of reports of a run."""

    def __init__(self, exporter: Exporter) -> None:
        self._layout = fingerprint(exporter.run.merged.layout)
        self._run_id = exporter.run.run_id

    def piece(self, count: int = 0, name: str = "/") -> bytes:
        """Return a piece with this number of requests."""
        series = [["GET", name, "Shopper", 0, 0, count / 100, 10 * count, [8, count], {}]] if count else []
        return encode(self._run_id, self._layout, series)

    def last(self, **changes: Any) -> bytes:
        """Return a last piece."""
        return encode(self._run_id, self._layout, [], tail=tail(**changes))


@pytest.fixture
def local() -> Exporter:
    """Make an exporter of a local run."""
    made = Exporter()
    made.begin()
    return made


@pytest.fixture
def master() -> Exporter:
    """Make an exporter of a master, in a run."""
    made = Exporter(is_master=True)
    made.begin()
    return made


def errors(exporter: Exporter) -> int:
    """Return the number of unusable events and refused reports."""
    return exporter.session.snapshot().health.listener_errors


# -------------------------------------------------------------------------------------------------------------- runs


def test_a_run_begins() -> None:
    """A run has the values of its message and of the settings; its start is an event."""
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
    (event,) = exporter.session.state.events.peek(9)
    assert (event.name, event.body) == ("locust.run.start", "Run run-1 starts")
    assert event.attributes == {"run_id": "run-1", "host": "http://shop", "users_target": 4}


def test_a_run_of_a_worker() -> None:
    """A worker neither judges a run nor reports its start: its master does."""
    exporter = Exporter(is_worker=True)
    assert exporter.begin().progress is None
    assert exporter.session.state.events.peek(9) == []


def test_a_second_run(local: Exporter) -> None:
    """A new run has no vitals before the first report; the run before is kept for late reports."""
    local.take(["report", "host-0", Reports(local).last()])
    assert len(local.session.snapshot().workers) == 1
    first = local.run
    local.begin("run-2")
    assert local.session.snapshot().workers == ()
    assert local.session.state.before is first


def test_status(local: Exporter) -> None:
    """The state of the runner belongs to its run; without a known run only numbers of the processes are taken."""
    message = {
        "run_id": "run-1", "state": "spawning", "users": {"A": 1}, "users_target": {"A": 2},
        "worker_users": {"host-0": 1}, "merged_reports": 3,
    }  # fmt: skip
    local.take(["status", message])
    assert (local.run.phase, local.run.users, local.run.users_target) == (Phase.SPAWNING, {"A": 1}, {"A": 2})
    assert local.session.snapshot().health.merged_reports == 3
    for run_id in ("", "run-0"):
        local.take(["status", {**message, "run_id": run_id, "state": "running", "merged_reports": 4}])
    assert (local.run.phase, local.session.state.merged_reports) == (Phase.SPAWNING, 4)


def test_the_end_of_a_run(local: Exporter) -> None:
    """The clock stops at the time in the message; requests are merged until the run is final."""
    reports = Reports(local)
    local.take(["report", "host-0", reports.piece(3)], ["stopped", "run-0", 107.0], ["stopped", "run-1", 107.5])
    assert (local.run.phase, local.run.elapsed_s) == (Phase.STOPPED, 7.5)
    local.take(["report", "host-0", reports.piece(5)])
    assert local.run.merged.total == 5
    local.take(["finish", "run-1", None], ["report", "host-0", reports.piece(9)])
    assert local.run.merged.total == 5


@pytest.mark.parametrize("is_final", [False, True])
def test_marks(local: Exporter, is_final: bool) -> None:
    """A mark counts in its own run until that is final, with the time in the message."""
    first = local.run
    first.stop(107.0)
    if is_final:
        first.finish()
    local.take(["mark", "run-1", "db", "fault", 1.5])
    local.begin("run-2")
    local.take(["mark", "run-1", "db", "fault", 2.5], ["mark", "run-0", "db", "fault", 3.5])
    assert (first.marks, local.run.marks) == ({} if is_final else {("db", "fault"): 2}, {})
    marks = [event for event in local.session.state.events.peek(9) if event.name == "locust.mark"]
    assert [event.timestamp for event in marks] == ([] if is_final else [1.5, 2.5])


# ------------------------------------------------------------------------------------------------------------- local


def test_reports_of_a_local_process(local: Exporter) -> None:
    """A local report has requests, vitals, and Locust's count."""
    reports = Reports(local)
    local.take(
        ["report", "host-0", reports.piece(3)],
        ["report", "host-0", reports.last(missing=2, reset=4, errors=1, vitals=vitals(reasons=["lag"]))],
    )
    snapshot = local.session.snapshot()
    assert snapshot.run is not None
    assert totals(snapshot.run.requests) == {KEY: 3}
    assert (snapshot.health.unreconciled, snapshot.health.listener_errors) == (2, 1)
    assert (local.run.locust_total, local.run.reset) == (5, {"host-0": 4})
    assert [(worker.worker, worker.reasons) for worker in snapshot.workers] == [("host-0", ("lag",))]
    local.take(["report", "host-0", reports.last(errors=0, missing=None)])
    assert local.session.snapshot().health.listener_errors == 1
    assert local.run.locust_total is None


def test_a_report_of_the_run_before(local: Exporter) -> None:
    """Its requests count in the run before; its vitals do not belong to the current run."""
    reports, first = Reports(local), local.run
    local.begin("run-2")
    local.take(["report", "host-0", reports.piece(3)], ["report", "host-0", reports.last(missing=1)])
    assert (first.merged.total, first.missing) == (3, 1)
    assert (local.run.merged.total, local.run.missing) == (0, None)
    assert local.session.snapshot().workers == ()
    local.begin("run-3")
    local.take(["report", "host-0", reports.piece(5)])
    assert first.merged.total == 3


def test_events_and_slow_requests(local: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """Events and slow requests in a report are taken in, and events of the plugin itself."""
    event = Event("locust.user_error", "KeyError in a task of Shopper", "ERROR", {"worker": "host-0"}, 1.5)
    slow = SlowRequest(SeriesKey(*KEY), 6.0, "200", "", "", 1.5)
    local.session.state.events.remove(1)
    local.take(
        ["report", "host-0", Reports(local).last(events=[encode_event(event)], slow=[encode_event(slow)])],
        ["event", encode_event(event)],
    )
    local.slow_log.emit()
    names = [queued.name for queued in local.session.state.events.peek(9)]
    assert local.session.state.events.peek(2) == [event, event]
    assert names == ["locust.user_error", "locust.user_error", "locust.slow_request"]
    assert "slow request run_id=run-1 name=/ method=GET duration_s=6.0" in caplog.text


# ------------------------------------------------------------------------------------------------------------ master


def test_reports_of_workers(master: Exporter) -> None:
    """Requests add up over workers; Locust's total comes from its own reports, names and users from the master."""
    reports = Reports(master)
    master.take(
        ["worker", "a", 3, [reports.piece(3), reports.last(missing=99)]],
        ["worker", "b", 2, [reports.piece(2), reports.last(vitals=vitals(cpu=0.5))]],
        ["worker", "a", 1, [reports.piece(4), reports.last()]],
        ["status", {"run_id": "run-1", "state": "running", "users": {}, "users_target": {}, "worker_users": {"a": 7},
                    "worker_states": {"running": 2}, "workers_expected": 3,
                    "worker_names": {"b": "host-0", "a": "host-1"}}],
    )  # fmt: skip
    snapshot = master.session.snapshot()
    assert (master.run.merged.total, master.run.locust_total, master.run.unreconciled) == (6, 6, 0)
    assert (snapshot.worker_states, snapshot.workers_expected) == ({"running": 2}, 3)
    assert [(worker.worker, worker.users, worker.cpu_ratio) for worker in snapshot.workers] == [
        ("host-0", 0, 0.5), ("host-1", 7, 0.25),
    ]  # fmt: skip


def test_resets(master: Exporter) -> None:
    """Requests that a reset removed from a worker's table are part of Locust's total, once."""
    reports = Reports(master)
    master.take(
        ["worker", "a", 3, [reports.piece(7), reports.last(reset=4)]],
        ["worker", "b", 1, [reports.piece(3), reports.last(reset=2)]],
        ["worker", "a", 2, [reports.piece(14), reports.last(reset=9)]],
    )
    assert master.run.reset == {"a": 9, "b": 2}
    assert (master.run.locust_total, master.run.unreconciled) == (17, 0)


def test_workers_that_leave(master: Exporter) -> None:
    """A worker is unfinished until its last report arrives."""
    reports = Reports(master)
    for worker in ("a", "b"):
        master.take(["worker", worker, 1, [reports.piece(1), reports.last()]])
    assert master.run.unfinished == {"a", "b"}
    master.take(["worker", "a", 0, [reports.last(is_over=True)]])
    assert master.run.unfinished == {"b"}
    master.take(["worker", "c", 0, [encode("", 0, [], tail=tail())]])  # it has no run yet
    assert master.run.unfinished == {"b", "c"}


def test_requests_of_the_run_before(master: Exporter) -> None:
    """Late requests count in their own run; Locust's count in the same report belongs to the new run."""
    old, first = Reports(master), master.run
    master.take(["worker", "a", 3, [old.piece(3), old.last()]])
    master.begin("run-2")
    new = Reports(master)
    master.take(["worker", "a", 2, [old.piece(4), new.piece(1), new.last()]])
    assert (first.merged.total, first.locust_total) == (4, 3)
    assert (master.run.merged.total, master.run.locust_total) == (1, 2)
    master.take(["worker", "b", 2, [old.piece(4), old.last()]])  # it is still in the run before
    assert (first.merged.total, master.run.locust_total, errors(master)) == (8, 2, 0)


def test_names_are_sent_once() -> None:
    """A worker that reports names beyond the limit gets the names that have series, once."""
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
def test_the_first_fold_is_logged(caplog: pytest.LogCaptureFixture, names: list[str], remedy: str) -> None:
    """The first fold of a run is logged with a remedy; a successor does not repeat the line."""
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


def test_a_fold_on_a_worker_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With --export-from workers only the master logs the first fold."""
    exporter = Exporter(is_worker=True, export_from="workers", prometheus_port="0", max_request_names="1")
    exporter.begin()
    for name in ("/a", "/b"):
        exporter.intake.report("a", Reports(exporter).piece(1, name))
    assert exporter.run.merged.folds
    assert caplog.messages == []


def test_a_worker_without_locust_otel(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """Its requests are unreconciled; each report with requests is an error, and the first one is logged."""
    master.take(["worker", "a", 0, None])
    assert errors(master) == 0
    for _ in range(3):
        master.take(["worker", "a", 5, None])
    assert (errors(master), master.run.unreconciled) == (3, 15)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line == (
        "A worker's report was refused: worker a sent no numbers of locust-otel, which is not loaded there; "
        "its requests are missing here"
    )


def test_a_worker_in_an_unknown_run(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """Its requests are refused; without requests its report is taken, with its errors."""
    unknown = encode("run-0", 0, [], tail=tail(errors=2))
    master.take(["worker", "a", 5, [unknown]])
    assert (master.run.locust_total, errors(master)) == (0, 1)
    assert "worker a sent requests of run run-0, which this master has not started" in caplog.text
    master.take(["worker", "a", 0, [unknown]])
    assert errors(master) == 3


@pytest.mark.parametrize("part", [{"v": 2, "runs": []}, "text", 7])
def test_another_version(master: Exporter, caplog: pytest.LogCaptureFixture, part: Any) -> None:
    """A report of another version is refused with a remedy; reports of other workers are taken."""
    master.take(["worker", "a", 5, part], ["worker", "b", 2, [Reports(master).piece(2), Reports(master).last()]])
    assert (errors(master), master.run.merged.total) == (1, 2)
    assert "install the same locust-otel on both" in caplog.text


def test_a_report_with_an_invalid_piece(master: Exporter) -> None:
    """The report is refused completely; the next valid one has the same requests."""
    reports = Reports(master)
    master.take(["worker", "a", 5, [reports.piece(5), b"\xc1", reports.last()]])
    assert (master.run.merged.total, errors(master)) == (0, 1)
    master.take(["worker", "a", 1, [reports.piece(6), reports.last()]])
    assert master.run.merged.total == 6


def test_other_bounds(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """A piece with other bounds is refused, and its requests are unreconciled."""
    piece = encode("run-1", 7, [["GET", "/", "A", 0, 0, 1.0, 0, [8, 3], {}]], tail=tail())
    master.take(["worker", "a", 3, [piece]])
    assert (master.run.merged.total, master.run.unreconciled, errors(master)) == (0, 3, 1)
    assert "a report with other histogram bounds than this run" in caplog.text


def test_the_first_refusal_of_a_worker_is_logged(master: Exporter, caplog: pytest.LogCaptureFixture) -> None:
    """Every refusal is counted, and only the first one of each worker logged."""
    for _ in range(3):
        for worker in ("a", "b"):
            master.take(["worker", worker, 1, 7])
            master.take(["worker", worker, 1, [b"\xc1"]])
    assert errors(master) == 12
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_an_invalid_local_report(local: Exporter) -> None:
    """An invalid report is counted, and the next one is taken."""
    local.take(["report", "host-0", b"\xc1"], ["report", "host-0", Reports(local).piece(2)])
    assert (errors(local), local.run.merged.total) == (1, 2)


def test_before_the_first_run() -> None:
    """Reports, marks and ends of unknown runs change nothing."""
    master = Exporter(is_master=True)
    master.take(
        ["worker", "a", 0, [encode("", 0, [], tail=tail())]], ["worker", "a", 3, None], ["stopped", "run-1", 1.0],
        ["mark", "run-1", "db", "fault", 1.5], ["report", "host-0", encode("run-1", 0, [])],
    )  # fmt: skip
    assert (master.session.snapshot().run, errors(master)) == (None, 0)
