"""The exporter process: takes messages in, ticks once a second, concludes runs, and ends with its Locust.

Threads: this one reads messages, one writes them, one ticks; each run that is over has one for each output while that
delivers the final values. What they share is in `Session`, behind its lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
from collections.abc import Callable
from dataclasses import astuple
from queue import SimpleQueue
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic
from typing import Any

from setproctitle import setproctitle

from locust_otel.core.errors import ConfigurationError, ExitCode
from locust_otel.core.events import RUN_STOP, Event
from locust_otel.exporter.checkpoint import Checkpoint
from locust_otel.exporter.intake import Intake
from locust_otel.exporter.output import Output
from locust_otel.exporter.outputs import outputs_of
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import resolve
from locust_otel.exporter.slow_log import SlowLog
from locust_otel.exporter.watch import decide
from locust_otel.wire import frames

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Seconds between two looks of the outputs, and between two checkpoints."""

LOST_GRACE_S = 25.0
"""Seconds to wait for scrapers at the most where Locust has gone without a word."""

_STOP_S = 1.0  # in which outputs have to stop


class Plugin:
    """The other side of the socket: Locust's process."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._waiting: SimpleQueue[bytes | None] = SimpleQueue()
        self._writer = Thread(target=self._write, daemon=True, name="writer")
        self._writer.start()

    def tell(self, *message: Any) -> None:
        """Send a message, or nothing where nobody is there any more; never waits."""
        self._waiting.put(frames.packed(*message))

    def flush(self, timeout_s: float) -> None:
        """Wait until all is sent, and send nothing more."""
        self._waiting.put(None)
        self._writer.join(timeout_s)

    def _write(self) -> None:
        while (data := self._waiting.get()) is not None:
            with contextlib.suppress(OSError):
                self._connection.sendall(data)


class _Forwarded(logging.Handler):
    """Has Locust's process log what is logged here, in its own way."""

    def __init__(self, plugin: Plugin) -> None:
        super().__init__()
        self._plugin = plugin
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._plugin.tell(frames.LOG, record.name, record.levelno, self.format(record))


class Exporter:
    """Runs the outputs.

    Args:
        connection: To Locust's process.
        checkpoint: Where what is known is written, once a second.
        counts: Where the counts of our own exports are written, each at once: a successor must not show fewer.
    """

    def __init__(self, connection: socket.socket, checkpoint: Checkpoint, counts: Checkpoint) -> None:
        self._connection = connection
        self._checkpoint = checkpoint
        self._counts = counts
        self._plugin = Plugin(connection)
        self._messages = frames.Frames()
        self._waiting: list[list[Any]] = []
        self._outputs: list[Output] = []
        self._locks: dict[Output, Lock] = {}
        self._concluding: Thread | None = None
        self._ended = False
        self._is_behind = False
        self._wake = Flag()

    def main(self) -> int:
        """Work until Locust's process says that it ends, or has gone; return an exit code."""
        message = self._next()
        if message is None or message[0] != frames.SETTINGS:
            return 1
        told = dict(message[1])
        self._log_to(told.pop("log_level", logging.INFO))
        try:
            self._start(told)
        except ConfigurationError as error:
            logger.debug("Refused", exc_info=True)
            problems = [[p.where, p.found, p.remedy, p.slug] for p in error.problems]
            self._plugin.tell(frames.REFUSED, problems)
            self._plugin.flush(5.0)
            self._hang_up()
            return ExitCode.BAD_CONFIGURATION
        Thread(target=self._tick, daemon=True, name="ticker").start()
        self._listen()
        self._plugin.flush(1.0)
        return 0

    def _log_to(self, level: int) -> None:
        ours = logging.getLogger("locust_otel")
        ours.setLevel(level)
        ours.addHandler(_Forwarded(self._plugin))
        ours.propagate = False
        logging.getLogger().addHandler(logging.NullHandler())  # what libraries log, our outputs say in their own words

    def _start(self, told: dict[str, Any]) -> None:
        origin = Origin(**{name: told[name] for name in Origin.__dataclass_fields__})
        settings = resolve(told["values"], is_worker=origin.is_worker)
        saved = self._checkpoint.read() if origin.restarts else None
        state: State | None = pickle.loads(saved) if saved else None  # noqa: S301  # our own, from a file without a name
        self._session = session = Session(settings, origin, self._plugin.tell, state)
        if origin.restarts and (counts := self._counts.read()):
            session.exports.restore(counts)
        session.exports.save = self._counts.write
        self._said = told["said"]
        if session.state.received < self._said:  # until all of that is known again, nobody may see less than before
            self._is_behind = session.lock.acquire()
        slow_log = SlowLog(session)
        self._outputs = [*outputs_of(session), slow_log]
        self._locks = {output: Lock() for output in self._outputs}
        self._intake = Intake(session, slow_log)
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
            },
        )
        run = session.run
        if run is not None and run.is_final and session.state.concluded != run.run_id:
            self._conclude(run)  # the one before has died while it did

    def _name_process(self) -> None:
        run = self._session.run
        setproctitle(f"locust-otel exporter {run.run_id if run is not None else ''}".strip())

    def _next(self) -> list[Any] | None:
        """Return the next message; None where there will be none."""
        while not self._waiting:
            try:
                data = self._connection.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                return None
            self._waiting += self._messages.feed(data)
        return self._waiting.pop(0)

    def _listen(self) -> None:
        """Take in messages until the end."""
        session = self._session
        ending: Thread | None = None
        while (message := self._next()) is not None:
            try:
                with session.lock:
                    session.state.received += 1
                    name, *arguments = message
                    if name == frames.STOP:
                        ending = Thread(target=self._end, daemon=True, name="end")
                        ending.start()
                    else:
                        self._take(name, arguments)
            except Exception:  # a fault of ours, or a message of nobody's: the others must be taken in
                logger.exception("The message %s was not understood", message[0])
            self._begin_due()
            if session.state.received >= self._said:
                self._show()
        self._show()
        if ending is None:
            with session.lock:
                run = session.run
                if run is not None and not run.is_final:
                    run.lose()
                    session.grace_s = LOST_GRACE_S
                    self._conclude(run)
            ending = Thread(target=self._end, daemon=True, name="end")
            ending.start()
        ending.join()

    def _take(self, name: str, arguments: list[Any]) -> None:
        """Take in a message, with the lock held."""
        session, intake = self._session, self._intake
        if name == frames.BEGIN:
            self._due = intake.begin(*arguments)
        elif name == frames.FINISH:
            run_id, session.grace_s = arguments
            run = session.run
            if run is not None and run.run_id == run_id and not run.is_final:
                run.finish()
                self._conclude(run)
        elif name == frames.ASK:
            number, question, argument = arguments
            self._plugin.tell(frames.ANSWER, number, self._answer(question, argument))
        elif name == frames.HURRY:
            session.hurry.set()
        else:
            takes: dict[str, Callable[..., None]] = {
                frames.REPORT: intake.report,
                frames.WORKER: intake.worker,
                frames.STATUS: intake.status,
                frames.MARK: intake.mark,
                frames.EVENT: intake.event,
                frames.STOPPED: intake.stopped,
            }
            takes[name](*arguments)

    def _show(self) -> None:
        """Let the outputs see what is known, where this process had to catch up with the one before it."""
        if self._is_behind:
            self._is_behind = False
            self._session.lock.release()

    _due: Run | None = None

    def _begin_due(self) -> None:
        """Have the outputs begin with a run that has just begun; the one before is concluded first, at once."""
        run, self._due = self._due, None
        if run is None:
            return
        if self._concluding is not None:
            self._show()
            self._session.hurry.set()
            self._concluding.join()
            self._concluding = None
            self._session.hurry.clear()
        self._name_process()
        for output in self._outputs:
            self._call(output, output.begin, run)
        self._wake.set()

    def _answer(self, question: str, argument: object) -> Any:
        run = self._session.run
        if question == "verdict":
            return int(decide(run))
        if question == "objectives":
            points = run.snapshot().slo if run is not None else None
            return None if points is None else [astuple(point) for point in points]
        for output in self._outputs:
            if (answer := output.answer(question, argument)) is not None:
                return answer
        return None

    def _tick(self) -> None:
        """Have the outputs look, and write a checkpoint, once a second; a new run and a mark are saved at once."""
        session, begun = self._session, ""
        due = monotonic() + INTERVAL_S
        has_failed = False
        while not self._ended:
            self._wake.wait(max(due - monotonic(), 0.0))
            self._wake.clear()
            run = session.run
            if run is not None and run.run_id != begun:  # its seconds are counted from its start
                begun, due = run.run_id, monotonic() + INTERVAL_S
            elif monotonic() >= due:
                due = max(due + INTERVAL_S, monotonic())
                if run is not None and not run.is_final:
                    snapshot = session.snapshot()
                    for output in self._outputs:
                        self._call(output, output.collect, snapshot)
            try:
                self._save()
            except OSError as error:  # a successor would know less; the run goes on
                if not has_failed:
                    logger.warning("What is known cannot be saved for the case that the exporter dies: %s", error)
                has_failed = True

    def _save(self) -> None:
        """Write a checkpoint, and say what it has: which is also how Locust's process knows that we are well."""
        session = self._session
        with session.lock:
            received, saved = session.state.received, session.saved()
        self._checkpoint.write(saved)
        self._plugin.tell(frames.KEPT, received)

    def _call(self, output: Output, method: Callable[..., None], *arguments: Any) -> None:
        """Call a method of an output; what goes wrong in one must not keep the others from theirs."""
        try:
            with self._locks[output]:
                method(*arguments)
        except Exception:
            logger.exception("%s failed", type(output).__name__)

    def _conclude(self, run: Run) -> None:
        """Have a run concluded in its own time: the outputs deliver its final values, and the account is logged."""
        self._concluding = Thread(target=self._concluded, args=(run,), daemon=True, name="conclusion")
        self._concluding.start()

    def _concluded(self, run: Run) -> None:
        session = self._session
        if not session.origin.is_worker:
            requests = run.merged.snapshot()
            failures = sum(series.total for series in requests.series if series.key.outcome == "failure")
            text = f"Run {run.run_id} is over: {requests.total} requests, {failures} failed"
            told: dict[str, str | int | float] = {
                "run_id": run.run_id,
                "requests": requests.total,
                "failures": failures,
            }
            session.add_event(Event(RUN_STOP, text, attributes=told))
        for output in self._outputs:
            if output.tells:
                self._call(output, output.finish, run)
        threads = [
            Thread(target=self._call, args=(output, output.finish, run), daemon=True, name="finish")
            for output in self._outputs
            if not output.tells
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not session.origin.is_worker:
            log_account(run, [output.account for output in self._outputs])
        with session.lock:
            session.state.concluded = run.run_id
        self._wake.set()

    def _end(self) -> None:
        """Stop, once the last run is concluded."""
        concluding = self._concluding
        if concluding is not None:
            concluding.join()
        self._ended = True
        self._wake.set()
        deadline_s = monotonic() + _STOP_S
        threads = [
            Thread(target=self._call, args=(output, output.stop, deadline_s), daemon=True, name="stop")
            for output in self._outputs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(deadline_s - monotonic(), 0.0))
        self._plugin.tell(frames.DONE)
        self._plugin.flush(1.0)
        self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def log_account(run: Run, accounts: list[str]) -> None:
    """Log where every request of a run has arrived."""
    parts = []
    reset = sum(run.reset.values())
    if run.locust_total is not None:
        parts.append(f"Locust {run.locust_total:,}" + (f" ({reset:,} before a reset)" if reset else ""))
    parts.append(f"recorded {run.merged.total:,}")
    logger.info("requests: %s", " · ".join([*parts, *filter(None, accounts)]))
    if run.unfinished:
        logger.warning(
            "%d workers left without their last report: Locust waits half a second for it, and what they did in up "
            "to three seconds before is missing, in Locust's table as well as here.",
            len(run.unfinished),
        )
    if run.unreconciled:
        logger.warning(
            "Run %s does not add up: Locust counted %+d requests against those recorded here; "
            "locust_otel_unreconciled_requests says so too.",
            run.run_id,
            run.unreconciled,
        )


def nice_if_alone() -> None:
    """Step back behind Locust where both share the only core."""
    affinity = getattr(os, "sched_getaffinity", None)
    if (len(affinity(0)) if affinity is not None else os.cpu_count()) == 1:
        os.nice(5)
