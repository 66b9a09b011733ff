"""Exports: the events that wait for a push, and the counts of all exports for our health metrics."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from time import time

from locust_otel.core.events import Event
from locust_otel.core.snapshot import ExportCount

MAX_WAITING = 500
"""Events kept until they are pushed; further ones are dropped and counted."""


class Exports:
    """Counts exports by exporter and outcome; every method may be called from every thread."""

    def __init__(self) -> None:
        self.last_success: dict[str, float] = {}  # by exporter, in Unix time
        self.rejected: dict[str, int] = {}  # by exporter: points and log records refused in a partial success
        self.save: Callable[[bytes], object] = len  # called after each change, before anything shows it; must not wait
        self._counts: dict[tuple[str, str], tuple[int, float]] = {}
        self._lock = Lock()

    def restore(self, saved: bytes) -> None:
        """Continue with the counts that another process has saved."""
        self.last_success, self.rejected, self._counts = pickle.loads(saved)  # noqa: S301  # our own

    def declare(self, exporter: str) -> None:
        """Begin at 0, so that the first failure is a change that can be seen."""
        with self._lock:
            for outcome in ("success", "failure"):
                self._counts.setdefault((exporter, outcome), (0, 0.0))
            self.rejected.setdefault(exporter, 0)

    def note(self, exporter: str, *, ok: bool, seconds: float, rejected: int = 0) -> None:
        """Note one export and how long it took."""
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
    """Events that wait to be pushed; every method may be called from every thread."""

    def __init__(self) -> None:
        self.dropped = 0  # events that found no place
        self._waiting: list[Event] = []
        self._lock = Lock()

    def __getstate__(self) -> tuple[int, list[Event]]:
        with self._lock:
            return self.dropped, self._waiting.copy()

    def __setstate__(self, state: tuple[int, list[Event]]) -> None:
        self.dropped, self._waiting = state
        self._lock = Lock()

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
            return self._waiting[:limit]

    def remove(self, count: int) -> None:
        """Remove the events that wait longest, now that they were pushed."""
        with self._lock:
            del self._waiting[:count]
