"""Health of the load generator: delays of the event loop, CPU and memory, and delays of the users' tasks.

A simulated user measures a response when its greenlet resumes. If the loop is late, the delay is part of the latency
that Locust reports, and no table shows it. So a probe wakes at fixed times: its delay is the error of every measurement
of that moment.
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
"""Seconds between two wake-ups of the probe: 20 a second, which cost 0.1 % of a core."""

TICKS_JUDGED = 10
"""Seconds of the recent past that decide whether the generator keeps up."""

MAX_LATE_SHARE = 0.1
"""Share of wake-ups that may be late by `LATE_S`."""

LATE_S = 0.1
"""Seconds of delay that make a wake-up late: a person would call such a latency distorted."""

_LEAST_TICKS = 2  # seconds, the fewest whose CPU is meaningful

MAX_CPU_RATIO = 0.9
"""Share of one core above which the loop has no reserve to catch up."""

MAX_LAG_SHARE = 0.05
"""Largest mean delay of the loop, as a share of the requests' mean duration. A request waits for the loop two or three
times: calibrated against a server's own measurements, docs/performance.md."""

LEAST_LAG_S = 0.002
"""Mean delay that is always allowed, however fast the service: an idle machine is hardly better."""

_WORST_LAG = 5  # times the allowed mean; one wake-up counts at most this, since a rare stall is no slow generator

_BOUNDS = layout().bounds

_PACED = "constant_pacing.<locals>.wait_time_func"  # qualified name of what both functions of Locust return
_MARK = "_locust_otel_paced"
_BEGAN = "_locust_otel_task_began"


class _Second(NamedTuple):
    """One second of the recent past."""

    lags_s: tuple[float, ...]  # delay of each wake-up
    cpu: float  # share of a core
    requests: int  # measured so far
    sum_s: float  # of their durations


class Generator:
    """Measures the process in which it runs.

    Args:
        every_second: Called once a second; returns the number of requests measured so far and the sum of their
            durations in seconds.
    """

    def __init__(self, every_second: Callable[[], tuple[int, float]]) -> None:
        self.lag_counts = Counter[int]()  # wake-ups by delay
        self.lag_sum_s = 0.0
        self.cpu_ratio: float | None = None  # share of a core over the last second; None before
        self.memory_bytes: int | None = None  # resident; None before the first second is over
        self.reasons: tuple[str, ...] = ()  # why recent latencies cannot be trusted: `cpu`, `lag`
        self._every_second = every_second
        self._process = psutil.Process()
        self._greenlet: gevent.Greenlet | None = None
        self._is_new_run = False
        self._recent: deque[_Second] = deque(maxlen=TICKS_JUDGED)

    def start(self) -> None:
        """Start to measure. Call it after Locust has forked: a greenlet does not survive a fork."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Stop measuring."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def start_run(self) -> None:
        """Measure a new run: its delays are counted from 0, and the seconds before it are not judged."""
        self.lag_counts = Counter[int]()
        self.lag_sum_s = 0.0
        self._recent.clear()
        self.reasons = ()
        self._is_new_run = True

    def _judge(self) -> tuple[str, ...]:
        """Return why latencies of the last `TICKS_JUDGED` seconds cannot be trusted.

        At the start of a run there are fewer seconds; the missing ones count as calm. Otherwise a busy first second
        would make all of a short run invalid.
        """
        first, last = self._recent[0], self._recent[-1]
        lags_s, wake_ups = self._lags_s(TICKS_JUDGED)
        late = len(lags_s) - bisect_right(lags_s, LATE_S)
        lags_s, recent_wake_ups = self._lags_s(TICKS_JUDGED // 2)  # finds a loop that is always late sooner
        requests = last.requests - first.requests
        mean_s = (last.sum_s - first.sum_s) / requests if requests > 0 else 0.0
        cpu = sum(second.cpu for second in self._recent) / max(len(self._recent), _LEAST_TICKS)
        allowed_s = max(LEAST_LAG_S, MAX_LAG_SHARE * mean_s)
        lag_s = sum(min(lag, _WORST_LAG * allowed_s) for lag in lags_s) / recent_wake_ups
        is_late = late > MAX_LATE_SHARE * wake_ups or lag_s > allowed_s
        return (*(("cpu",) if cpu > MAX_CPU_RATIO else ()), *(("lag",) if is_late else ()))

    def _lags_s(self, seconds: int) -> tuple[list[float], int]:
        """Return the delays of the last seconds, sorted, and the number of wake-ups in so many seconds."""
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
            if self._is_new_run:  # its first second begins here, even if the loop was blocked before
                self._is_new_run = False
                second = due = now
                cpu, lags_s = process_time(), []
                continue
            lag_s = max(now - due, 0.0)
            self.lag_counts[bisect_left(_BOUNDS, lag_s)] += 1
            self.lag_sum_s += lag_s
            missed = int(lag_s / PROBE_INTERVAL_S)  # wake-ups that were due meanwhile; each is as late as this one
            due += missed * PROBE_INTERVAL_S
            lags_s += [lag_s] * (1 + missed)
            if now - second >= 1:
                cpu_now = process_time()
                self.cpu_ratio = (cpu_now - cpu) / (now - second)
                self.memory_bytes = self._process.memory_info().rss
                self._recent.append(_Second(tuple(lags_s), self.cpu_ratio, *self._every_second()))
                self.reasons = self._judge()
                second, cpu, lags_s = now, cpu_now, []


class Pacing:
    """Measures the delay of users against the schedule of `constant_pacing` or `constant_throughput`.

    A user that waits for a slow response starts the next task late, and sends fewer requests while the service is slow.
    The worst latencies are then never measured (coordinated omission), and no table shows it.
    """

    def __init__(self) -> None:
        self.counts = Counter[int]()  # tasks by delay; on time is 0
        self.sum_s = 0.0

    def start_run(self) -> None:
        """Measure a new run, from 0."""
        self.counts = Counter[int]()
        self.sum_s = 0.0

    def instrument(self, user_classes: Iterable[type[Any]]) -> None:
        """Measure the users of these classes that have a schedule.

        Locust has no event for the start of a task, so the `wait_time` of the classes is wrapped, once each.
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
            # Our own clock, since Locust's differs from version to version.
            now, began = perf_counter(), getattr(user, _BEGAN, None)
            if began is not None:
                late_s = max(now - began - interval_s, 0.0)
                self.counts[bisect_left(_BOUNDS, late_s)] += 1
                self.sum_s += late_s
            setattr(user, _BEGAN, now + wait_s)
            return wait_s

        setattr(measured, _MARK, True)
        return measured
