"""Times several ways to do a thing side by side, so that their ratio says something on a noisy machine.

What is measured: the time of one call of each contestant, in turn, round after round, with the order turned by one in
each round so that nobody always runs after the same neighbour. A round should last a few milliseconds: short enough
that most rounds are not disturbed by another process, long enough that the clock does not matter.

The clock is wall time less what the kernel had us wait for a CPU that another process had (`Stopwatch`): waiting for a
lock, a socket or a disk counts, being pushed aside does not.

What is read from it is `ratio`, the median over the rounds of one contestant's time by another's, each less the time of
a frame around both, such as the loop and the empty `fire` around a listener. Both times of a quotient are milliseconds
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
    _schedstat: FileIO | None = FileIO("/proc/self/schedstat")  # of the main thread, and open for good
except OSError:  # not Linux, or a kernel that keeps no such account
    _schedstat = None


class Stopwatch:
    """Measures seconds on the clock described above, from when it is made."""

    __slots__ = ("_delay_s", "_started")

    def __init__(self) -> None:
        # The order here and below: to be pushed aside between the two readings makes the result longer, never shorter.
        self._started = perf_counter()
        self._delay_s = _delay_s()

    def seconds(self) -> float:
        """Return what has passed."""
        delay_s = _delay_s() - self._delay_s
        return perf_counter() - self._started - delay_s


def _delay_s() -> float:
    """Return how long this thread stood in the kernel's queue for a CPU so far; 0 where that cannot be known."""
    if _schedstat is None:
        return 0.0
    _schedstat.seek(0)
    return int(_schedstat.read().split()[1]) / 1e9


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the thing.

    Attributes:
        run: What is timed.
        after: What puts things in order again after each call, not timed.
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
        """Return how many times the other's time one contestant takes, both less the time of the frame."""
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
