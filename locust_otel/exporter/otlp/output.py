"""OTLP as an output: pushes metrics and events, and deals with a sink that is dead, slow or lying.

Each signal has a thread of its own, so metrics and events do not wait for each other's answers. Metrics tell everything
since the start, so a push that failed is made up for by the next one. Events wait in a queue of bounded length. Where a
sink fails, the pauses between tries grow, and one log line says so when it begins and one when it ends.
"""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED, Event
from locust_otel.core.families import families
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.settings import OtlpSettings, Signal, Target
from locust_otel.exporter.output import Output
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Session
from locust_otel.exporter.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

    from locust_otel.exporter.otlp.metrics import Encoder
    from locust_otel.exporter.otlp.sender import Sender

logger = logging.getLogger(__name__)

METRICS, LOGS = "otlp_metrics", "otlp_logs"
"""Values of the label `exporter`."""

FLUSH_S = 1.8
"""Longest push of the final values."""

LATE_S = 4.0
"""Seconds after which a push without an answer is reported, before its time is up."""

_LONGEST_PAUSE_S = 30.0
_EVENTS_PER_PUSH = 100


@dataclass(slots=True)
class _Circuit:
    """Whether a sink may be tried, and what was logged of it."""

    interval_s: float
    failures: int = 0
    not_before: float = 0.0
    is_rejecting: bool = False
    is_late: bool = False
    waits_since: float | None = None
    slowest_s: float = 0.0

    @property
    def is_open(self) -> bool:
        return monotonic() < self.not_before

    def note(self, outcome: Outcome) -> None:
        if outcome.ok:
            self.failures = 0
            return
        self.failures += 1
        pause = min(self.interval_s * 2 ** min(self.failures - 1, 10), _LONGEST_PAUSE_S)
        # A little less, or the turn that falls due at the same moment would be missed.
        self.not_before = monotonic() + max(pause, outcome.retry_after_s) - 0.1


@dataclass(slots=True)
class Kept:
    """What a successor of this process goes on with.

    Attributes:
        instance: Identity of this process to the other side.
        run_id: The run of the last push.
        last_total: Its requests in the last push that arrived whole; None before the first.
        sent: What of each series has arrived, for those that want only what came since.
    """

    instance: str = field(default_factory=lambda: str(uuid4()))
    run_id: str = ""
    last_total: int | None = None
    sent: dict[Any, Any] = field(default_factory=dict)


class _Way:
    """One signal's way to its sink."""

    def __init__(self, exporter: str, signal: Signal, target: Target, interval_s: float) -> None:
        self.exporter = exporter
        self.signal = signal
        self.target = target
        self.circuit = _Circuit(interval_s)
        self.sender: Sender | None = None
        self.wake = Flag()
        self.turn = Lock()  # held while something is pushed
        self.is_abandoned = False  # what is under way: nobody wants to know what came of it


class OtlpOutput(Output):
    """Pushes metrics and events of this process.

    Args:
        session: What is pushed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ways: dict[str, _Way] = {}
        self._is_stopped = False
        self._kept = Kept()
        self._resource: Resource | None = None
        self._encoder: Encoder | None = None
        self._loading = Lock()

    def start(self, settings: Settings) -> None:
        """Start to push."""
        otlp, session = settings.otlp, self._session
        if otlp is None or not session.scopes:
            return
        self._kept = session.keep("otlp", self._kept)
        logs = None if session.origin.is_worker else otlp.logs  # events go to the master
        for exporter, signal, target in ((METRICS, Signal.METRICS, otlp.metrics), (LOGS, Signal.LOGS, logs)):
            if target is not None:
                way = self._ways[exporter] = _Way(exporter, signal, target, otlp.interval_s)
                session.exports.declare(exporter)
                Thread(target=self._work, args=(way, otlp), daemon=True, name=exporter).start()

    def collect(self, snapshot: Snapshot) -> None:  # noqa: ARG002
        """Report pushes that still have no answer; once, until one comes in time again."""
        for way in self._ways.values():
            since, circuit = way.circuit.waits_since, way.circuit
            if since is not None and monotonic() - since > LATE_S and not circuit.is_late:
                circuit.is_late = True
                if not circuit.failures:
                    text = f"{way.exporter} are failing: no answer for {monotonic() - since:.0f} s"
                    self._tell(logging.WARNING, EXPORT_FAILING, text, way.exporter)

    def finish(self, run: Run) -> None:  # noqa: ARG002
        """Push the final values, for at most `FLUSH_S`."""
        if not self._ways:
            return
        until = monotonic() + FLUSH_S
        threads = {
            way: Thread(target=self._push_last, args=(way,), daemon=True, name=f"{way.exporter}-last")
            for way in self._ways.values()
        }
        for thread in threads.values():
            thread.start()
        while any(thread.is_alive() for thread in threads.values()) and (left_s := until - monotonic()) > 0:
            if self._session.hurry.wait(min(left_s, 0.02)):
                break
        given_up = [way for way, thread in threads.items() if thread.is_alive()]
        for way in given_up:
            way.is_abandoned = True
            self._session.exports.note(way.exporter, ok=False, seconds=FLUSH_S)
            if way.sender is not None:
                way.sender.cut()
        if given_up:
            logger.warning("OTLP: the last push found no answer within %g s and was given up", FLUSH_S)

    def stop(self, deadline_s: float) -> None:  # noqa: ARG002
        """End; what is under way ends with the process."""
        self._is_stopped = True
        for way in self._ways.values():
            way.wake.set()

    @property
    def account(self) -> str:
        """How many requests of the run have arrived."""
        if METRICS not in self._ways or self._session.settings.from_workers:
            return ""
        total = self._kept.last_total
        return "OTLP never" if total is None else f"OTLP {total:,}"

    def _work(self, way: _Way, settings: OtlpSettings) -> None:
        """Push at each turn, in a thread."""
        interval_s = settings.interval_s
        next_turn = monotonic() + interval_s
        self._load(settings)
        with way.turn:
            way.sender = _made(way)
        while not self._is_stopped:
            way.wake.wait(max(next_turn - monotonic(), 0.0))
            if self._is_stopped:
                return
            way.wake.clear()
            if not way.circuit.is_open:
                with way.turn:
                    self._push(way)
            while next_turn <= monotonic():
                next_turn += interval_s

    def _load(self, settings: OtlpSettings) -> None:
        """Load what encodes; half a second that the start of the load test does not wait for."""
        with self._loading:
            if self._encoder is not None:
                return
            from locust_otel.exporter.otlp.metrics import Encoder  # noqa: PLC0415  # see above

            version = self._session.origin.versions.get("version", "")
            self._resource = _resource(version, self._kept.instance)
            self._encoder = Encoder(
                self._resource,
                version,
                is_exponential=settings.is_exponential,
                is_delta=settings.is_delta,
                sent=self._kept.sent,
            )

    def _push_last(self, way: _Way) -> None:
        """Push the final values; what is under way is abandoned: it may wait for a sink that never answers."""
        if not way.turn.acquire(timeout=0.2):
            way.is_abandoned = True
            if way.sender is not None:
                way.sender.cut()
            if not way.turn.acquire(timeout=FLUSH_S):
                return
        try:
            way.is_abandoned = False
            if way.sender is not None:
                self._push(way)
        finally:
            way.turn.release()

    def _push(self, way: _Way) -> None:
        circuit = way.circuit
        circuit.slowest_s = 0.0
        try:
            outcome = self._push_metrics(way) if way.exporter == METRICS else self._push_logs(way)
        except Exception as error:
            # Nothing may end the pushing for good; what it was counts like any other failure.
            logger.debug("A push over OTLP failed", exc_info=True)
            self._session.exports.note(way.exporter, ok=False, seconds=0.0)
            outcome = Outcome(ok=False, reason=f"a fault of our own, {type(error).__name__}")
        finally:
            circuit.waits_since = None
        self._note(way, outcome)

    def _push_metrics(self, way: _Way) -> Outcome:
        """Push a snapshot, and return what came of all its batches together."""
        session, encoder, kept = self._session, self._encoder, self._kept
        assert encoder is not None  # noqa: S101  # for the type checker
        snapshot = session.snapshot()
        run = snapshot.run
        if run is not None and run.run_id != kept.run_id:
            with session.lock:
                kept.run_id, kept.last_total = run.run_id, None
                encoder.forget_run()
        rejected, reason = 0, ""
        for batch in encoder.batches(families(snapshot, session.scopes), int(snapshot.time * 1e9)):
            outcome = self._send(way, batch.data)
            if not outcome.ok:
                return outcome  # the next push tells it all
            with session.lock:
                encoder.acknowledge(batch)
            rejected, reason = rejected + outcome.rejected, reason or outcome.reason
        if run is not None and not rejected:
            with session.lock:
                kept.last_total = run.requests.total
        return Outcome(ok=True, rejected=rejected, reason=reason)

    def _push_logs(self, way: _Way) -> Outcome | None:
        """Push the events that wait, and return what came of it; None where none waits."""
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415  # loaded by `_load`

        from locust_otel.exporter.otlp.logs import record  # noqa: PLC0415  # likewise

        queue, resource = self._session.events, self._resource
        assert resource is not None  # noqa: S101  # for the type checker
        scope = InstrumentationScope("locust_otel", self._session.origin.versions.get("version", ""))
        whole: Outcome | None = None
        refused: Outcome | None = None
        rejected = 0
        while events := queue.peek(_EVENTS_PER_PUSH):
            try:
                outcome = self._send(way, [record(event, resource, scope) for event in events])
            except Exception:
                queue.remove(len(events))  # what cannot be encoded now never will, and would hold up the others
                raise
            if outcome.ok or outcome.is_permanent:
                # Refused for good: sent again, they would only be refused again and hold up the others.
                queue.remove(len(events))
            if not outcome.ok:
                if not outcome.is_permanent:
                    return outcome
                refused = outcome
            rejected += outcome.rejected
            whole = replace(outcome, rejected=rejected)
        return refused or whole

    def _send(self, way: _Way, data: Any) -> Outcome:
        assert way.sender is not None  # noqa: S101  # for the type checker
        circuit = way.circuit
        started = circuit.waits_since = monotonic()
        outcome = way.sender.send(data)
        seconds = monotonic() - started
        circuit.slowest_s = max(seconds, circuit.slowest_s)
        self._session.exports.note(way.exporter, ok=outcome.ok, seconds=seconds, rejected=outcome.rejected)
        return outcome

    def _note(self, way: _Way, outcome: Outcome | None) -> None:
        """Take in what came of a push, and report it where that is a change."""
        if outcome is None or way.is_abandoned:
            return
        circuit, exporter = way.circuit, way.exporter
        failed_before, rejecting_before = circuit.failures, circuit.is_rejecting
        circuit.note(outcome)
        if not outcome.ok:
            if not failed_before and not circuit.is_late:
                self._tell(logging.WARNING, EXPORT_FAILING, f"{exporter} are failing: {outcome.reason}", exporter)
            return
        in_time = circuit.slowest_s <= LATE_S
        if failed_before or (circuit.is_late and in_time):
            text = f"{exporter} arrive again, after {failed_before or 'no'} failures"
            self._tell(logging.INFO, EXPORT_RECOVERED, text, exporter)
        circuit.is_late &= not in_time
        circuit.is_rejecting = bool(outcome.rejected)
        if circuit.is_rejecting and not rejecting_before:
            text = f"{outcome.rejected} of the {exporter} were rejected: {outcome.reason}"
            self._tell(logging.WARNING, EXPORT_FAILING, text, exporter)

    def _tell(self, level: int, name: str, text: str, exporter: str) -> None:
        logger.log(level, "OTLP: %s", text)
        severity = "WARN" if level == logging.WARNING else "INFO"
        self._session.add_event(Event(name, text, severity, attributes={"exporter": exporter}))


def _made(way: _Way) -> Sender:
    """Return the sender of a signal."""
    if way.target.protocol == "grpc":
        from locust_otel.exporter.otlp.grpc import GrpcSender  # noqa: PLC0415  # 20 MiB that HTTP can do without

        return GrpcSender(way.signal, way.target)
    from locust_otel.exporter.otlp.sender import HttpSender  # noqa: PLC0415  # half a second to load

    return HttpSender(way.signal, way.target)


def _resource(version: str, instance: str) -> Resource:
    """Return who tells; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` decide where they say something."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # loaded by `_load`

    ours = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME", "").strip() or "locust",
        "service.version": version,
        "host.name": socket.gethostname(),
        # One a process: two that share one would reject each other's samples.
        "service.instance.id": instance,
    }
    asked = {pair.partition("=")[0].strip() for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    if os.environ.get("OTEL_SERVICE_NAME", "").strip():
        asked.discard("service.name")  # which wins over the attribute of that name
    # What the SDK makes up by itself, an instance id for one, is none of what the user asked for.
    return Resource.create({}).merge(Resource({name: value for name, value in ours.items() if name not in asked}))
