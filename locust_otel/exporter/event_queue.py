"""Events that wait to be pushed."""

from __future__ import annotations

from collections import deque
from itertools import islice
from threading import Lock

from locust_otel.core.events import Event

MAX_WAITING = 500
"""Events kept until they are pushed; further ones are dropped and counted."""


class EventQueue:
    """Events that wait to be pushed; every method may be called from every thread.

    Attributes:
        dropped: Events that found no place.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: deque[Event] = deque()
        self._lock = Lock()

    def __getstate__(self) -> tuple[int, list[Event]]:
        with self._lock:
            return self.dropped, list(self._waiting)

    def __setstate__(self, state: tuple[int, list[Event]]) -> None:
        self.dropped, waiting = state
        self._waiting, self._lock = deque(waiting), Lock()

    def add(self, event: Event) -> None:
        """Add an event; where too many wait, drop it."""
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                self.dropped += 1
            else:
                self._waiting.append(event)

    def peek(self, limit: int) -> list[Event]:
        """Return the events that wait longest, and leave them there."""
        with self._lock:
            return list(islice(self._waiting, limit))

    def remove(self, count: int) -> None:
        """Remove the events that wait longest, now that they were pushed."""
        with self._lock:
            for _ in range(min(count, len(self._waiting))):
                self._waiting.popleft()
