"""The log of slow requests: a structured line and an event for each one, at a limited rate."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from locust_otel.core.events import SLOW_REQUEST, Event, RateLimit
from locust_otel.core.snapshot import SlowRequest, Snapshot
from locust_otel.exporter.output import Output
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Session

logger = logging.getLogger(__name__)

BURST = 10
"""Lines at once, then one a second; Locust stops sending a worker's log to the master after 70 lines in 10 seconds."""

MAX_WAITING = 20
"""Number of the newest slow requests that wait for their line; older ones are only counted."""


@dataclass(slots=True)
class _Kept:
    """State for a successor."""

    waiting: deque[tuple[str, str, SlowRequest]] = field(default_factory=deque)  # run, worker and request
    not_logged: int = 0  # slow requests since the last line that get no line


class SlowLog(Output):
    """Logs the slow requests in reports."""

    adds_events = True

    def __init__(self, session: Session, clock: Callable[[], float] = monotonic) -> None:
        self._session = session
        self._kept = session.keep("slow_log", _Kept())
        self._rate = RateLimit(BURST, clock)

    def take(self, worker: str, requests: Sequence[SlowRequest], dropped: int) -> None:
        """Take the slow requests in a worker's report, and the number of those that the worker dropped."""
        with self._session.lock:
            kept, run = self._kept, self._session.run
            run_id = run.run_id if run is not None else ""
            kept.waiting += [(run_id, worker, request) for request in requests]
            kept.not_logged += dropped
            while len(kept.waiting) > MAX_WAITING:
                kept.waiting.popleft()
                kept.not_logged += 1

    def collect(self, snapshot: Snapshot) -> None:  # noqa: ARG002
        """Log as many as the rate allows."""
        self.emit()

    def finish(self, run: Run) -> None:  # noqa: ARG002
        """Log as many as the rate allows, and the number of the others."""
        with self._session.lock:
            self.emit()
            left = len(self._kept.waiting) + self._kept.not_logged
            self._kept.waiting.clear()
            self._kept.not_logged = 0
        if left:
            logger.warning("slow requests not_logged=%d", left)

    def emit(self) -> None:
        """Log as many as the rate allows; the others wait."""
        with self._session.lock:
            kept = self._kept
            while kept.waiting and self._rate.allows():
                run_id, worker, request = kept.waiting.popleft()
                values = fields(request, run_id, worker, kept.not_logged)
                kept.not_logged = 0
                text = line(values)
                logger.warning(text)
                about = (request.timestamp, request.trace_id, request.span_id)
                self._session.add_event(Event(SLOW_REQUEST, text, "WARN", values, *about))


def line(values: Mapping[str, str | float]) -> str:
    """Return the fields of a slow request as `key=value` pairs; ambiguous text is quoted as in JSON."""
    return "slow request " + " ".join(f"{name}={_quoted(value)}" for name, value in values.items())


def fields(request: SlowRequest, run_id: str, worker: str, not_logged: int) -> dict[str, str | float]:
    """Return the fields of a slow request, without empty ones."""
    values: dict[str, str | float] = {
        "run_id": run_id,
        "name": request.key.name,
        "method": request.key.method,
        "duration_s": round(request.duration_s, 3),
        "status": request.status,
        "outcome": request.key.outcome,
        "user_class": request.key.user_class,
        "worker": worker,
        "trace_id": request.trace_id,
        "not_logged": not_logged or "",
    }
    return {name: value for name, value in values.items() if value != ""}


def _quoted(value: object) -> str:
    text = str(value)
    if text.isprintable() and not set(text) & set(' "=\\'):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(text)  # JSON does not escape separators and C1 controls
