"""What happened, as opposed to how much: events of a run, at a bounded rate, for whoever collects logs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic, time

MAX_WAITING = 500
"""Events kept until they are pushed; further ones are dropped and counted."""

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
    """One event.

    Attributes:
        name: One of the names above.
        body: A sentence for people.
        severity: `INFO`, `WARN` or `ERROR`.
        attributes: The same for machines.
        timestamp: Unix time in seconds.
        trace_id: 32 hex digits, or empty.
        span_id: 16 hex digits, or empty.
    """

    name: str
    body: str
    severity: str = "INFO"
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    timestamp: float = field(default_factory=time)
    trace_id: str = ""
    span_id: str = ""


class EventQueue:
    """Events that wait to be pushed.

    Attributes:
        dropped: Events that found no place.
        listeners: Told of each event, those that found no place too; they must not raise.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.listeners: list[Callable[[Event], None]] = []
        self._waiting: deque[Event] = deque()

    def add(self, event: Event) -> None:
        """Add an event; where too many wait, drop it."""
        for listener in self.listeners:
            listener(event)
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
        else:
            self._waiting.append(event)

    def peek(self, limit: int) -> list[Event]:
        """Return the events that wait longest, and leave them there."""
        return [event for event, _ in zip(self._waiting, range(limit), strict=False)]

    def remove(self, count: int) -> None:
        """Remove the events that wait longest, now that they were pushed."""
        for _ in range(min(count, len(self._waiting))):
            self._waiting.popleft()


class RateLimit:
    """Allows a burst, and a steady rate in the long run.

    Args:
        burst: How many at once.
        per_second: How many in the long run.
    """

    def __init__(self, burst: float = 10, per_second: float = 1.0, clock: Callable[[], float] = monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._allowance = burst
        self._checked = clock()

    def allows(self) -> bool:
        """Return whether one more is allowed now, and count it if so."""
        now = self._clock()
        self._allowance = min(self._allowance + (now - self._checked) * self._per_second, self._burst)
        self._checked = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
