"""Times several ways to do a thing side by side, so that their ratio is valid on a noisy machine.

A round times one call of each contestant in turn. The order is rotated in each round, so that no contestant always runs
after the same one. A round should last a few milliseconds: short enough that another process rarely disturbs it, long
enough for the resolution of the clock.

The clock is wall time without the time in which the kernel let us wait for a CPU (`Stopwatch`): waiting for a lock, a
socket or a disk counts, waiting for a CPU does not.

The result is `ratio`, the median over the rounds of one contestant's time by another's, each without the time of a
frame around both, such as the loop and the empty `fire` around a listener. Both times of a quotient are milliseconds
apart, so a machine that is slow for a second is slow for both. Measured 2026-11, 2 shared cores: within 4 % from run to
run.

https://docs.kernel.org/scheduler/sched-stats.html (/proc/<pid>/schedstat)
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import FileIO
from statistics import median
from time import perf_counter

try:
    _schedstat: FileIO | None = FileIO("/proc/self/schedstat")  # of the main thread; never closed
except OSError:  # not Linux, or a kernel without these statistics
    _schedstat = None


class Stopwatch:
    """Measures seconds since its construction, on the clock described above."""

    __slots__ = ("_delay_s", "_started")

    def __init__(self) -> None:
        # The order here and below: a wait for a CPU between the two readings makes the result longer, never shorter.
        self._started = perf_counter()
        self._delay_s = _delay_s()

    def seconds(self) -> float:
        """Return the seconds so far."""
        delay_s = _delay_s() - self._delay_s
        return perf_counter() - self._started - delay_s


def _delay_s() -> float:
    """Return the seconds in which this thread has waited for a CPU so far; 0 if the kernel does not count them."""
    if _schedstat is None:
        return 0.0
    _schedstat.seek(0)
    return int(_schedstat.read().split()[1]) / 1e9


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the thing.

    Attributes:
        run: The function to time.
        after: A function that is called after each call, and is not timed.
    """

    run: Callable[[], object]
    after: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each round by contestant; the n-th of all were measured side by side."""

    rounds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median round in seconds."""
        return median(self.rounds[name])

    def ratio(self, name: str, other: str, frame: str) -> float:
        """Return one contestant's time divided by the other's, both without the time of the frame."""
        rounds = zip(self.rounds[name], self.rounds[other], self.rounds[frame], strict=True)
        return median((mine - frame_s) / (others - frame_s) for mine, others, frame_s in rounds)


def race(contestants: Mapping[str, Contestant], rounds: int) -> Timings:
    """Time every contestant once a round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    gc.collect()
    for number in range(-1, rounds):
        for name in names:
            contestant = contestants[name]
            run = contestant.run
            watch = Stopwatch()
            run()
            elapsed = watch.seconds()
            contestant.after()
            if number >= 0:
                seconds[name].append(elapsed)
        names.append(names.pop(0))
    return Timings(seconds)
