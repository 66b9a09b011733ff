"""Tests of the record as an output: its intervals, failing disks, and restarts of the exporter."""

from __future__ import annotations

import gzip
import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.cardinality import Names
from locust_otel.core.events import Event
from locust_otel.core.histogram import layout
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import ErrorKey, SeriesKey
from locust_otel.exporter.merged import Merged
from locust_otel.exporter.record.output import EXPORTER, RecordOutput
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import resolve
from locust_otel.review.record.reader import Record, load
from locust_otel.review.record.rejudge import results
from locust_otel.slo.file import parse
from locust_otel.slo.objectives import Slo
from locust_otel.slo.progress import Progress
from locust_otel.wire.record import Mark
from locust_otel.wire.report import Piece, SeriesReport, Vitals, fingerprint
from tests.unit.tapes import FAILED, HOME, SLO_TEXT, facts

START = 1_764_000_000.0
ORIGIN = Origin(name="host-0", start_time=START, versions={"version": "0.2.0"})
OBJECTIVES = parse(SLO_TEXT.encode(), "slo.yaml")
LAYOUT = layout((2.0, 0.3))
WRITE = "locust_otel.exporter.record.storage.os.pwrite"


class Clock:
    """The clock of the exporter; seconds since the start of the run."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        """Return the time of the monotonic clock."""
        return 1000 + self.now_s

    def time(self) -> float:
        """Return Unix time."""
        return START + self.now_s


@pytest.fixture(scope="module", autouse=True)
def clock() -> Iterator[Clock]:
    """Give the clock of all exporters of this file."""
    made = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("locust_otel.exporter.run.monotonic", made.monotonic)
        patch.setattr("locust_otel.exporter.session.time", made.time)
        yield made


@pytest.fixture(autouse=True)
def _begin(clock: Clock) -> None:
    clock.now_s = 0.0


class Process:
    """An exporter without its process: one run, and its record.

    Attributes:
        counts: Counts of the source so far, by series; each report repeats them all.
    """

    def __init__(self, clock: Clock, folder: Path, slo: Slo | None = None, state: State | None = None) -> None:
        self.clock, self.folder, self.slo = clock, folder, slo
        given = {"prometheus_port": "off", "run_record": str(folder)}
        self.settings = replace(resolve(values_of(None, given)), slo=slo)
        self.session = Session(self.settings, ORIGIN, lambda *_: None, state)
        self.session.url = "http://127.0.0.1:9700/metrics"
        self.output = RecordOutput(self.session)
        self.output.start(self.settings)
        self.session.listeners.append(self.output.note)
        self.counts: dict[SeriesKey, dict[int, int]] = {}

    @property
    def run(self) -> Run:
        """The current run."""
        assert self.session.run is not None
        return self.session.run

    def begin(self, run_id: str = "nightly") -> None:
        """Begin a run."""
        state, slo = self.session.state, self.slo
        state.before, state.run = state.run, Run(
            run_id=run_id, info={"host": "http://shop"}, start_time=self.clock.time(),
            started_s=self.clock.monotonic(), settings={"users": 7}, merged=Merged(LAYOUT, 2.0, Names(9)),
            progress=Progress(slo, START) if slo is not None else None, missing=0,
        )  # fmt: skip
        self.counts = {}
        self.output.begin(self.run)

    def request(self, index: int, count: int = 1, key: SeriesKey = HOME) -> None:
        """Count some requests in a bucket."""
        counts = self.counts.setdefault(key, {})
        counts[index] = counts.get(index, 0) + count

    def report(self, *user_errors: tuple[tuple[str, str], int]) -> None:
        """Merge a report of the source."""
        series = tuple(
            SeriesReport(key, 0, sum(LAYOUT.bounds[i] * n for i, n in counts.items()), len(counts), counts, {})
            for key, counts in self.counts.items()
        )
        failed = sum(self.counts.get(FAILED, {}).values())
        errors = ((ErrorKey("GET", "/", "500"), failed),) if failed else ()
        self.run.merged.merge("host-0", Piece(self.run.run_id, fingerprint(LAYOUT), series, errors, user_errors, None))

    def interval(self, seconds: float = 1.0) -> None:
        """Let an interval pass."""
        self.clock.now_s += seconds
        self.report()
        taken = self.session.snapshot()
        assert taken.run is not None
        if self.run.progress is not None:
            self.run.progress.observe(taken.run.requests, taken.run.elapsed_s)
        self.output.collect(taken)

    def finish(self) -> None:
        """Finish the run."""
        self.report()
        self.run.finish()
        self.output.finish(self.run)

    def killed(self, saved: bytes | None = None) -> Process:
        """Return the exporter that continues, from this checkpoint or from a new one."""
        self.output.stop(0.0)  # as the kernel does
        state = pickle.loads(saved or self.session.saved())  # noqa: S301  # our own
        successor = Process(self.clock, self.folder, self.slo, state)
        successor.counts = self.counts
        return successor

    @property
    def path(self) -> Path:
        """The only record."""
        (path,) = self.folder.glob("*.jsonl.gz")
        return path

    @property
    def read(self) -> Record:
        """The only record, read."""
        return load(self.path)

    @property
    def exported(self) -> dict[str, int]:
        """Writes in the metrics of exports, by outcome."""
        return {count.outcome: count.count for count in self.session.exports.counts() if count.exporter == EXPORTER}


def test_marks_and_events_of_the_run_are_recorded_once(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The record has each mark and event of its run once, and the log has its path."""
    process = Process(clock, tmp_path)
    process.session.add_event(Event("before", "x", attributes={"run_id": "nightly"}, timestamp=START))
    with caplog.at_level(logging.INFO):
        process.begin()
    assert caplog.messages == [f"Run record: {tmp_path / 'nightly.jsonl.gz'}"]
    assert not process.read.is_complete
    process.session.add_event(Event("mine", "a", attributes={"run_id": "nightly", "n": 1}, timestamp=START + 0.5))
    process.session.add_event(Event("other", "b", attributes={"run_id": "another"}))
    process.session.add_event(Event("of no run", "c"))
    process.run.mark("latency", "fault")
    process.interval()
    process.run.mark("latency", "fault")
    process.interval()
    process.finish()
    read = process.read
    assert [event.name for event in read.events] == ["before", "mine", "of no run"]
    assert (read.events[1].time_s, read.events[1].attributes) == (0.5, {"run_id": "nightly", "n": 1})
    assert read.marks == [Mark(0.0, "latency", "fault"), Mark(1.0, "latency", "fault")]
    assert read.instance == "127.0.0.1:9700"
    assert read.settings == {"users": 7}
    assert read.versions == {"version": "0.2.0"}


def test_the_end(clock: Clock, tmp_path: Path) -> None:
    """The last interval has the requests after the stop, the last line the totals; a second end changes nothing."""
    before = len(os.listdir("/proc/self/fd"))
    process = Process(clock, tmp_path)
    process.begin()
    process.request(5, 3)
    process.interval()
    process.run.stop(clock.monotonic() + 0.25)
    process.request(7, 2, FAILED)
    process.run.missing = 4
    clock.now_s += 0.5
    process.finish()
    process.output.finish(process.run)
    process.output.collect(process.session.snapshot())
    read = process.read
    assert (read.is_complete, read.end and read.end.state, read.verdict) == (True, "stopped", None)
    assert [(i.end_s, i.elapsed_s, i.state) for i in read.intervals] == [(1.0, 1.0, "spawning"), (1.5, 1.25, "stopped")]
    assert facts(read.requests()) == facts(process.run.merged.snapshot())
    assert read.requests().errors == {ErrorKey("GET", "/", "500"): 2}
    assert (read.end and read.end.locust_total, read.end and read.end.recorded) == (9, 5)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_run_whose_locust_is_lost(clock: Clock, tmp_path: Path) -> None:
    """The record of a lost run is complete, and has that state."""
    process = Process(clock, tmp_path, OBJECTIVES)
    process.begin()
    process.request(5, 3)
    process.interval(3.0)
    process.request(5, 4)
    process.report()
    process.run.lose()
    process.output.finish(process.run)
    assert process.read.intervals[-1].state == "lost"
    assert (process.read.is_complete, process.read.requests().total) == (True, 7)
    assert process.read.verdict is not None


def test_the_end_of_the_warm_up_ends_an_interval(clock: Clock, tmp_path: Path) -> None:
    """The judged requests begin with an interval, and lead to the verdict of the run."""
    process = Process(clock, tmp_path, OBJECTIVES)
    process.begin()
    for seconds, count in ((1.0, 3), (1.4, 4), (1.0, 5)):
        process.request(50, count)
        process.interval(seconds)
    process.finish()
    read = process.read
    assert read.warm_s == pytest.approx(2.4)
    assert read.requests(end_s=read.warm_s).total == 7
    assert read.requests(start_s=read.warm_s).total == 5
    assert [verdict["good"] for verdict in read.verdict or ()] == [5, 5, 5]
    assert [(r.objective.name, r.status, r.counts.good) for r in results(read)] == [
        (verdict["slo"], verdict["status"], verdict["good"]) for verdict in read.verdict or ()
    ]


def test_the_end_of_the_warm_up_while_the_disk_is_full(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judged requests begin with an interval on a full disk too."""
    process = Process(clock, tmp_path, OBJECTIVES)
    process.begin()
    with monkeypatch.context() as patch:
        patch.setattr(WRITE, _failing)
        for count in (1, 2, 4, 8):
            process.request(50, count)
            process.interval()
    process.interval()
    process.finish()
    assert process.read.warm_s == 2.0
    assert [i.end_s for i in process.read.intervals][:3] == [1.0, 2.0, 5.0]
    assert process.read.requests(start_s=2.0).total == 12
    assert [verdict["good"] for verdict in process.read.verdict or ()] == [12, 12, 12]


def _failing(*_: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_disk_that_fails_is_logged_once(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure is counted, the first is logged, and each recovery is; after it nothing is missing."""
    process = Process(clock, tmp_path)
    process.begin()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(WRITE, _failing)
                for _ in range(3):
                    process.request(5)
                    process.interval()
            process.interval()
    process.finish()
    recovery = f"Writing the run record in {tmp_path} has recovered; nothing is missing in it."
    assert caplog.messages == [
        f"Cannot write the run record in {tmp_path}: No space left on device. The run continues, with retries.",
        recovery,
        recovery,
    ]
    assert process.exported == {"success": 4, "failure": 6}
    assert process.read.is_complete
    assert process.read.requests().total == 6
    assert [i.end_s for i in process.read.intervals][:4] == [1.0, 4.0, 5.0, 8.0]


def test_other_errors_are_counted(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other errors are counted too, and the next interval has the changes of this one."""
    process = Process(clock, tmp_path)
    process.begin()
    process.request(5)
    process.session.add_event(Event("mine", "a"))
    with monkeypatch.context() as patch:
        patch.setattr("locust_otel.exporter.record.writer.encode_counts", lambda *_: 1 / 0)
        process.interval()
    process.interval()
    process.finish()
    assert process.exported["failure"] == 1
    assert process.read.requests().total == 1
    assert len(process.read.events) == 1


def test_an_end_that_cannot_be_written(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record without its end is not complete, and nothing is raised."""
    process = Process(clock, tmp_path)
    process.begin()
    process.interval()
    with monkeypatch.context() as patch:
        patch.setattr(WRITE, _failing)
        process.finish()
    assert not process.read.is_complete
    assert len(process.read.intervals) == 1


def test_a_disk_with_room_at_the_last_write(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete record has every request, even if only the last write succeeds."""
    process = Process(clock, tmp_path)
    process.begin()
    monkeypatch.setattr(WRITE, Mock(wraps=os.pwrite, side_effect=[OSError(28, "No space")] * 4 + [DEFAULT] * 9))
    process.request(5, 2)
    process.interval()
    process.request(5, 3)
    process.interval()
    process.request(5, 4)
    process.finish()
    assert process.read.is_complete
    assert process.read.requests().total == 9


def test_each_run_has_a_record(clock: Clock, tmp_path: Path) -> None:
    """A run that follows at once has its own record; the record of the run before is completed, in either order."""
    process = Process(clock, tmp_path)
    process.begin("one")
    process.request(5)
    process.interval()
    process.begin("two")  # without the end of the first
    process.request(5, 2)
    process.interval()
    first = process.run
    process.report()
    first.finish()
    state = process.session.state
    state.before, state.run = first, replace(first, run_id="three", merged=Merged(LAYOUT, 2.0, Names(9)), marks={})
    state.run.phase = Phase.RUNNING
    process.output.finish(first)
    process.output.begin(state.run)
    process.output.finish(first)
    process.finish()
    read = {path.name: load(path) for path in sorted(tmp_path.iterdir())}
    assert {name: (r.is_complete, r.requests().total) for name, r in read.items()} == {
        "one.jsonl.gz": (True, 1), "two.jsonl.gz": (True, 2), "three.jsonl.gz": (True, 2),
    }  # fmt: skip


def test_without_a_folder_nothing_is_recorded(clock: Clock, tmp_path: Path) -> None:
    """An exporter without `--run-record`, such as that of a worker, writes and counts nothing."""
    process = Process(clock, tmp_path)
    process.session = Session(replace(process.settings, run_record=None), process.session.origin, lambda *_: None)
    process.output = RecordOutput(process.session)
    process.output.start(process.session.settings)
    process.session.listeners.append(process.output.note)
    process.begin()
    process.session.add_event(Event("mine", "a"))
    process.interval()
    process.finish()
    assert not list(tmp_path.iterdir())
    assert process.exported == {}


def send_requests(process: Process, second: int) -> None:
    """Let the source count the requests of one second."""
    process.request(50 + second, second)
    process.request(40, key=SeriesKey("GET", f"/{second}", "Shopper", "success"))
    if second > 1:
        process.request(9, 2, FAILED)


def played(process: Process, second: int) -> None:
    """Let one second pass, with a change of each kind."""
    process.run.phase = Phase.RUNNING
    process.run.users = {"Shopper": second}
    send_requests(process, second)
    process.report((("Shopper", "KeyError"), second))
    process.run.mark(f"mark {second}", "note")
    process.session.add_event(Event("e", f"{second}", attributes={"run_id": "nightly"}, timestamp=process.clock.time()))
    workers = process.session.state.workers
    workers.vitals["host-0"] = Vitals(0.5, 1000, (), float(second), {3: second, 4: 1}, 0.0, {})
    process.interval()


SECONDS = 4


def continued(process: Process, second: int) -> Record:
    """Play a run from a second to its end, and return its record."""
    process.clock.now_s = float(second)
    process.counts = {}
    for number in range(1, second + 1):  # the source is still alive
        send_requests(process, number)
    for number in range(second + 1, SECONDS + 1):
        played(process, number)
    process.run.stop(process.clock.monotonic())
    process.finish()
    return process.read


def test_after_a_kill_at_any_byte_the_record_is_the_same(clock: Clock, tmp_path: Path) -> None:
    """After a kill at any byte behind the checkpoint, the record is the same as without a kill."""
    whole = continued(_begun(clock, tmp_path / "whole"), 0)
    process = _begun(clock, tmp_path / "killed")
    played(process, 1)
    played(process, 2)
    saved, size = process.session.saved(), process.path.stat().st_size
    continued(process, 2)
    path, data = process.path, process.path.read_bytes()
    assert whole.is_complete
    assert len(whole.intervals) == SECONDS + 1
    assert process.read == whole
    for cut in range(size, len(data) + 1):
        path.write_bytes(data[:cut])
        assert continued(process.killed(saved), 2) == whole
    assert len(gzip.decompress(path.read_bytes()).splitlines()) > 4 * SECONDS


def _begun(clock: Clock, folder: Path) -> Process:
    clock.now_s = 0.0
    process = Process(clock, folder, OBJECTIVES)
    process.begin()
    return process


@pytest.mark.parametrize("second", range(SECONDS))
def test_after_a_kill_in_any_second_the_record_is_the_same(clock: Clock, tmp_path: Path, second: int) -> None:
    """After a kill in each second, before or after the end of the warm-up, the record is the same."""
    whole = continued(_begun(clock, tmp_path / "whole"), 0)
    process = _begun(clock, tmp_path / "killed")
    for number in range(1, second + 1):
        played(process, number)
        process = process.killed().killed()
    assert continued(process.killed(), second) == whole


def test_a_kill_at_the_end(clock: Clock, tmp_path: Path) -> None:
    """A run that was final when its exporter died gets one last interval and one end."""
    for is_written in (False, True):
        process = _begun(clock, tmp_path / str(is_written))
        played(process, 1)
        process.report()
        process.run.finish()
        if is_written:
            process.output.finish(process.run)
        successor = process.killed()
        successor.output.finish(successor.run)
        assert successor.read.is_complete
        assert successor.read.requests().total == successor.run.merged.total
        assert len(successor.read.intervals) == 2


@pytest.mark.parametrize("how", ["removed", "cut", "in the way"])
def test_a_file_that_is_missing_after_a_restart(clock: Clock, tmp_path: Path, how: str) -> None:
    """A restarted exporter without its file makes a new one, with every request and mark of the run."""
    process = _begun(clock, tmp_path / "runs")
    played(process, 1)
    played(process, 2)
    path = process.path
    successor = process.killed()
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        shutil.rmtree(path.parent)
    if how == "in the way":
        path.parent.write_text("")
        successor.output.collect(successor.session.snapshot())
        assert successor.exported["failure"] == 1
        path.parent.unlink()
    for number in (3, 4):
        played(successor, number)
    successor.run.finish()
    successor.output.finish(successor.run)
    read = load(path if how != "cut" else path.with_name("nightly.2.jsonl.gz"))
    assert read.is_complete
    assert facts(read.requests()) == facts(successor.run.merged.snapshot())
    assert [mark.mark for mark in read.marks] == ["mark 1", "mark 2", "mark 3", "mark 4"]


def test_pending_bytes_survive_a_kill(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted exporter writes the pending bytes of the one before."""
    process = _begun(clock, tmp_path)
    played(process, 1)
    with monkeypatch.context() as patch:
        patch.setattr(WRITE, _failing)
        played(process, 2)
        played(process, 3)
    read = continued(process.killed(), 3)
    assert [interval.end_s for interval in read.intervals] == [1.0, 2.0, 4.0, 4.001]
    assert read.warm_s == 2.0
    assert [event.body for event in read.events] == ["1", "2", "3", "4"]
    assert read.requests().total == 1 + 2 + 3 + 4 + SECONDS + 2 * (SECONDS - 1)


def test_the_kept_state_does_not_grow_with_the_series(clock: Clock, tmp_path: Path) -> None:
    """The state of the record in a checkpoint has the same size for a thousand series as for one."""
    sizes = []
    for count in (1, 1000):
        process = Process(clock, tmp_path / str(count))
        process.begin()
        process.run.merged.names = Names(2000)
        for number in range(count):
            process.request(5, key=SeriesKey("GET", f"/{number}", "Shopper", "success"))
        process.interval()
        sizes.append(len(pickle.dumps(process.session.state.kept["record"])))
    assert sizes[1] < sizes[0] + 20


STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from([HOME, FAILED]), st.integers(0, 300), st.integers(1, 5)), max_size=4),
        st.sampled_from(["", "", "", "kill", "kill and cut", "forget"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 6))
def test_any_kills(clock: Clock, tmp_path_factory: pytest.TempPathFactory, steps: list[Any], at_s: int) -> None:
    """After any kills, with the last checkpoint or the one before, spans of the record add up to the run."""
    process = _begun(clock, tmp_path_factory.mktemp("runs"))
    before = last = process.session.saved()
    for requests, kill in steps:
        for key, index, count in requests:
            process.request(index, count, key)
        process.interval()
        before, last = last, process.session.saved()
        if kill == "kill and cut":
            size = pickle.loads(before).kept["record"].written.stored.offset  # noqa: S301  # our own
            data = process.path.read_bytes()
            process.path.write_bytes(data[: (size + len(data)) // 2])
        if kill:
            last = last if kill == "kill" else before
            process = process.killed(last)
    process.finish()
    read = process.read
    assert read.is_complete
    assert facts(read.requests()) == facts(process.run.merged.snapshot())
    assert read.requests(end_s=at_s).total + read.requests(start_s=at_s).total == read.requests().total
    assert all(interval.end_s == following.start_s for interval, following in pairwise(read.intervals))
