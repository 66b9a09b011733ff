"""Limited places in the demo shop, workers and database connections, and the queue before them."""

from __future__ import annotations

import time
from collections import deque

import gevent
from gevent.event import Event

_MAX_OVERSLEPT_S = 0.05  # a machine that stood still is not made up for


class _Turn:
    """One request waiting for a place; `admitted_s` says since when it has it."""

    __slots__ = ("admitted_s", "event")

    def __init__(self) -> None:
        self.event = Event()
        self.admitted_s = 0.0


class Pool:
    """A semaphore in order of arrival whose size can change while it is in use."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._in_use = 0
        self._waiting: deque[_Turn] = deque()
        self._overslept_s = 0.0

    def acquire(self, timeout_s: float) -> bool:
        """Take a place within this many seconds; return False when there was none."""
        if self._in_use < self._size and not self._waiting:
            self._in_use += 1
            return True
        turn = _Turn()
        self._waiting.append(turn)
        turn.event.wait(timeout_s)
        if turn.event.is_set():  # whoever set it has counted us in
            self._oversleep(time.monotonic() - turn.admitted_s)
            return True
        self._waiting.remove(turn)
        return False

    def release(self) -> None:
        """Give a place back."""
        self._in_use -= 1
        self._admit()

    def occupy(self, seconds: float) -> None:
        """Sleep on a place taken.

        The loop wakes about 1 ms late, a quarter of a short query: what one sleep took too long the next
        ones take less, at most half of each, so that the capacity stays what `latency` documents.
        """
        if seconds <= 0:
            return
        paid_s = min(self._overslept_s, seconds / 2)
        self._overslept_s -= paid_s
        started_s = time.monotonic()
        gevent.sleep(seconds - paid_s)
        self._oversleep(time.monotonic() - started_s - (seconds - paid_s))

    def resize(self, size: int) -> None:
        """Change the size; places taken beyond it stay taken until given back."""
        self._size = size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_use < self._size:
            self._in_use += 1
            turn = self._waiting.popleft()
            turn.admitted_s = time.monotonic()
            turn.event.set()

    def _oversleep(self, seconds: float) -> None:
        self._overslept_s = min(_MAX_OVERSLEPT_S, self._overslept_s + seconds)
