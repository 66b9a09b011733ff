"""A clock for tests, which moves only when a test or the code under test moves it."""

from __future__ import annotations

import gevent


class Clock:
    """A clock and a `sleep` that takes no real time."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Move the clock by these seconds, and let other greenlets run."""
        self.now_s += seconds
        gevent.sleep(0)
