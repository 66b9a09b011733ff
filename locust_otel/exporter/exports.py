"""What the outputs did so far: the account behind our own health metrics."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from time import time
from typing import Any

from locust_otel.core.snapshot import ExportCount


class Exports:
    """Counts exports by exporter and outcome; every method may be called from every thread.

    Attributes:
        last_success: When each exporter last succeeded, in Unix time.
        rejected: Points and records that the other side refused of what it took, by exporter.
        save: Called with all of it as bytes after each change, before anybody is shown it; must not wait.
    """

    def __init__(self) -> None:
        self.last_success: dict[str, float] = {}
        self.rejected: dict[str, int] = {}
        self.save: Callable[[bytes], object] = len
        self._counts: dict[tuple[str, str], tuple[int, float]] = {}
        self._lock = Lock()

    def __getstate__(self) -> tuple[Any, ...]:
        with self._lock:
            return self.last_success.copy(), self.rejected.copy(), self._counts.copy()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__()  # type: ignore[misc]
        self.last_success, self.rejected, self._counts = state

    def restore(self, saved: bytes) -> None:
        """Take over what another process has saved."""
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
