"""End of a Locust process, as its events show it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import gevent
from greenlet import getcurrent, greenlet

TERMINATION_GRACE_S = 8.0
"""Seconds left after SIGTERM: containers are killed 10 s after it."""

_LAST_MOMENT_S = 5.0  # more than the first greenlet needs to end the process after its last wait

# Conditions are polled, never waited for with a timeout: if a signal interrupts gevent while it starts a Timeout, the
# Timeout is raised later at a random place, with a traceback.
_POLL_S = 0.05


class Shutdown:
    """State of the end: the greenlet that ends the process, and further signals.

    SIGTERM runs Locust's shutdown in its own greenlet. That ends the runner, so the main greenlet shuts down too. Each
    of them fires `quitting` and then `quit`. The first `quit` waits for scrapers, and the other waits for the first. A
    further signal fires `quitting` in a third greenlet, or raises KeyboardInterrupt in the main one: it ends the wait.
    """

    def __init__(self) -> None:
        self.is_near = False  # the process is about to end
        self._begun = False
        self._signalled_s: float | None = None  # monotonic time of the first signal
        self._first: greenlet | None = None
        self._is_interrupted = False  # a further signal has come
        self._has_ended = False

    def quitting(self) -> None:
        """Note that the current greenlet ends the process: the main one, or that of a signal."""
        self.is_near = True
        current = getcurrent()
        is_signal = current is not gevent.get_hub().parent
        if is_signal and (self._begun or self._signalled_s is not None):
            self._is_interrupted = True
        elif is_signal and self._first is None:
            self._signalled_s, self._first = monotonic(), current
        # Stopped here, because Locust empties its table when it writes --json-file, and would write an empty one next.
        if self._first not in (None, current) and (self._begun or not is_signal):
            self.wait_for_first()
            gevent.sleep(_LAST_MOMENT_S)

    def begin(self) -> bool:
        """Return whether this is the first call."""
        first = not self._begun
        self._begun = self.is_near = True
        self._first = self._first or getcurrent()
        return first

    @property
    def grace_s(self) -> float:
        """Seconds left before a container may be killed; infinite without a signal."""
        return float("inf") if self._signalled_s is None else self._signalled_s + TERMINATION_GRACE_S - monotonic()

    def interrupted(self, timeout_s: float) -> bool:
        """Wait for at most this time, and return whether a further signal has come."""
        until = monotonic() + timeout_s
        try:
            while not self._is_interrupted and (left := until - monotonic()) > 0:
                gevent.sleep(min(left, _POLL_S))
        except KeyboardInterrupt:
            self._is_interrupted = True
        return self._is_interrupted

    def drain(self, quit_runner: Callable[[], object]) -> bool:
        """Let the runner quit, and return whether it has; a further signal ends the wait."""

        def quit_() -> None:
            try:
                quit_runner()
            except KeyboardInterrupt:  # Python raises it in the greenlet that is running
                self._is_interrupted = True

        drained = gevent.spawn(quit_)
        while not drained.ready() and not self.interrupted(_POLL_S):
            pass
        return drained.ready() and not self._is_interrupted

    def wait_for_first(self) -> None:
        """Wait until the first greenlet has ended the process, or has failed."""
        while not self._has_ended and not (self._first is not None and self._first.dead):
            try:
                gevent.sleep(_POLL_S)
            except KeyboardInterrupt:
                self._is_interrupted = True

    def join(self, greenlet: gevent.Greenlet) -> None:
        """Wait for a greenlet that ends in bounded time, despite signals."""
        while not greenlet.ready():
            try:
                greenlet.join()
            except KeyboardInterrupt:
                self._is_interrupted = True

    def end(self) -> None:
        """End the wait of the other greenlets."""
        self._has_ended = True
