"""How a Locust process ends, as far as one can tell from its events."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import gevent
from gevent.event import Event
from greenlet import getcurrent, greenlet

TERMINATION_GRACE_S = 8.0
"""Seconds that SIGTERM leaves: containers are killed ten seconds after it."""

_LAST_MOMENT_S = 5.0  # more than it takes whoever ends the process to end it, once that is all that is left to do

# Looked at that often, and never waited for with a timeout: where a signal hits gevent as it starts a Timeout, that is
# raised later on, out of nowhere and with a traceback.
_LOOK_S = 0.05


class Shutdown:
    """Who ends the process, and whether somebody wants it ended sooner.

    SIGTERM runs Locust's shutdown in a greenlet of its own, and as that ends the runner, in the main greenlet too: each
    fires `quitting` and then `quit`. The first `quit` waits for scrapers, the other waits for it. A further signal
    fires `quitting` from yet another greenlet, or raises KeyboardInterrupt in the main one: it ends the waiting.
    """

    def __init__(self) -> None:
        self.is_near = False  # the process is about to end
        self._begun = False
        self._signalled: float | None = None
        self._first: greenlet | None = None
        self._interrupt = Event()
        self._ended = Event()

    def quitting(self) -> None:
        """Note that somebody ends the process, and whether that is a signal, or a further one."""
        self.is_near = True
        current = getcurrent()
        is_signal = current is not gevent.get_hub().parent
        if is_signal and (self._begun or self._signalled is not None):
            self._interrupt.set()
        elif is_signal and self._first is None:
            self._signalled, self._first = monotonic(), current
        # Stopped here: Locust empties its table as it writes --json-file, and would write it a second time, empty.
        if self._first not in (None, current) and (self._begun or not is_signal):
            self.wait_for_first()
            gevent.sleep(_LAST_MOMENT_S)

    def begin(self) -> bool:
        """Return whether this is the first to end it."""
        first = not self._begun
        self._begun = self.is_near = True
        self._first = self._first or getcurrent()
        return first

    @property
    def grace_s(self) -> float:
        """Seconds left before somebody may kill us."""
        return float("inf") if self._signalled is None else self._signalled + TERMINATION_GRACE_S - monotonic()

    def interrupted(self, timeout_s: float) -> bool:
        """Wait, and return whether a further signal came."""
        until = monotonic() + timeout_s
        try:
            while not self._interrupt.is_set() and (left := until - monotonic()) > 0:
                gevent.sleep(min(left, _LOOK_S))
        except KeyboardInterrupt:
            self._interrupt.set()
        return bool(self._interrupt.is_set())

    def drain(self, quit_runner: Callable[[], object]) -> bool:
        """Have the runner quit, and return whether it has; a further signal ends the waiting."""

        def quit_() -> None:
            try:
                quit_runner()
            except KeyboardInterrupt:  # Python throws it into whatever runs at the moment
                self._interrupt.set()

        drained = gevent.spawn(quit_)
        while not drained.ready() and not self.interrupted(0.05):
            pass
        return drained.ready() and not self._interrupt.is_set()

    def wait_for_first(self) -> None:
        """Wait until who was first has ended it."""
        while not self._ended.is_set() and not (self._first is not None and self._first.dead):
            try:
                gevent.sleep(_LOOK_S)
            except KeyboardInterrupt:
                self._interrupt.set()

    def join(self, greenlet: gevent.Greenlet) -> None:
        """Wait for what is bounded in itself, whatever signals come."""
        while not greenlet.ready():
            try:
                greenlet.join()
            except KeyboardInterrupt:
                self._interrupt.set()

    def end(self) -> None:
        """Let those go on that wait for the first."""
        self._ended.set()
