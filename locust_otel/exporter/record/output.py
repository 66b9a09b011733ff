"""The run record as an output: records each run on disk while it is running, and retries after errors of the disk."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from locust_otel.core.events import Event
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.output import Output
from locust_otel.exporter.record.writer import RecordWriter, Written, verdict_on
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Session
from locust_otel.exporter.settings import Settings
from locust_otel.wire.record import EndLine, Mark, RecordedEvent, RunLine, SloFile

logger = logging.getLogger(__name__)

EXPORTER = "run_record"
"""Name of the record in the metrics of exports."""

MAX_EVENTS = 1000
"""Events kept until the next interval is written; further ones replace the oldest."""


@dataclass(slots=True)
class _Kept:
    """State that a restarted exporter needs to continue the record."""

    written: Written | None = None  # the record of the current or last run
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))  # not written yet


class RecordOutput(Output):
    """Records runs, if there is a `run_record` in the settings.

    A write that failed is retried each second. Until it succeeds, no further interval is made: the next one has all
    changes since, and memory does not grow.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept = session.keep("record", _Kept())
        self._writer: RecordWriter | None = None
        self._is_failing = False
        self._is_logged = False  # whether a failure of this run is

    def start(self, settings: Settings) -> None:
        """Declare the record."""
        if settings.run_record is not None:
            self._session.exports.declare(EXPORTER)

    def begin(self, run: Run) -> None:
        """Write the first line."""
        self._attempt(lambda: self._writer_of(run))

    def collect(self, snapshot: Snapshot) -> None:
        """Write an interval."""
        run = self._session.run
        if run is not None and snapshot.run is not None and snapshot.run.run_id == run.run_id:
            self._attempt(lambda: self._write_interval(self._writer_of(run), run, snapshot))

    def note(self, event: Event) -> None:
        """Keep an event for the next interval."""
        if self._session.settings.run_record is not None:
            with self._session.lock:
                self._kept.events.append(event)

    def finish(self, run: Run) -> None:
        """Write the last interval and the end."""
        written = self._kept.written
        is_due = run is self._session.run if written is None or written.run_id != run.run_id else not written.is_closed
        if is_due:
            self._attempt(lambda: self._conclude(run))

    def stop(self, deadline_s: float) -> None:  # noqa: ARG002
        """Close the file."""
        if self._writer is not None:
            self._writer.file.close()

    def _writer_of(self, run: Run) -> RecordWriter | None:
        """Return the writer of a run, begun or resumed if needed; None if the end of its record is written."""
        written = self._kept.written
        if written is None or written.run_id != run.run_id:
            before = self._session.state.before
            if written is not None and before is not None and before.run_id == written.run_id:
                with contextlib.suppress(OSError):
                    self._conclude(before)
            return self._begun(run)
        if written.is_closed:
            return None
        if self._writer is None:  # the exporter before this one has begun the file
            writer = RecordWriter(self._folder, written, self._session)
            if not writer.file.resume():
                return self._begun(run)
            self._writer = writer
        return self._writer

    @property
    def _folder(self) -> Path:
        return Path(self._session.settings.run_record or "")

    def _begun(self, run: Run) -> RecordWriter:
        """Begin the record of a run."""
        session, progress = self._session, run.progress
        slo = progress.slo if progress is not None else None
        self._is_failing = self._is_logged = False
        with session.lock:
            is_warming_up = progress is not None and progress.is_warming_up
            self._kept.written = written = Written(run.run_id, is_warming_up=is_warming_up)
            self._writer = writer = RecordWriter(self._folder, written, session)
            writer.begin(
                RunLine(
                    run_id=run.run_id,
                    start_time=run.start_time,
                    info=dict(run.info),
                    settings=dict(run.settings),
                    versions=dict(session.origin.versions),
                    instance=urlsplit(session.url).netloc if session.url is not None else None,
                    slow_s=run.merged.slow_s,
                    thresholds_s=list(run.merged.layout.classic_bounds),
                    bounds=list(run.merged.layout.bounds),
                    lag_bounds=list(layout().bounds),
                    slo=SloFile(slo.source, slo.text) if slo is not None else None,
                )
            )
        writer.file.write()
        logger.info("Run record: %s", written.stored.path)
        return writer

    def _write_interval(self, writer: RecordWriter | None, run: Run, taken: Snapshot, *, is_last: bool = False) -> None:
        if writer is None:
            return
        written, kept, lock, progress = writer.written, self._kept, self._session.lock, run.progress
        is_warming_up = progress is not None and progress.is_warming_up
        is_warm = written.is_warming_up and not is_warming_up
        if written.stored.pending:
            try:
                writer.file.write()
            except OSError:
                if not is_last and not is_warm:  # the judged requests begin with the next interval
                    raise
        with lock:
            marks, events = [Mark(*mark) for mark in run.marked[written.marks :]], list(kept.events)
        recorded = [
            _recorded(event, run) for event in events if event.attributes.get("run_id", run.run_id) == run.run_id
        ]
        lines = writer.interval(taken, marks, recorded, is_warm=is_warm)
        with lock:  # in one step: a checkpoint has the whole interval or nothing
            writer.add(lines, taken)
            written.marks += len(marks)
            written.is_warming_up = is_warming_up
            for event in events:
                if kept.events and kept.events[0] is event:
                    kept.events.popleft()
        writer.file.write()

    def _conclude(self, run: Run) -> None:
        writer = self._writer_of(run)
        if writer is None:
            return
        self._writer = None
        session, progress = self._session, run.progress
        with session.lock:
            last, taken = run.snapshot(), session.snapshot()
            standing = progress.judge(last.requests, last.elapsed_s) if progress is not None else None
        # The session may have another current run by now.
        taken = replace(taken, run=last, health=replace(taken.health, unreconciled=run.unreconciled))
        with contextlib.closing(writer.file):
            with contextlib.suppress(OSError):  # `end` retries the write
                self._write_interval(writer, run, taken, is_last=True)
            writer.end(
                EndLine(
                    at=writer.written.end_s,
                    state=last.state,
                    recorded=last.requests.total,
                    locust_total=run.locust_total,
                    is_aborted=standing is not None and standing.aborted is not None,
                    verdict=list(map(verdict_on, standing.results)) if standing is not None else None,
                )
            )

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do something, count the outcome, and log the first failure of a run and each recovery."""
        path = self._session.settings.run_record
        if path is None:
            return
        began_s = monotonic()
        problem: Exception | None = None
        try:
            action()
        except Exception as error:  # an error here must not affect the load
            problem = error
            if not isinstance(error, OSError):
                logger.debug("Run record", exc_info=True)
        self._session.exports.note(EXPORTER, ok=problem is None, seconds=monotonic() - began_s)
        if problem is not None and not self._is_logged:
            reason = getattr(problem, "strerror", None) or repr(problem)
            logger.warning("Cannot write the run record in %s: %s. The run continues, with retries.", path, reason)
            self._is_logged = True
        elif problem is None and self._is_failing:
            logger.info("Writing the run record in %s has recovered; nothing is missing in it.", path)
        self._is_failing = problem is not None


def _recorded(event: Event, run: Run) -> RecordedEvent:
    time_s = max(event.timestamp - run.start_time, 0.0)
    return RecordedEvent(time_s, event.name, event.body, event.severity, dict(event.attributes))
