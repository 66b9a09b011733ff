"""Takes in the messages of Locust's process: runs, reports, marks, the state of its runner.

Each method takes one message of `wire.frames`; the caller holds the session's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from locust_otel.core.cardinality import Names
from locust_otel.core.catalogue import OTHER
from locust_otel.core.events import RUN_START, Event
from locust_otel.core.grouping import alike
from locust_otel.core.histogram import layout
from locust_otel.exporter.merged import Merged
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Session
from locust_otel.exporter.slow_log import SlowLog
from locust_otel.slo.progress import Progress
from locust_otel.wire import frames
from locust_otel.wire.report import Piece, ReportError, decode, decode_event, other_version

logger = logging.getLogger(__name__)


class Intake:
    """Applies messages to a session, and passes the slow requests in reports to their log."""

    def __init__(self, session: Session, slow_log: SlowLog) -> None:
        self._session = session
        self._slow_log = slow_log

    def begin(self, message: Mapping[str, Any]) -> Run:
        """Begin a run, and return it."""
        session, settings = self._session, self._session.settings
        state, slo = session.state, settings.slo
        # A worker records with its master's options, whatever its own are.
        slow_s = message.get("slow_s", settings.slow_s)
        thresholds_s = message.get("thresholds_s", slo.thresholds_s if slo is not None else ())
        groups = message.get("group_names", settings.group_names)
        names = Names(settings.max_names, slo.names if slo is not None else (), groups=groups)
        run = Run(
            run_id=message["run_id"],
            info=message["info"],
            start_time=message["start_time"],
            started_s=message["started_s"],
            settings={
                "slow_request_s": slow_s,
                "max_request_names": settings.max_names,
                "group_names": groups,
                "export_from": "workers" if settings.from_workers else "master",
                "slo_abort": settings.slo_abort,
                "propagate_traces": settings.trace_ratio,
                **message["settings"],
            },
            merged=Merged(layout((slow_s, *thresholds_s)), slow_s, names),
            progress=Progress(slo, message["start_time"]) if slo is not None else None,
            is_headless=message["is_headless"],
            only_summary=message["only_summary"],
        )
        if session.origin.is_master:
            run.counted = 0
        state.before, state.run = state.run, run
        state.workers.vitals = {}  # until they report from this run
        if not session.origin.is_worker:
            attributes = {"run_id": run.run_id, **run.info, "users_target": message["users_target"]}
            text = f"Run {run.run_id} starts"
            session.add_event(Event(RUN_START, text, attributes=attributes, timestamp=run.start_time))
        return run

    def report(self, source: str, data: bytes) -> None:
        """Merge a piece of the report of the process itself."""
        with self._refusals(source):
            self._merge(source, decode(data))

    def worker(self, source: str, counted: int, pieces: Any) -> None:
        """Merge a worker's report: the number of requests in Locust's part, and our pieces, None without locust-otel.

        Either all pieces are merged, or none.
        """
        run = self._session.run
        with self._refusals(source):
            if pieces is None:
                if run is not None and counted:
                    run.counted = (run.counted or 0) + counted
                    raise ReportError(
                        "no numbers of locust-otel, which is not loaded there; its requests are missing here"
                    )
                return
            if type(pieces) is not list:
                raise other_version(pieces)
            decoded = [decode(piece) for piece in pieces]
            run_id, tail = (decoded[-1].run_id, decoded[-1].tail) if decoded else ("", None)
            if run is not None and run_id in {"", run.run_id}:
                # Also for a worker without a run: the requests it counted are missing here, and the account shows that.
                reset_before = run.reset.get(source, 0)
                if tail is not None:
                    run.reset[source] = tail.reset
                run.counted = (run.counted or 0) + counted + run.reset.get(source, 0) - reset_before
                if tail is not None and tail.is_over:
                    run.unfinished.discard(source)
                else:
                    run.unfinished.add(source)
            elif counted and self._run_of(run_id) is None:
                raise ReportError(
                    f"requests of run {run_id}, which this master has not started; Locust adds them to its table, "
                    "but they are not counted here"
                )
            for piece in decoded:
                self._merge(source, piece)

    @contextmanager
    def _refusals(self, source: str) -> Iterator[None]:
        """Count the refused reports, and log the first one of each source."""
        try:
            yield
        except ReportError as error:
            workers = self._session.state.workers
            workers.refused += 1
            if source not in workers.strangers:
                workers.strangers.add(source)
                logger.error("A worker's report was refused: worker %s sent %s", source, error)

    def _merge(self, source: str, piece: Piece) -> None:
        session, workers = self._session, self._session.state.workers
        run = self._run_of(piece.run_id)
        if run is not None and not run.is_final and run.merged.merge(source, piece):
            names = [list(pair) for pair in run.merged.names.all]
            session.tell(frames.NAMES, source, run.run_id, names)
        if run is not None and run.merged.folds and not run.is_fold_logged and not session.origin.is_worker:
            run.is_fold_logged = True
            _warn_of_fold(run)
        tail = piece.tail
        if tail is None:
            return
        workers.errors[source] = max(tail.errors, workers.errors.get(source, 0))
        if run is not None and run is session.run:  # the delays of an earlier run do not belong to this one
            workers.vitals[source] = tail.vitals
        if run is not None and not session.origin.is_master:
            run.reset[source], run.missing = tail.reset, tail.missing
        for event in tail.events:
            session.add_event(event)
        self._slow_log.take(workers.names.get(source, source), tail.slow, tail.slow_dropped)

    def _run_of(self, run_id: str) -> Run | None:
        state = self._session.state
        return next((run for run in (state.run, state.before) if run is not None and run.run_id == run_id), None)

    def status(self, message: Mapping[str, Any]) -> None:
        """Note the state of Locust's runner."""
        state = self._session.state
        workers = state.workers
        workers.users = message["worker_users"]
        workers.names = message.get("worker_names", {})
        workers.states = message.get("worker_states", {})
        workers.expected = message.get("workers_expected")
        state.merged_reports = message.get("merged_reports", 0)
        run = self._run_of(message["run_id"])
        if run is not None:
            run.go_on(Phase(message["state"]))
            run.users, run.users_target = message["users"], message["users_target"]

    def mark(self, run_id: str, text: str, kind: str, timestamp: float) -> None:
        """Mark a run; a run that has just stopped takes the marks that were made before."""
        run = self._run_of(run_id)
        if run is not None and not run.is_final:
            self._session.note_mark(run, text, kind, timestamp)

    def event(self, message: Any) -> None:
        """Take in an event."""
        self._session.add_event(decode_event(message))

    def stopped(self, run_id: str, stopped_s: float) -> None:
        """Stop the clock of a run."""
        run = self._run_of(run_id)
        if run is not None:
            run.stop(stopped_s)


def _warn_of_fold(run: Run) -> None:
    """Log that further names are counted as `_OTHER`, and what to do about it."""
    names = run.merged.names.all - {(method, OTHER) for method, _ in run.merged.names.all}
    groups = alike(sorted(names))
    remedy = "--max-request-names raises the limit"
    if groups:
        remedy = f'{groups[0].sentence}. Give the calls name="{groups[0].name}", or --group-names does it'
    logger.warning(
        "There are more than %d request names, and the others are counted as _OTHER: %s.", len(names), remedy
    )
