"""The push of one signal: a thread that pushes once an interval, independent of the other signal.

Metrics are cumulative, so the next push also delivers what a failed one did not. Events wait in a bounded queue. The
thread imports the encoder and the sender: that takes half a second, and the load test does not wait for it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from locust_otel.core.events import EXPORT_FAILING, Event
from locust_otel.core.families import families
from locust_otel.exporter.otlp.circuit import Circuit
from locust_otel.exporter.otlp.outcome import NOT_SENT, Outcome
from locust_otel.exporter.otlp.settings import OtlpSettings, Signal, Target, without_secrets
from locust_otel.exporter.session import Session

if TYPE_CHECKING:
    from locust_otel.exporter.otlp.encoding import Encoder, Sent, SeriesId
    from locust_otel.exporter.otlp.grpc import GrpcSender
    from locust_otel.exporter.otlp.sender import HttpSender

logger = logging.getLogger(__name__)

_EVENTS_PER_PUSH = 100


@dataclass(slots=True)
class Kept:
    """State for a successor; plain values, so that reading it does not import OpenTelemetry."""

    instance: str = field(default_factory=lambda: str(uuid4()))  # `service.instance.id` of this process
    run_id: str = ""  # of the last push
    last_total: int | None = None  # its requests in the last push that arrived completely
    sent: dict[SeriesId, Sent] = field(default_factory=dict)  # the series that have arrived, for deltas


class Push(Thread):
    """Pushes one signal, until `stopped` is set."""

    signal: Signal
    _encoder: Encoder

    def __init__(self, session: Session, settings: OtlpSettings, target: Target, kept: Kept) -> None:
        self.exporter = f"otlp_{self.signal.name.lower()}"
        super().__init__(name=self.exporter, daemon=True)
        self.stopped = Flag()
        self._session = session
        self._settings = settings
        self._target = target
        self._kept = kept
        self.url = without_secrets(target.endpoint)
        self._circuit = Circuit(self.exporter, self.url, settings.interval_s)
        self._sender: GrpcSender | HttpSender | None = None
        self._lock = Lock()  # held during a push
        self._is_abandoned = False
        session.exports.declare(self.exporter)

    def run(self) -> None:
        """Push once an interval until `stopped` is set; a push at that moment ends with the process."""
        interval_s = self._settings.interval_s
        due_s = monotonic() + interval_s
        with self._lock, suppress(Exception):  # the first push fails likewise, and reports it
            self._load()
        while not self.stopped.wait(max(due_s - monotonic(), 0.0)):
            if not self._circuit.is_open:
                with self._lock:
                    self.push()
            while due_s <= monotonic():
                due_s += interval_s

    def check(self) -> None:
        """Report a push that has waited too long for an answer."""
        self._report(self._circuit.check())

    def push(self) -> None:
        """Push the current metrics, or all events that wait."""
        self._is_abandoned, self._circuit.slowest_s = False, 0.0
        try:
            self._load()
            outcome = self._deliver()
        except Exception as error:
            # No error may end this thread; it counts like any other failure.
            logger.debug("A push over OTLP failed", exc_info=True)
            outcome = Outcome(ok=False, reason=f"internal error, {type(error).__name__}")
            self._count(outcome, 0.0)
        if outcome is not None and not self._is_abandoned:
            self._report(self._circuit.note(outcome))

    def push_last(self, timeout_s: float) -> None:
        """Push the final values; first cancel a current push that has no answer within 0.2 s."""
        if not self._lock.acquire(timeout=0.2):
            self.abandon()
            if not self._lock.acquire(timeout=timeout_s):
                return
        try:
            self.push()
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Cancel the current push, without counting a failure."""
        self._is_abandoned = True
        if self._sender is not None:
            self._sender.cut()

    def _load(self) -> None:
        if self._sender is None:
            from locust_otel.exporter.otlp.encoding import Encoder, resource_of  # noqa: PLC0415  # see above

            version, settings, kept = self._session.origin.versions.get("version", ""), self._settings, self._kept
            self._encoder = Encoder(
                resource_of(version, kept.instance),
                version,
                is_exponential=settings.is_exponential,
                is_delta=settings.is_delta,
                sent=kept.sent,
                in_turns=self._session.in_turns,
            )
            self._sender = sender_of(self.signal, self._target)

    def _deliver(self) -> Outcome | None:
        """Send, and return the outcome; None if there is nothing to send."""
        raise NotImplementedError

    def _send(self, data: Any) -> Outcome:
        if self._is_abandoned or self._sender is None:
            return NOT_SENT
        started = monotonic()
        with self._circuit.waiting():
            outcome = self._sender.send(data)
        self._count(outcome, monotonic() - started)
        return outcome

    def _count(self, outcome: Outcome, seconds: float) -> None:
        if outcome.ok or not self._is_abandoned:
            self._session.exports.note(self.exporter, ok=outcome.ok, seconds=seconds, rejected=outcome.rejected)

    def _report(self, changes: list[tuple[str, str]]) -> None:
        for name, text in changes:
            level, severity = (logging.WARNING, "WARN") if name == EXPORT_FAILING else (logging.INFO, "INFO")
            logger.log(level, "OTLP: %s", text)
            self._session.add_event(Event(name, text, severity, attributes={"exporter": self.exporter}))


class MetricsPush(Push):
    """Pushes metrics."""

    signal = Signal.METRICS

    def _deliver(self) -> Outcome:
        session, encoder, kept = self._session, self._encoder, self._kept
        snapshot = session.snapshot()
        run = snapshot.run
        if run is not None and run.run_id != kept.run_id:
            with session.lock:
                kept.run_id, kept.last_total = run.run_id, None
                encoder.forget_run()
        rejected, reason = 0, ""
        for batch in encoder.batches(families(snapshot, session.scopes), int(snapshot.time * 1e9)):
            outcome = self._send(batch.data)
            if not outcome.ok:
                return outcome  # the next push has everything
            with session.lock:
                encoder.acknowledge(batch)
            rejected, reason = rejected + outcome.rejected, reason or outcome.reason
        if run is not None and not rejected:
            with session.lock:
                kept.last_total = run.requests.total
        return Outcome(ok=True, rejected=rejected, reason=reason)


class LogsPush(Push):
    """Pushes the events in the queue."""

    signal = Signal.LOGS

    def _deliver(self) -> Outcome | None:
        queue = self._session.state.events
        whole: Outcome | None = None
        refused: Outcome | None = None
        rejected = 0
        while events := queue.peek(_EVENTS_PER_PUSH):
            try:
                outcome = self._send(list(map(self._encoder.log_record, events)))
            except Exception:
                queue.remove(len(events))  # they can never be encoded, and would block the others
                raise
            if outcome.ok or outcome.is_permanent:
                # After a permanent refusal too: sent again, they would be refused again, and block the others.
                queue.remove(len(events))
            if not outcome.ok:
                if not outcome.is_permanent:
                    return outcome
                refused = outcome
            rejected += outcome.rejected
            whole = replace(outcome, rejected=rejected)
        return refused or whole


def sender_of(signal: Signal, target: Target) -> GrpcSender | HttpSender:
    """Return the sender of a signal."""
    if target.protocol == "grpc":
        from locust_otel.exporter.otlp.grpc import GrpcSender  # noqa: PLC0415  # an extra; 20 MiB of memory

        return GrpcSender(signal, target)
    from locust_otel.exporter.otlp.sender import HttpSender  # noqa: PLC0415  # see above

    return HttpSender(signal, target)
