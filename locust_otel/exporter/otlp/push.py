"""One signal's way to its sink: a thread that pushes at each turn of its own timer, whatever the other signal does.

Metrics tell everything since the start, so the next push makes up for one that failed. Events wait in a queue of
bounded length. What encodes and sends takes half a second to load: the thread does that, so no load test waits for it.
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
from locust_otel.exporter.otlp.outcome import NOT_SENT, Circuit, Outcome
from locust_otel.exporter.otlp.settings import OtlpSettings, Signal, Target
from locust_otel.exporter.session import Session

if TYPE_CHECKING:
    from locust_otel.exporter.otlp.encoding import Encoder, Sent, SeriesId
    from locust_otel.exporter.otlp.grpc import GrpcSender
    from locust_otel.exporter.otlp.sender import HttpSender

logger = logging.getLogger(__name__)

_EVENTS_PER_PUSH = 100


@dataclass(slots=True)
class Kept:
    """State that the next exporter needs; plain values, so that reading it does not load OpenTelemetry."""

    instance: str = field(default_factory=lambda: str(uuid4()))  # identity of this process to the sink
    run_id: str = ""  # of the last push
    last_total: int | None = None  # its requests in the last push that arrived whole
    sent: dict[SeriesId, Sent] = field(default_factory=dict)  # what of each series has arrived, for deltas


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
        self._where = target
        self._kept = kept
        self.url = target.shown
        self._circuit = Circuit(self.exporter, self.url, settings.interval_s)
        self._sender: GrpcSender | HttpSender | None = None
        self._turn = Lock()  # held while something is pushed
        self._is_abandoned = False
        session.exports.declare(self.exporter)

    def run(self) -> None:
        """Push at each turn, until `stopped` is set; what is under way then ends with the process."""
        interval_s = self._settings.interval_s
        next_turn = monotonic() + interval_s
        with self._turn, suppress(Exception):  # the first push fails likewise, and says so
            self._load()
        while not self.stopped.wait(max(next_turn - monotonic(), 0.0)):
            if not self._circuit.is_open:
                with self._turn:
                    self.push()
            while next_turn <= monotonic():
                next_turn += interval_s

    def check(self) -> None:
        """Report a push that has had no answer for long."""
        self._report(self._circuit.check())

    def push(self) -> None:
        """Push all that is known now."""
        self._is_abandoned, self._circuit.slowest_s = False, 0.0
        try:
            self._load()
            outcome = self._deliver()
        except Exception as error:
            # Nothing may end the pushing for good; what it was counts like any other failure.
            logger.debug("A push over OTLP failed", exc_info=True)
            outcome = Outcome(ok=False, reason=f"a fault of our own, {type(error).__name__}")
            self._count(outcome, 0.0)
        if outcome is not None and not self._is_abandoned:
            self._report(self._circuit.note(outcome))

    def push_last(self, timeout_s: float) -> None:
        """Push the final values in the place of what is under way, which may wait for a sink that never answers."""
        if not self._turn.acquire(timeout=0.2):
            self.abandon()
            if not self._turn.acquire(timeout=timeout_s):
                return
        try:
            self.push()
        finally:
            self._turn.release()

    def abandon(self) -> None:
        """End what is under way; its failure is not counted."""
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
            self._sender = sender_of(self.signal, self._where)

    def _deliver(self) -> Outcome | None:
        """Send all that is known now, and return what came of it; None where there is nothing to send."""
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
                return outcome  # the next push tells it all
            with session.lock:
                encoder.acknowledge(batch)
            rejected, reason = rejected + outcome.rejected, reason or outcome.reason
        if run is not None and not rejected:
            with session.lock:
                kept.last_total = run.requests.total
        return Outcome(ok=True, rejected=rejected, reason=reason)


class LogsPush(Push):
    """Pushes the events that wait."""

    signal = Signal.LOGS

    def _deliver(self) -> Outcome | None:
        queue = self._session.events
        whole: Outcome | None = None
        refused: Outcome | None = None
        rejected = 0
        while events := queue.peek(_EVENTS_PER_PUSH):
            try:
                outcome = self._send(list(map(self._encoder.log_record, events)))
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


def sender_of(signal: Signal, target: Target) -> GrpcSender | HttpSender:
    """Return the sender of a signal."""
    if target.protocol == "grpc":
        from locust_otel.exporter.otlp.grpc import GrpcSender  # noqa: PLC0415  # an extra; 20 MiB of memory

        return GrpcSender(signal, target)
    from locust_otel.exporter.otlp.sender import HttpSender  # noqa: PLC0415  # see above

    return HttpSender(signal, target)
