"""The log of slow requests: one structured line each, at a bounded rate, and none on the request path."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from time import monotonic

from locust_otel.recorder import Recorder, SlowRequest

logger = logging.getLogger(__name__)

BURST = 10
"""Lines at once; Locust stops to send a worker's log to the master after 70 lines in 10 seconds."""

LINES_PER_SECOND = 1.0
"""Lines in the long run."""


class SlowLog:
    """Logs the slow requests that a recorder kept.

    Args:
        recorder: Its slow requests are taken.
        worker: Returns the name of this process.
    """

    def __init__(self, recorder: Recorder, worker: Callable[[], str], clock: Callable[[], float] = monotonic) -> None:
        self._recorder = recorder
        self._worker = worker
        self._clock = clock
        self._allowance = float(BURST)
        self._checked = clock()

    def emit(self) -> None:
        """Log as many as the rate allows; the others wait."""
        now = self._clock()
        self._allowance = min(self._allowance + (now - self._checked) * LINES_PER_SECOND, BURST)
        self._checked = now
        waiting = self._recorder.slow_requests
        while waiting and self._allowance >= 1:
            self._allowance -= 1
            dropped, self._recorder.slow_requests_dropped = self._recorder.slow_requests_dropped, 0
            logger.warning(line(waiting.popleft(), self._worker(), dropped))

    def flush(self) -> None:
        """Log what the rate allows at the end, and how many were left out."""
        self.emit()
        left = len(self._recorder.slow_requests) + self._recorder.slow_requests_dropped
        if left:
            self._recorder.slow_requests.clear()
            self._recorder.slow_requests_dropped = 0
            logger.warning("slow requests not_logged=%d", left)


def line(request: SlowRequest, worker: str, not_logged: int) -> str:
    """Return a slow request as `key=value` pairs; text with blanks or quotes in it is quoted as in JSON."""
    fields: dict[str, object] = {
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
    return "slow request " + " ".join(f"{name}={_quoted(value)}" for name, value in fields.items() if value != "")


def _quoted(value: object) -> str:
    text = str(value)
    plain = text.isprintable() and not any(c in ' "=\\' for c in text)
    if plain:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if quoted.isprintable() else json.dumps(text)  # JSON leaves separators and C1 controls as they are
