"""Counts of all exports for the health metrics, and the events that wait for a push."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock
from time import time

from locust_otel.core.events import Event
from locust_otel.core.snapshot import ExportCount

MAX_WAITING = 500
"""Events kept until they are pushed; further ones are dropped."""


class Exports:
    """Counts exports by exporter and outcome; every method is thread-safe."""

    def __init__(self) -> None:
        self.last_success: dict[str, float] = {}  # by exporter, in Unix time
        self.rejected: dict[str, int] = {}  # by exporter: points and log records rejected in a partial success
        self.save: Callable[[bytes], object] = len  # called after each change, before a reader sees it; must not wait
        self._counts: dict[tuple[str, str], tuple[int, float]] = {}
        self._lock = Lock()

    def restore(self, saved: bytes) -> None:
        """Continue with the counts that another process has saved."""
        self.last_success, self.rejected, self._counts = pickle.loads(saved)  # noqa: S301  # our own

    def declare(self, exporter: str) -> None:
        """Begin at 0, so that the first failure is an increase."""
        with self._lock:
            for outcome in ("success", "failure"):
                self._counts.setdefault((exporter, outcome), (0, 0.0))
            self.rejected.setdefault(exporter, 0)

    def note(self, exporter: str, *, ok: bool, seconds: float, rejected: int = 0) -> None:
        """Count one export and its duration."""
        with self._lock:
            key = (exporter, "success" if ok else "failure")
            count, total = self._counts.get(key, (0, 0.0))
            self._counts[key] = (count + 1, total + seconds)
            if ok:
                self.last_success[exporter] = time()
            if rejected:
                self.rejected[exporter] = self.rejected.get(exporter, 0) + rejected
            with suppress(OSError):
                self.save(pickle.dumps((self.last_success, self.rejected, self._counts)))

    def counts(self) -> tuple[ExportCount, ...]:
        """Return the counts so far."""
        with self._lock:
            return tuple(ExportCount(*key, count, seconds) for key, (count, seconds) in self._counts.items())


class EventQueue:
    """Events that wait to be pushed; every method is thread-safe."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._waiting = list(events)
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[EventQueue], tuple[list[Event]]]:
        return EventQueue, (self.peek(MAX_WAITING),)

    def add(self, event: Event) -> None:
        """Add an event; drop it if `MAX_WAITING` events wait."""
        with self._lock:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(event)

    def peek(self, limit: int) -> list[Event]:
        """Return the oldest events without removing them."""
        with self._lock:
            return self._waiting[:limit]

    def remove(self, count: int) -> None:
        """Remove the oldest events."""
        with self._lock:
            del self._waiting[:count]
