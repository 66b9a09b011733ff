"""The exporter process: takes messages in, ticks once a second, concludes runs, and ends with its Locust process.

Threads: this one reads messages, one writes them, one ticks. At the end of a run each output has a thread that delivers
the final values. They share `Session`, behind its lock.
"""

from __future__ import annotations

import gc
import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic
from typing import Any

from setproctitle import setproctitle

from locust_otel.core.errors import ConfigurationError, ExitCode
from locust_otel.core.events import RUN_STOP, Event
from locust_otel.exporter.checkpoint import Checkpoint
from locust_otel.exporter.connection import Plugin
from locust_otel.exporter.endpoint.output import Endpoint
from locust_otel.exporter.intake import Intake
from locust_otel.exporter.otlp.output import OtlpOutput
from locust_otel.exporter.output import Output
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.record.output import RecordOutput
from locust_otel.exporter.run import Run, account, warn_of_account
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import resolve
from locust_otel.exporter.slow_log import SlowLog
from locust_otel.exporter.watch import Watch
from locust_otel.wire import frames

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Seconds between two snapshots for the outputs, and between two checkpoints."""

LOST_GRACE_S = 25.0
"""Longest wait for the last scrape, in seconds, if Locust's process has died."""

_GIVE_WAY_S = 0.3  # longest wait of an output, and of a checkpoint, for a page that is rendered
_STOP_S = 1.0  # time for the outputs to stop


def outputs_of(session: Session) -> list[Output]:
    """Return all outputs, in the order in which they see a run: the watch judges it before the others deliver it."""
    page = Page(session)
    return [Watch(session), RecordOutput(session), page, Endpoint(session, page), OtlpOutput(session)]


class Exporter:
    """Runs the outputs.

    Args:
        plugin: The connection to Locust's process.
        checkpoint: Takes the session's state, once a second.
        counts: Takes the counts of our own exports after each export: a successor must not show fewer.
    """

    def __init__(self, plugin: Plugin, checkpoint: Checkpoint, counts: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._counts = counts
        self._plugin = plugin
        self._outputs: list[Output] = []
        self._locks: dict[Output, Lock] = {}
        self._concluding: Thread | None = None
        self._ending: Thread | None = None
        self._is_over = False
        self._wake = Flag()
        self._catching_up = ExitStack()  # holds the lock until a successor has the messages of the one before

    def main(self, settings: dict[str, Any]) -> int:
        """Work until Locust's process says that it ends, or dies; return an exit code."""
        self._plugin.take_log(settings.pop("log_level", logging.INFO))
        try:
            self._start(settings)
        except ConfigurationError as error:
            logger.debug("Refused", exc_info=True)
            self._plugin.tell(frames.REFUSED, error.fields)
            self._plugin.close(5.0)
            return ExitCode.BAD_CONFIGURATION
        Thread(target=self._tick, daemon=True, name="ticker").start()
        self._listen(settings["said"])
        return 0

    def _start(self, message: dict[str, Any]) -> None:
        origin = Origin(**{name: message[name] for name in Origin.__dataclass_fields__})
        settings = resolve(message["values"], is_worker=origin.is_worker)
        saved = self._checkpoint.read() if origin.restarts else None
        state: State | None = pickle.loads(saved) if saved else None  # noqa: S301  # our own, from a file without a name
        gc.freeze()  # a predecessor's state lives as long as this process
        self._session = session = Session(settings, origin, self._plugin.tell, state)
        if origin.restarts and (counts := self._counts.read()):
            session.exports.restore(counts)
        session.exports.save = self._counts.write
        if session.state.received < message["said"]:
            self._catching_up.enter_context(session.lock)
        slow_log = SlowLog(session)
        intake = Intake(session, slow_log)
        self._handlers: dict[str, Callable[..., Run | None]] = {
            frames.BEGIN: intake.begin,
            frames.REPORT: intake.report,
            frames.WORKER: intake.worker,
            frames.STATUS: intake.status,
            frames.MARK: intake.mark,
            frames.EVENT: intake.event,
            frames.STOPPED: intake.stopped,
            frames.FINISH: self._finish,
            frames.ASK: self._ask,
            frames.HURRY: session.hurry.set,
            frames.STOP: self._stop,
        }
        self._outputs = [*outputs_of(session), slow_log]
        self._locks = {output: Lock() for output in self._outputs}
        for output in self._outputs:
            output.start(settings)
            session.listeners.append(output.note)
        session.on_mark = self._wake.set
        self._checkpoint.write(session.saved())
        self._name_process()
        slo = settings.slo
        self._plugin.tell(
            frames.READY,
            {
                "url": session.url,
                "received": session.state.received,
                "has_slo": slo is not None,
                "slow_s": settings.slow_s,
                "max_names": settings.max_names,
                "trace_ratio": settings.trace_ratio,
                "thresholds_s": list(slo.thresholds_s) if slo is not None else [],
                "kept_names": sorted(slo.names) if slo is not None else [],
                "group_names": settings.group_names,
            },
        )
        run = session.run
        if run is not None and run.is_final and session.state.concluded != run.run_id:
            self._conclude(run)  # the exporter before this one died while concluding the run

    def _name_process(self) -> None:
        run = self._session.run
        setproctitle(f"locust-otel exporter {run.run_id if run is not None else ''}".strip())

    def _listen(self, said: int) -> None:
        """Take in messages until the end; `said` is the number of messages sent before this process started."""
        session = self._session
        for name, *arguments in self._plugin.messages:
            new_run: Run | None = None
            try:
                with session.lock:
                    session.state.received += 1
                    new_run = self._handlers[name](*arguments)
            except Exception:  # a bug, or an unknown message: the next ones must be taken in
                logger.exception("The message %s could not be processed", name)
            if new_run is not None:
                self._begin(new_run)
            if session.state.received >= said:
                self._catching_up.close()
        self._catching_up.close()
        if self._ending is None:
            with session.lock:
                run = session.run
                if run is not None and not run.is_final:
                    run.lose()
                    session.grace_s = LOST_GRACE_S
                    self._conclude(run)
            self._stop()
        if self._ending is not None:
            self._ending.join()

    def _begin(self, run: Run) -> None:
        """Have the outputs begin with a run; the run before is concluded first, without waiting for scrapes."""
        if self._concluding is not None:
            self._catching_up.close()  # it needs the lock
            self._session.hurry.set()
            self._concluding.join()
            self._concluding = None
            self._session.hurry.clear()
        self._name_process()
        for output in self._outputs:
            self._call(output, output.begin, run)
        self._wake.set()

    def _finish(self, run_id: str, grace_s: float | None) -> None:
        session = self._session
        session.grace_s = grace_s
        run = session.run
        if run is not None and run.run_id == run_id and not run.is_final:
            run.finish()
            self._conclude(run)

    def _stop(self) -> None:
        self._ending = Thread(target=self._end, daemon=True, name="end")
        self._ending.start()

    def _ask(self, number: int, question: str, argument: object) -> None:
        answers = (output.answer(question, argument) for output in self._outputs)
        answer = next((answer for answer in answers if answer is not None), None)
        self._plugin.tell(frames.ANSWER, number, answer)

    def _tick(self) -> None:
        """Give the outputs a snapshot and write a checkpoint, once a second; save a new run and a mark at once."""
        session, seen_run = self._session, ""
        due = monotonic() + INTERVAL_S
        has_failed = False
        while not self._is_over:
            self._wake.wait(max(due - monotonic(), 0.0))
            self._wake.clear()
            run = session.run
            if run is not None and run.run_id != seen_run:  # its first second begins now
                seen_run, due = run.run_id, monotonic() + INTERVAL_S
            elif monotonic() >= due:
                due = max(due + INTERVAL_S, monotonic())
                if run is not None and not run.is_final:
                    session.give_way(_GIVE_WAY_S)
                    snapshot = session.snapshot()
                    for output in self._outputs:
                        session.give_way(_GIVE_WAY_S)
                        self._call(output, output.collect, snapshot)
            session.give_way(_GIVE_WAY_S)
            try:
                self._save()
            except OSError as error:  # the run continues; only a successor would lose numbers
                if not has_failed:
                    logger.warning("The exporter cannot save its state for a restart: %s", error)
                has_failed = True

    def _save(self) -> None:
        """Write a checkpoint, and tell Locust's process the number of messages in it: this is also the heartbeat."""
        session = self._session
        with session.lock:
            received, saved = session.state.received, session.saved()
        self._checkpoint.write(saved)
        self._plugin.tell(frames.KEPT, received)

    def _call(self, output: Output, method: Callable[..., None], *arguments: Any) -> None:
        """Call a method of an output; its failure must not affect the others."""
        try:
            with self._locks[output]:
                method(*arguments)
        except Exception:
            logger.exception("%s failed", type(output).__name__)

    def _conclude(self, run: Run) -> None:
        """Start a thread in which the outputs deliver the final values of a run; then the account is logged."""
        self._concluding = Thread(target=self._concluded, args=(run,), daemon=True, name="conclusion")
        self._concluding.start()

    def _concluded(self, run: Run) -> None:
        session = self._session
        if not session.origin.is_worker:
            requests = run.merged.snapshot()
            failures = sum(series.total for series in requests.series if series.key.outcome == "failure")
            text = f"Run {run.run_id} is over: {requests.total} requests, {failures} failed"
            attributes: dict[str, str | int | float]
            attributes = {"run_id": run.run_id, "requests": requests.total, "failures": failures}
            session.add_event(Event(RUN_STOP, text, attributes=attributes))
        for output in self._outputs:
            if output.adds_events:
                self._call(output, output.finish, run)
        with ThreadPoolExecutor(len(self._outputs)) as pool:
            for output in self._outputs:
                if not output.adds_events:
                    pool.submit(self._call, output, output.finish, run)
        if not session.origin.is_worker:
            session.say(run, account(run, [output.account for output in self._outputs]))
            warn_of_account(run)
        with session.lock:
            session.state.concluded = run.run_id
        self._wake.set()

    def _end(self) -> None:
        """End once the last run is concluded."""
        concluding = self._concluding
        if concluding is not None:
            concluding.join()
        self._is_over = True
        self._wake.set()
        deadline_s = monotonic() + _STOP_S
        pool = ThreadPoolExecutor(len(self._outputs))  # no `with`, which waits without a limit
        wait([pool.submit(self._call, output, output.stop, deadline_s) for output in self._outputs], _STOP_S)
        self._plugin.tell(frames.DONE)
        self._plugin.close(1.0)
