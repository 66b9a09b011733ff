"""Has each run of a process recorded on disk while it goes on, in a greenlet of its own, whatever the disk says."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import gevent

from locust_otel.core.events import Event
from locust_otel.core.settings import Settings
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.exports import Ledger
from locust_otel.exporter.record.writer import RecordWriter
from locust_otel.plugin.master import MasterNode
from locust_otel.plugin.nodes import LocalNode
from locust_otel.plugin.run import Run
from locust_otel.wire.record import INTERVAL_S, Mark, RecordedEvent

logger = logging.getLogger(__name__)

EXPORTER = "run_record"
"""Name of the record among the exporters, in the metrics of our own health."""

MAX_EVENTS = 1000
"""Events kept until the next interval is written; further ones push out the oldest."""

_A_TURN_S = 1e-6  # as in exporters.server: 0 would not let the loop look at sockets


class Recording:
    """Records the runs of a process that knows all of their requests.

    Args:
        node: What the process knows of a run.
        settings: What the user asked for.
        collect: Takes a snapshot; must not give the loop back.
        ledger: Where intervals that were written, and those that could not be, are counted.
    """

    def __init__(
        self, node: LocalNode | MasterNode, settings: Settings, collect: Callable[[], Snapshot], ledger: Ledger
    ) -> None:
        self._node = node
        self._settings = settings
        self._collect = collect
        self._ledger = ledger
        self._greenlet: gevent.Greenlet | None = None
        self._run: Run | None = None
        self._writer: RecordWriter | None = None
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._marked = 0
        self._warm: Snapshot | None = None
        self._is_failing = False
        self._is_told = False

    def start(self) -> None:
        """Start to record the runs to come."""
        self._ledger.declare(EXPORTER)
        self._node.events.listeners.append(self._events.append)
        self._greenlet = gevent.spawn(self._loop)

    def stop(self) -> None:
        """Record no more."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def begin(self, run: Run, url: str | None) -> None:
        """Begin the record of a run that has just begun; `url` is where its metrics are."""
        taken = self._collect()
        if self._settings.run_record is None or taken.run is None:
            return
        self._run, self._marked, self._warm = run, 0, None
        self._is_failing = self._is_told = False
        slo = run.slo.slo if run.slo is not None else None
        self._writer = RecordWriter(
            Path(self._settings.run_record),
            taken.run,
            slo=(slo.source, slo.text) if slo is not None else None,
            settings=_told(self._settings, self._node.environment),
            versions=taken.health.versions,
            instance=urlsplit(url).netloc if url is not None else None,
        )
        if run.slo is not None:
            run.slo.on_warm = self._note_warm
        self._write(self._writer.retry)
        if self._writer.path is not None:
            logger.info("Run record: %s", self._writer.path)

    def conclude(self, run: Run) -> None:
        """Record the end of a run that is over, without giving the loop back; once."""
        writer = self._writer
        if writer is None or self._run is not run:
            return
        self._writer = self._run = None
        self._write(lambda: self._finish(writer, run))

    def _finish(self, writer: RecordWriter, run: Run) -> None:
        with contextlib.suppress(OSError):  # the last line is tried with all that is left to write
            for draft in self._due(writer, run):
                self._commit(writer, draft, "".join(draft.pieces))
        standing = run.standing()
        writer.finish(
            recorded=run.aggregate.total(),
            locust_total=run.locust_total,
            results=None if standing is None else tuple(standing.results()),
            is_aborted=standing is not None and standing.aborted is not None,
        )

    def _loop(self) -> None:
        due = monotonic()
        while True:
            due = max(due + INTERVAL_S, monotonic())
            gevent.sleep(max(due - monotonic(), _A_TURN_S))
            writer, run = self._writer, self._run
            if writer is not None and run is not None:
                self._write(lambda: self._record(writer, run))  # noqa: B023  # called at once

    def _record(self, writer: RecordWriter, run: Run) -> None:
        """Write an interval, with the loop given back in between."""
        if writer.is_behind:
            writer.retry()
        for draft in self._due(writer, run):
            commits, lines = writer.commits, []
            gevent.sleep(_A_TURN_S)
            for piece in draft.pieces:
                lines.append(piece)
                gevent.sleep(_A_TURN_S)
            if writer.is_closed or writer.commits != commits:
                return  # the run was concluded meanwhile
            self._commit(writer, draft, "".join(lines))

    def _due(self, writer: RecordWriter, run: Run) -> Iterator[_Draft]:
        """Yield what is to be written: up to the end of the warm-up, if that was just now, and up to now."""
        if self._warm is not None:
            yield self._draft(writer, run, self._warm, is_warm=True)
        yield self._draft(writer, run, self._collect(), is_warm=False)

    def _draft(self, writer: RecordWriter, run: Run, taken: Snapshot, *, is_warm: bool) -> _Draft:
        events = list(self._events)
        told = (
            RecordedEvent(max(e.timestamp - writer.start_time, 0.0), e.name, e.body, e.severity, e.attributes)
            for e in events
            if e.attributes.get("run_id", run.run_id) == run.run_id
        )
        marks = [Mark(*each) for each in run.marked[self._marked :]]
        return _Draft(taken, self._marked + len(marks), events, writer.draft(taken, marks, told, is_warm=is_warm))

    def _commit(self, writer: RecordWriter, draft: _Draft, lines: str) -> None:
        # First, since what cannot be written now is not lost: the writer keeps it.
        self._marked = draft.marked
        for event in draft.events:
            if self._events and self._events[0] is event:
                self._events.popleft()
        if draft.taken is self._warm:
            self._warm = None
        writer.commit(lines, draft.taken)

    def _note_warm(self) -> None:
        self._warm = self._collect()

    def _write(self, action: Callable[[], None]) -> None:
        """Do something that writes, count how it went, and tell of the first failure of a run and of its end."""
        began, path = monotonic(), self._settings.run_record
        problem: Exception | None = None
        try:
            action()
        except OSError as error:
            problem = error
        except Exception as error:  # the load goes on whatever is wrong here
            logger.debug("Run record", exc_info=True)
            problem = error
        self._ledger.note(EXPORTER, ok=problem is None, seconds=monotonic() - began)
        if problem is not None and not self._is_failing and not self._is_told:
            what = problem.strerror or problem if isinstance(problem, OSError) else repr(problem)
            logger.warning(
                "The run record in %s cannot be written: %s. The run goes on; it is tried again.", path, what
            )
            self._is_told = True
        elif problem is None and self._is_failing:
            logger.info("The run record in %s is written again, and nothing is missing in it.", path)
        self._is_failing = problem is not None


class _Draft(NamedTuple):
    """What is to be committed together: a snapshot, what was marked and has happened until then, the lines of it."""

    taken: Snapshot
    marked: int
    events: list[Event]
    pieces: Iterator[str]


def _told(settings: Settings, environment: Any) -> dict[str, str | int | float | bool | None]:
    """Return what a run was started with, as far as its numbers depend on it."""
    options = environment.parsed_options
    return {
        "slow_request_s": settings.slow_s,
        "max_request_names": settings.max_names,
        "export_from": "workers" if settings.from_workers else "master",
        "slo_abort": settings.slo_abort,
        "propagate_traces": settings.trace_ratio,
        "users": getattr(environment.runner, "target_user_count", None),
        "spawn_rate": getattr(environment.runner, "spawn_rate", None) or getattr(options, "spawn_rate", None),
        "run_time_s": getattr(options, "run_time", None),
    }
