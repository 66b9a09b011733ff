"""The timer that pushes, and what it does about a sink that is dead, slow or lying.

A push has its own greenlet and blocks no other; metrics and events do not wait for each other's answers. Metrics tell
everything since the start, so a push that failed is made up for by the next one and nothing has to be kept for it;
events wait in a queue of bounded length. Where a sink fails, the pauses between tries grow, and one log line says so
when it begins and one when it ends.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any
from uuid import uuid4

import gevent
from gevent.event import Event as GeventEvent
from gevent.pool import Pool
from opentelemetry import context as otel_context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from locust_otel.core.catalogue import Scope
from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED, Event, EventQueue
from locust_otel.core.families import families
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.endpoint.forks import in_child
from locust_otel.exporter.exports import Ledger
from locust_otel.exporter.otlp import logs
from locust_otel.exporter.otlp.metrics import Encoder, Piece
from locust_otel.exporter.otlp.sender import HttpSender, Outcome, Sender
from locust_otel.exporter.otlp.settings import OtlpSettings, Signal, Target

logger = logging.getLogger(__name__)

METRICS, LOGS = "otlp_metrics", "otlp_logs"
"""Values of the label `exporter`."""

FLUSH_S = 2.0
"""Longest last push at the end of the process."""

LATE_S = 4.0
"""An answer that lets wait for longer than this is told of before its time is up."""

_LONGEST_PAUSE_S = 30.0
_PIECES_AT_ONCE = 4  # under way, so that a far sink does not make a push of many pieces last longer than the interval
_LAST_PIECES_AT_ONCE = 8  # users have ended, and there is little time
_A_TURN_S = 1e-6  # to give the loop back; not 0, with which gevent would not look at sockets and timers
_EVENTS_PER_PUSH = 100


@dataclass(slots=True)
class _Circuit:
    """Whether a sink may be tried, and what was told of it."""

    interval_s: float
    failures: int = 0
    not_before: float = 0.0
    is_rejecting: bool = False
    is_late: bool = False
    waits_since: float = 0.0
    slowest_s: float = 0.0
    push: gevent.Greenlet = field(default_factory=lambda: gevent.Greenlet(int))

    @property
    def is_busy(self) -> bool:
        return bool(self.push)  # true from its start to its end

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


class Pusher:
    """Pushes metrics and events of this process.

    Args:
        settings: Where to and how.
        collect: Takes a snapshot.
        scopes: Which metrics this process exports.
        events: Events to push.
        ledger: Told of each push.
        version: Of this package.

    Attributes:
        last_total: Requests of the run in the last push that arrived whole; None before the first.
    """

    def __init__(  # noqa: PLR0913  # what it is to push, and where
        self,
        settings: OtlpSettings,
        collect: Callable[[], Snapshot],
        scopes: frozenset[Scope],
        *,
        events: EventQueue,
        ledger: Ledger,
        version: str,
    ) -> None:
        self.last_total: int | None = None
        self._settings = settings
        self._collect = collect
        self._scopes = scopes
        self._events = events
        self._ledger = ledger
        self._resource = _resource(version)
        self._scope = InstrumentationScope("locust_otel", version)
        self._encoder = Encoder(
            self._resource, version, is_exponential=settings.is_exponential, is_delta=settings.is_delta
        )
        self._senders: dict[str, Sender] = {}
        self._circuits: dict[str, _Circuit] = {}
        self._targets = {METRICS: settings.metrics, LOGS: settings.logs}
        self._wake = GeventEvent()
        self._greenlet: gevent.Greenlet | None = None
        self._is_child = False
        self._run_id = ""

    def start(self) -> None:
        """Start to push. Only after Locust has forked."""
        for exporter, signal in ((METRICS, Signal.METRICS), (LOGS, Signal.LOGS)):
            target = self._targets[exporter]
            if target is not None:
                self._senders[exporter] = make(signal, target)
                self._circuits[exporter] = _Circuit(self._settings.interval_s)
                self._ledger.declare(exporter)
        self._greenlet = gevent.spawn(self._run)
        in_child(self._leave)

    def _leave(self) -> None:
        """Push no more: this is a child, and its numbers stand still."""
        self._is_child = True
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        for exporter, circuit in self._circuits.items():
            target = self._targets[exporter]
            # A call of gRPC cannot be ended here: the threads that would do it were not forked.
            if target is not None and target.protocol != "grpc":
                circuit.push.kill(block=False)

    def stop(self) -> None:
        """Push the last values, for at most `FLUSH_S`, and stop."""
        if self._greenlet is None:
            return
        # What is under way may be waiting for a sink that never answers; what it had is told again by the last push.
        gevent.killall([self._greenlet, *(circuit.push for circuit in self._circuits.values())], timeout=0.2)
        self._greenlet = None
        gevent.joinall(self._begin(is_last=True), timeout=FLUSH_S)
        given_up = [exporter for exporter, circuit in self._circuits.items() if circuit.is_busy]
        for exporter in given_up:
            self._circuits[exporter].push.kill(block=False)
            self._ledger.note(exporter, ok=False, seconds=FLUSH_S)
        if given_up:
            logger.warning("OTLP: the last push found no answer within %g s and was given up", FLUSH_S)
        for sender in self._senders.values():
            sender.shut_down()

    def push_soon(self) -> None:
        """Push now rather than at the next turn: a run has ended."""
        self._wake.set()

    def _run(self) -> None:
        next_turn = monotonic() + self._settings.interval_s
        while True:
            self._wake.wait(max(next_turn - monotonic(), 0))
            self._wake.clear()
            self._begin()
            while next_turn <= monotonic():
                next_turn += self._settings.interval_s

    def _begin(self, *, is_last: bool = False) -> list[gevent.Greenlet]:
        """Begin the pushes that are due, and return their greenlets."""
        begun = []
        for exporter, circuit in self._circuits.items():
            if circuit.is_busy and not is_last:
                self._note_late(exporter, circuit)
            elif is_last or not circuit.is_open():
                circuit.waits_since, circuit.slowest_s = monotonic(), 0.0
                circuit.push = gevent.spawn(self._push, exporter, is_last=is_last)
                begun.append(circuit.push)
        return begun

    def _push(self, exporter: str, *, is_last: bool) -> None:
        try:
            outcome = self._push_metrics(is_last=is_last) if exporter == METRICS else self._push_logs()
        except Exception as error:
            # Nothing may end the pushing for good; what it was counts like any other failure.
            logger.debug("A push over OTLP failed", exc_info=True)
            self._ledger.note(exporter, ok=False, seconds=0.0)
            outcome = Outcome(ok=False, reason=f"a fault of our own, {type(error).__name__}")
        self._note(exporter, outcome)

    def _push_metrics(self, *, is_last: bool) -> Outcome:
        """Push a snapshot, and return what came of all its pieces together."""
        snapshot = self._collect()
        gevent.sleep(_A_TURN_S)  # the first piece takes a turn of the loop of its own
        run = snapshot.run
        if run is not None and run.slo is not None:
            for _ in run.slo.points():  # judged once, and here one at a time
                gevent.sleep(_A_TURN_S)
        if run is not None and run.run_id != self._run_id:
            self._run_id, self.last_total = run.run_id, None
            self._encoder.forget_run()
        outcomes: list[Outcome] = []
        is_alone = not is_last or self._circuits[METRICS].failures > 0

        def push(piece: Piece) -> None:
            outcome = self._send(METRICS, piece.data)
            if outcome.ok:
                self._encoder.acknowledge(piece)
            outcomes.append(outcome)

        under_way = Pool(_LAST_PIECES_AT_ONCE if is_last else _PIECES_AT_ONCE)
        try:
            for piece in self._encoder.pieces(families(snapshot, self._scopes), int(snapshot.time * 1e9)):
                if is_alone and not outcomes:
                    push(piece)  # what a sink that fails says to it, it would say to the others
                else:
                    under_way.spawn(push, piece)
                gevent.sleep(_A_TURN_S)
                if not all(outcome.ok for outcome in outcomes):
                    break  # the next push tells it all
            under_way.join(raise_error=True)
        finally:
            under_way.kill(block=False)
        failure = next((outcome for outcome in outcomes if not outcome.ok), None)
        if failure is not None:
            return failure
        rejected = sum(outcome.rejected for outcome in outcomes)
        if run is not None and not rejected:
            self.last_total = run.requests.total
        return Outcome(ok=True, rejected=rejected, reason=next((o.reason for o in outcomes if o.reason), ""))

    def _push_logs(self) -> Outcome | None:
        """Push the events that wait, and return what came of it; None where none waits."""
        whole: Outcome | None = None
        refused: Outcome | None = None
        rejected = 0
        while events := self._events.peek(_EVENTS_PER_PUSH):
            try:
                records = [logs.record(event, self._resource, self._scope) for event in events]
                outcome = self._send(LOGS, records)
            except Exception:
                self._events.remove(len(events))  # what cannot be encoded now never will, and would hold up the others
                raise
            if outcome.ok or outcome.is_permanent:
                # Refused for good: sent again, they would only be refused again and hold up the others.
                self._events.remove(len(events))
            if not outcome.ok:
                if not outcome.is_permanent:
                    return outcome
                refused = outcome
            rejected += outcome.rejected
            whole = replace(outcome, rejected=rejected)
            gevent.sleep(_A_TURN_S)
        return refused or whole

    def _send(self, exporter: str, data: Any) -> Outcome:
        if self._is_child:
            raise gevent.GreenletExit
        started = monotonic()
        # Locust's --otel instruments requests and urllib3 for everyone: our own pushes are no spans of the test.
        token = otel_context.attach(otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            outcome = self._senders[exporter].send(data)
        finally:
            otel_context.detach(token)
        circuit = self._circuits[exporter]
        circuit.waits_since = monotonic()
        seconds = circuit.waits_since - started
        circuit.slowest_s = max(seconds, circuit.slowest_s)
        self._ledger.note(exporter, ok=outcome.ok, seconds=seconds, rejected=outcome.rejected)
        return outcome

    def _note_late(self, exporter: str, circuit: _Circuit) -> None:
        """Tell of a push that still has no answer; once, until one comes in time again."""
        waiting_s = monotonic() - circuit.waits_since
        if waiting_s > LATE_S and not circuit.is_late:
            circuit.is_late = True
            if not circuit.failures:
                text = f"{exporter} are failing: no answer for {waiting_s:.0f} s"
                self._tell(logging.WARNING, EXPORT_FAILING, text, exporter)

    def _note(self, exporter: str, outcome: Outcome | None) -> None:
        """Take in what came of a push, and tell where that is a change."""
        if outcome is None:
            return
        circuit = self._circuits[exporter]
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
        self._events.add(
            Event(name, text, "WARN" if level == logging.WARNING else "INFO", attributes={"exporter": exporter})
        )


def make(signal: Signal, target: Target) -> Sender:
    """Return the sender of a signal."""
    if target.protocol == "grpc":
        with _grpc_leaves_forks_alone():
            from locust_otel.exporter.otlp.grpc import GrpcSender  # noqa: PLC0415  # 20 MiB that HTTP can do without

            return GrpcSender(signal, target)
    return HttpSender(signal, target)


@contextmanager
def _grpc_leaves_forks_alone() -> Iterator[None]:
    """Have gRPC, which reads this as it is imported, do nothing about forks; what the user has set stands.

    What it does otherwise ended a fifth of the programs that a task of a user ran with SIGABRT, froze children of
    multiprocessing, and closed our own connection (measured 2026-11, grpcio 1.85). No child of ours ever pushes.
    """
    name = "GRPC_ENABLE_FORK_SUPPORT"
    is_set = name in os.environ
    os.environ.setdefault(name, "0")
    try:
        yield
    finally:
        if not is_set:
            del os.environ[name]


def _resource(version: str) -> Resource:
    """Return who tells; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` decide where they say something."""
    ours = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME", "").strip() or "locust",
        "service.version": version,
        "host.name": socket.gethostname(),
        # One a process, made here and so after a fork: two that share one would reject each other's samples.
        "service.instance.id": str(uuid4()),
    }
    asked = {pair.partition("=")[0].strip() for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    if os.environ.get("OTEL_SERVICE_NAME", "").strip():
        asked.discard("service.name")  # which wins over the attribute of that name
    # What the SDK makes up by itself, an instance id for one, is none of what the user asked for.
    return Resource.create({}).merge(Resource({name: value for name, value in ours.items() if name not in asked}))
