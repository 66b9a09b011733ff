"""How well load is generated: how late the event loop runs, CPU and memory, and how late users begin their tasks.

A simulated user measures a response when its greenlet is resumed. Where the loop is late, that delay is part of the
latency Locust reports, and no table shows it. So the loop is asked to wake a probe at fixed times, and how late the
probe wakes is what every measurement of that moment is off by.
"""

from __future__ import annotations

import functools
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable
from time import monotonic, perf_counter, process_time
from typing import Any, NamedTuple

import gevent
import psutil

from locust_otel.core.histogram import layout

PROBE_INTERVAL_S = 0.05
"""How often the loop is asked to wake the probe: 20 times a second, 0.1 % of a core."""

TICKS_JUDGED = 10
"""Seconds of the recent past that decide whether the generator keeps up."""

MAX_LATE_SHARE = 0.1
"""Share of wake-ups that may be late by `LATE_S`."""

LATE_S = 0.1
"""Seconds of delay that make a wake-up late: what a person would call a distorted latency."""

_LEAST_TICKS = 2  # seconds whose CPU says anything

MAX_CPU_RATIO = 0.9
"""Share of one core above which the loop has nothing left to catch up with."""

MAX_LAG_SHARE = 0.05
"""Mean delay of the loop, as a share of the requests' mean duration, above which those are not believed. A request
waits for the loop two or three times: calibrated against a server's own measurements, docs/performance.md."""

LEAST_LAG_S = 0.002
"""Mean delay below which nothing is said, however fast the service: an idle machine is hardly better than that."""

_WORST_LAG = 5  # times the mean allowed that one wake-up counts at the most: a rare stall is not a slow generator

LAG_LAYOUT = layout()
SCHEDULE_LAYOUT = layout()

_PACED = "constant_pacing.<locals>.wait_time_func"  # what both functions of Locust return
_MARK = "_locust_otel_paced"
_BEGAN = "_locust_otel_task_began"


class _Second(NamedTuple):
    """One second of the recent past."""

    lags_s: tuple[float, ...]  # how late each wake-up was
    cpu: float  # share of a core
    requests: int  # measured so far
    sum_s: float  # of their durations


class Generator:
    """Measures the process it runs in.

    Args:
        every_second: Called once a second; returns the number of requests measured so far and the sum of their
            durations in seconds.
    """

    def __init__(self, every_second: Callable[[], tuple[int, float]]) -> None:
        self.lag_counts = Counter[int]()  # wake-ups by delay
        self.lag_sum_s = 0.0
        self.cpu_ratio: float | None = None  # share of a core over the last second; None before
        self.memory_bytes: int | None = None  # resident; None before the first second is over
        self._every_second = every_second
        self._process = psutil.Process()
        self._greenlet: gevent.Greenlet | None = None
        self._is_new_run = False
        self._recent: deque[_Second] = deque(maxlen=TICKS_JUDGED)
        self.reasons: tuple[str, ...] = ()  # why recent latencies cannot be believed: `cpu`, `lag`

    def start(self) -> None:
        """Start to measure. Only after Locust has forked: a greenlet does not survive that."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Stop measuring."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def start_run(self) -> None:
        """Measure a new run: like all its series, those of the delays begin at 0, and nothing before it counts."""
        self.lag_counts = Counter[int]()
        self.lag_sum_s = 0.0
        self._recent.clear()
        self.reasons = ()
        self._is_new_run = True

    def _judged(self) -> tuple[str, ...]:
        """Return why latencies of the last `TICKS_JUDGED` seconds cannot be believed.

        At the start of a run, where there are fewer, those to come count as calm ones: its busy first second would
        make a run of some seconds invalid as a whole.
        """
        first, last = self._recent[0], self._recent[-1]
        lags_s, wake_ups = self._lags_s(TICKS_JUDGED)
        late = len(lags_s) - bisect_right(lags_s, LATE_S)
        lags_s, few = self._lags_s(TICKS_JUDGED // 2)  # a loop that is always late is so soon
        requests = last.requests - first.requests
        mean_s = (last.sum_s - first.sum_s) / requests if requests > 0 else 0.0
        cpu = sum(second.cpu for second in self._recent) / max(len(self._recent), _LEAST_TICKS)
        allowed_s = max(LEAST_LAG_S, MAX_LAG_SHARE * mean_s)
        lag_s = sum(min(lag, _WORST_LAG * allowed_s) for lag in lags_s) / few
        is_late = late > MAX_LATE_SHARE * wake_ups or lag_s > allowed_s
        return (*(("cpu",) if cpu > MAX_CPU_RATIO else ()), *(("lag",) if is_late else ()))

    def _lags_s(self, seconds: int) -> tuple[list[float], int]:
        """Return the delays of the last seconds, sorted, and the number of wake-ups these are of."""
        recent = list(self._recent)[-seconds:]
        lags_s = sorted(lag for second in recent for lag in second.lags_s)
        return lags_s, max(len(lags_s), int(seconds / PROBE_INTERVAL_S))

    def _run(self) -> None:
        second = due = monotonic()
        cpu, lags_s = process_time(), list[float]()
        while True:
            due += PROBE_INTERVAL_S
            gevent.sleep(max(due - monotonic(), 0))
            now = monotonic()
            if self._is_new_run:  # its second begins here, whatever kept the loop before
                self._is_new_run = False
                second = due = now
                cpu, lags_s = process_time(), []
                continue
            lag = now - due
            self.lag_counts[bisect_left(LAG_LAYOUT.bounds, max(lag, 0.0))] += 1
            self.lag_sum_s += max(lag, 0.0)
            missed = int(lag / PROBE_INTERVAL_S)  # wake-ups that fell due meanwhile, each as late as this one
            due += missed * PROBE_INTERVAL_S
            lags_s += [max(lag, 0.0)] * (1 + missed)
            if now - second >= 1:
                cpu_now = process_time()
                self.cpu_ratio = (cpu_now - cpu) / (now - second)
                self.memory_bytes = self._process.memory_info().rss
                self._recent.append(_Second(tuple(lags_s), self.cpu_ratio, *self._every_second()))
                self.reasons = self._judged()
                second, cpu, lags_s = now, cpu_now, []


class Pacing:
    """Measures how late users begin, against the schedule of `constant_pacing` or `constant_throughput`.

    A user who waits for a slow answer starts the next task late, and asks less often just when the service is slow: the
    latencies that would have been worst are never measured (coordinated omission), and a table does not show it.
    """

    def __init__(self) -> None:
        self.counts = Counter[int]()  # tasks by how late they began; on time is 0
        self.sum_s = 0.0

    def start_run(self) -> None:
        """Measure a new run, from 0."""
        self.counts = Counter[int]()
        self.sum_s = 0.0

    def instrument(self, user_classes: Iterable[type[Any]]) -> None:
        """Measure the users of these classes that have a schedule.

        Locust has no event for the start of a task, so the classes' own `wait_time` is wrapped, once each.
        """
        for user_class in user_classes:
            wait_time = getattr(user_class, "wait_time", None)
            if getattr(wait_time, "__qualname__", "") == _PACED and not hasattr(wait_time, _MARK):
                user_class.wait_time = self._measured(wait_time)

    def _measured(self, wait_time: Any) -> Callable[[Any], float]:
        interval_s: float = wait_time.__closure__[0].cell_contents

        @functools.wraps(wait_time)
        def measured(user: Any) -> float:
            wait_s: float = wait_time(user)
            # On a clock of our own: Locust's is another one from version to version.
            now, began = perf_counter(), getattr(user, _BEGAN, None)
            if began is not None:
                late_s = max(now - began - interval_s, 0.0)
                self.counts[bisect_left(SCHEDULE_LAYOUT.bounds, late_s)] += 1
                self.sum_s += late_s
            setattr(user, _BEGAN, now + wait_s)
            return wait_s

        setattr(measured, _MARK, True)
        return measured
