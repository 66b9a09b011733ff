"""Virtual time: greenlets sleep and wait in no real time, with the interface of gevent.

The classes of the demo shop run on it unchanged: `patched` replaces `time` and `gevent` in their modules by `Clock`. A
second of the shop takes as long as its computations.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

from greenlet import getcurrent, greenlet

from locust_otel.demo import pool, shop_server


class Clock:
    """Event loop in virtual time, with the interfaces of the modules `time` and `gevent`.

    Attributes:
        now_s: Virtual seconds since the start.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._hub = getcurrent()

    def monotonic(self) -> float:
        """Return the virtual time."""
        return self.now_s

    def sleep(self, seconds: float = 0.0) -> None:
        """Wait for virtual seconds, while other greenlets run."""
        self.call_at(self.now_s + seconds, getcurrent().switch)
        self._hub.switch()

    def call_at(self, time_s: float, function: Callable[[], object]) -> None:
        """Call a function at a virtual time."""
        heapq.heappush(self._due, (time_s, next(self._order), function))

    def spawn(self, function: Callable[[], object]) -> None:
        """Run a function in a new greenlet."""
        self.call_at(self.now_s, greenlet(function, self._hub).switch)

    def pause(self) -> None:
        """Wait until another greenlet switches back."""
        self._hub.switch()

    def run(self, until_s: float) -> None:
        """Run everything that is due before a virtual time."""
        while self._due and self._due[0][0] < until_s:
            self.now_s, _, function = heapq.heappop(self._due)
            function()
        self.now_s = until_s

    def result(self) -> Result:
        """Return an object with the interface of `gevent.event.AsyncResult`."""
        return Result(self)


class Result:
    """Value that one greenlet waits for, and another one sets; None before."""

    def __init__(self, clock: Clock) -> None:
        self.value: Any = None
        self._clock = clock
        self._waiter: Any = None

    def ready(self) -> bool:
        """Return whether the value is set."""
        return self.value is not None

    def set(self, value: Any) -> None:
        """Set the value, and wake the greenlet that waits for it."""
        self.value = value
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._clock.call_at(self._clock.now_s, waiter.switch)

    def wait(self, timeout_s: float) -> None:
        """Wait until the value is set, or for the timeout."""
        if not self.ready():
            me = self._waiter = getcurrent()

            def give_up() -> None:
                if self._waiter is me:
                    self._waiter = None
                    me.switch()

            self._clock.call_at(self._clock.now_s + timeout_s, give_up)
            self._clock.pause()


@contextmanager
def patched(clock: Clock) -> Iterator[None]:
    """Run the shop in virtual time."""
    with (
        patch.object(pool, "time", clock),
        patch.object(pool, "gevent", clock),
        patch.object(pool, "AsyncResult", clock.result),
        patch.object(shop_server, "time", clock),
        patch.object(shop_server, "gevent", clock),
    ):
        yield
