"""Tests of the recording of a run: what goes into which interval, and what happens when the disk says no."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.events import Event, EventQueue
from locust_otel.core.settings import resolve
from locust_otel.core.snapshot import SeriesKey, Snapshot
from locust_otel.exporter.exports import Ledger
from locust_otel.exporter.record.writer import RecordWriter
from locust_otel.exporter.recording import EXPORTER, Recording
from locust_otel.plugin.run import Run
from locust_otel.plugin.series import Aggregate
from locust_otel.review.record.reader import Record, load
from locust_otel.slo.file import parse
from tests.unit.factories import health, record, snapshot
from tests.unit.tapes import SLO_TEXT

HOME = SeriesKey("GET", "/", "Shopper", "success")


class Process:
    """A process without Locust: a run, and its recording."""

    def __init__(self, folder: Path, text: str = "") -> None:
        slo = parse(text.encode(), "slo.yaml") if text else None
        thresholds_s = slo.thresholds_s if slo is not None else ()
        settings = replace(resolve(None, {"prometheus_port": "off", "run_record": str(folder)}), slo=slo)
        self.folder = folder
        self.ledger = Ledger()
        self.now_s = 0.0
        self.run = Run("nightly", Aggregate(slow_s=2.0, max_names=9, thresholds_s=thresholds_s), {}, slo)
        self.events = EventQueue()
        environment = SimpleNamespace(parsed_options=None, runner=None)
        node = SimpleNamespace(events=self.events, environment=environment, run=self.run)
        self.recording = Recording(cast("Any", node), settings, self.snapshot, self.ledger)

    def start(self) -> None:
        """Start the run, without the greenlet."""
        self.recording.start()
        self.recording.stop()
        self.recording.begin(self.run, "http://127.0.0.1:9700/metrics")

    def snapshot(self) -> Snapshot:
        """Return what the process knows."""
        requests = self.run.aggregate.snapshot()
        slo = self.run.slo.standing(requests, self.now_s) if self.run.slo is not None else None
        taken = snapshot(self.run.aggregate, run_id="nightly", elapsed_s=self.now_s, slo=slo)
        return replace(taken, health=health(unreconciled=0))

    @property
    def writer(self) -> RecordWriter:
        """What writes the current record."""
        assert self.recording._writer is not None
        return self.recording._writer

    def interval(self, seconds: float = 1.0) -> None:
        """Let an interval pass."""
        self.now_s += seconds
        self.recording._write(lambda: self.recording._record(self.writer, self.run))

    @property
    def read(self) -> Record:
        """The record."""
        (path,) = self.folder.glob("*.jsonl.gz")
        return load(path)

    @property
    def counts(self) -> dict[str, int]:
        """What is said of our health."""
        return {count.outcome: count.count for count in self.ledger.counts() if count.exporter == EXPORTER}


def test_marks_and_events_of_the_run_are_recorded_once(tmp_path: Path) -> None:
    """Each is in the record once, those of other runs are not."""
    process = Process(tmp_path)
    process.start()
    process.events.add(Event("mine", "a", attributes={"run_id": "nightly", "n": 1}))
    process.events.add(Event("other", "b", attributes={"run_id": "another"}))
    process.events.add(Event("of no run", "c"))
    process.run.mark("latency", "fault")
    process.interval()
    process.run.mark("latency", "fault")
    process.interval()
    process.recording.conclude(process.run)
    assert [event.name for event in process.read.events] == ["mine", "of no run"]
    assert [(mark.mark, mark.kind) for mark in process.read.marks] == [("latency", "fault")] * 2
    assert process.read.contents.instance == "127.0.0.1:9700"


def test_the_end_of_the_warm_up_ends_an_interval(tmp_path: Path) -> None:
    """What is judged begins at an interval's start, wherever in a second the warm-up ended."""
    process = Process(tmp_path, SLO_TEXT)
    process.start()
    record(process.run.aggregate, HOME, [1] * 3)
    process.interval()
    process.now_s = 2.4
    record(process.run.aggregate, HOME, [1] * 4)
    assert process.run.slo is not None
    process.run.slo.observe(process.run.aggregate.snapshot(), process.now_s)
    record(process.run.aggregate, HOME, [1] * 5)
    process.interval(0.6)
    process.recording.conclude(process.run)
    assert process.read.warm_s == 2.4
    assert [interval.end_s for interval in process.read.intervals][:3] == [1.0, 2.4, 3.0]
    assert process.read.requests(end_s=2.4).total == 7
    assert process.read.requests(start_s=2.4).total == 5
    assert [each["good"] for each in process.read.verdict or ()] == [5, 5, 5]


def test_a_draft_that_was_overtaken_by_the_end_is_dropped(tmp_path: Path) -> None:
    """Where a run is concluded while an interval is drafted, each request is in the record once."""
    process = Process(tmp_path)
    process.start()
    record(process.run.aggregate, HOME, [1] * 3)
    drafts = process.recording._due(process.writer, process.run)
    draft = next(drafts)
    pieces = [next(draft.pieces)]
    writer, commits = process.writer, process.writer.commits
    record(process.run.aggregate, HOME, [1] * 2)
    process.recording.conclude(process.run)
    pieces += draft.pieces
    assert writer.is_closed
    assert writer.commits != commits
    assert process.read.is_complete
    assert process.read.requests().total == 5
    process.recording.conclude(process.run)
    assert process.read.requests().total == 5


def test_a_disk_that_fails_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted each time and logged once, also when it fails again later; once it works nothing is missing."""
    process = Process(tmp_path)
    process.start()
    written: list[bool] = []

    def fail(*_: object) -> int:
        written.append(False)
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.INFO):
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr("locust_otel.exporter.record.storage.os.write", fail)
                for _ in range(3):
                    record(process.run.aggregate, HOME, [1])
                    process.interval()
            process.interval()
    process.recording.conclude(process.run)
    assert len(written) == 6
    assert caplog.text.count("cannot be written: No space left on device") == 1
    assert caplog.text.count("is written again") == 2
    assert process.counts == {"success": 4, "failure": 6}
    assert process.read.is_complete
    assert process.read.requests().total == 6
    assert [i.end_s for i in process.read.intervals][:4] == [1.0, 4.0, 5.0, 8.0]


def test_whatever_else_goes_wrong_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own is counted too, and the next interval holds what this one lost."""
    process = Process(tmp_path)
    process.start()
    record(process.run.aggregate, HOME, [1])
    with monkeypatch.context() as patch:
        patch.setattr("locust_otel.exporter.record.writer._gaps", lambda *_: 1 / 0)
        process.interval()
    process.interval()
    process.recording.conclude(process.run)
    assert process.counts["failure"] == 1
    assert process.read.requests().total == 1


def test_an_end_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is not complete, and nothing is raised."""
    process = Process(tmp_path)
    process.start()
    process.interval()
    with monkeypatch.context() as patch:
        patch.setattr(
            "locust_otel.exporter.record.storage.os.write", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error"))
        )
        process.recording.conclude(process.run)
    assert not process.read.is_complete
    assert len(process.read.intervals) == 1


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file in the way, and a path that is none, are bad configuration; a worker does not ask."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "runs", "a\0b"):
        with pytest.raises(ConfigurationError, match="run-record-unwritable"):
            resolve(None, {"run_record": str(folder)})
        assert resolve(None, {"run_record": str(folder)}, is_worker=True).run_record is None
    resolve(None, {"run_record": str(tmp_path / "new" / "runs")})
    assert (tmp_path / "new" / "runs").is_dir()
