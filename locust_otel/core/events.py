"""Events of a run for log collectors, and a rate limit for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic, time

RUN_START = "locust.run.start"
SPAWNING_COMPLETE = "locust.run.spawning_complete"
RUN_STOP = "locust.run.stop"
SLOW_REQUEST = "locust.slow_request"
USER_ERROR = "locust.user_error"
SLO_BURNING = "locust.slo.burning"
SLO_ABORT = "locust.slo.abort"
SLO_VERDICT = "locust.slo.verdict"
MARK = "locust.mark"
EXPORT_FAILING = "locust_otel.export.failing"
EXPORT_RECOVERED = "locust_otel.export.recovered"


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    name: str  # one of the names above
    body: str  # one sentence for people
    severity: str = "INFO"  # or `WARN`, `ERROR`
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)  # the same facts for machines
    timestamp: float = field(default_factory=time)  # Unix time in seconds
    trace_id: str = ""  # 32 hex digits, or empty
    span_id: str = ""  # 16 hex digits, or empty


class RateLimit:
    """Rate limit of one event a second after a burst."""

    def __init__(self, burst: float = 10, clock: Callable[[], float] = monotonic) -> None:
        self._burst = burst
        self._clock = clock
        self._allowance = burst
        self._checked = clock()

    def allows(self) -> bool:
        """Return whether another event is allowed now, and count it if so."""
        now = self._clock()
        self._allowance = min(self._allowance + (now - self._checked), self._burst)
        self._checked = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
