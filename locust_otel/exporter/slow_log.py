"""The log of slow requests: one structured line and one event each, at a bounded rate, and none on the request path."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from time import monotonic

from locust_otel.core.events import SLOW_REQUEST, Event, EventQueue, RateLimit
from locust_otel.plugin.recorder import Recorder, SlowRequest

logger = logging.getLogger(__name__)

BURST = 10
"""Lines at once; Locust stops to send a worker's log to the master after 70 lines in 10 seconds."""

LINES_PER_SECOND = 1.0
"""Lines in the long run."""


class SlowLog:
    """Logs the slow requests that a recorder kept.

    Args:
        recorder: Its slow requests are taken.
        events: Where the events go.
        origin: Returns the run and the name of this process.
    """

    def __init__(
        self,
        recorder: Recorder,
        events: EventQueue,
        origin: Callable[[], tuple[str, str]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._recorder = recorder
        self._events = events
        self._origin = origin
        self._rate = RateLimit(BURST, LINES_PER_SECOND, clock)

    def emit(self) -> None:
        """Log as many as the rate allows; the others wait."""
        waiting = self._recorder.slow_requests
        while waiting and self._rate.allows():
            dropped, self._recorder.slow_requests_dropped = self._recorder.slow_requests_dropped, 0
            request = waiting.popleft()
            known = fields(request, *self._origin(), dropped)
            text = line(known)
            logger.warning(text)
            self._events.add(
                Event(
                    SLOW_REQUEST,
                    text,
                    "WARN",
                    known,
                    timestamp=request.timestamp,
                    trace_id=request.trace_id,
                    span_id=request.span_id,
                )
            )

    def flush(self) -> None:
        """Log what the rate allows at the end, and how many were left out."""
        self.emit()
        left = len(self._recorder.slow_requests) + self._recorder.slow_requests_dropped
        if left:
            self._recorder.slow_requests.clear()
            self._recorder.slow_requests_dropped = 0
            logger.warning("slow requests not_logged=%d", left)


def line(known: Mapping[str, str | float]) -> str:
    """Return what is known of a slow request as `key=value` pairs; text that could be misread is quoted as in JSON."""
    return "slow request " + " ".join(f"{name}={_quoted(value)}" for name, value in known.items())


def fields(request: SlowRequest, run_id: str, worker: str, not_logged: int) -> dict[str, str | float]:
    """Return what is known of a slow request, without what is empty."""
    known: dict[str, str | float] = {
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
    return {name: value for name, value in known.items() if value != ""}


def _quoted(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c in ' "=\\' for c in text)
    if plain:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(text)  # JSON leaves separators and C1 controls as they are
