"""Pools of the demo shop, of workers and of database connections, with a queue for each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.event import AsyncResult

_MAX_OVERSLEPT_S = 0.05  # after a pause of the whole machine, sleeps stay as they are


class Pool:
    """A semaphore that serves in order of arrival; its size can change while it is in use."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._in_use = 0
        self._waiting: deque[AsyncResult] = deque()  # the result is the time at which the request got its place
        self._overslept_s = 0.0

    @contextmanager
    def place(self, timeout_s: float) -> Iterator[bool]:
        """Hold a place in the context; False, without one, if none became free within the timeout."""
        has_place = self._acquire(timeout_s)
        try:
            yield has_place
        finally:
            if has_place:
                self._in_use -= 1
                self._admit()

    def _acquire(self, timeout_s: float) -> bool:
        if self._in_use < self._size and not self._waiting:
            self._in_use += 1
            return True
        turn = AsyncResult()
        self._waiting.append(turn)
        turn.wait(timeout_s)
        if turn.ready():  # `_admit` has counted it in
            self._oversleep(time.monotonic() - turn.value)
            return True
        self._waiting.remove(turn)
        return False

    def occupy(self, seconds: float) -> None:
        """Sleep while holding a place.

        The loop wakes about 1 ms late, a quarter of a short query. The next sleeps are shorter by that time, by at most
        half of each, so that the capacity is that of `latency`.
        """
        if seconds <= 0:
            return
        paid_s = min(self._overslept_s, seconds / 2)
        self._overslept_s -= paid_s
        started_s = time.monotonic()
        gevent.sleep(seconds - paid_s)
        self._oversleep(time.monotonic() - started_s - (seconds - paid_s))

    def resize(self, size: int) -> None:
        """Change the size; places beyond it stay occupied until they are given back."""
        self._size = size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_use < self._size:
            self._in_use += 1
            self._waiting.popleft().set(time.monotonic())

    def _oversleep(self, seconds: float) -> None:
        self._overslept_s = min(_MAX_OVERSLEPT_S, self._overslept_s + seconds)
