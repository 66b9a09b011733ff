"""How the generating process itself is: how late its event loop runs, its CPU, its memory.

A simulated user measures a response when its greenlet is resumed. Where the loop is late, that delay is part of the
latency Locust reports, and no table shows it. So the loop is asked to wake a probe at fixed times, and how late the
probe wakes is what every measurement of that moment is off by.
"""

from __future__ import annotations

import socket
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from time import monotonic, process_time

import gevent
import psutil

from locust_otel.histogram import layout
from locust_otel.snapshot import WorkerSnapshot

PROBE_INTERVAL_S = 0.05
"""How often the loop is asked to wake the probe: 20 times a second, 0.1 % of a core."""

TICKS_JUDGED = 10
"""Seconds of the recent past that decide whether the generator keeps up."""

MAX_LATE_SHARE = 0.1
"""Share of wake-ups that may be late by `LATE_S`."""

LATE_S = 0.1
"""Seconds of delay that make a wake-up late: what a person would call a distorted latency."""

_LEAST_TICKS = 2  # seconds whose CPU says anything

MAX_CPU_RATIO = 0.95
"""Share of one core above which the loop has nothing left to catch up with."""

LAG_LAYOUT = layout()


class Generator:
    """Measures the process it runs in.

    Args:
        every_second: Called once a second from the same greenlet; must not give the loop back for long.
    """

    def __init__(self, every_second: Callable[[], None]) -> None:
        self.lag_counts = LAG_LAYOUT.empty()
        self.lag_sum_s = 0.0
        self.cpu_ratio: float | None = None
        self.memory_bytes: int | None = None
        self._every_second = every_second
        self._process = psutil.Process()
        self._greenlet: gevent.Greenlet | None = None
        self._is_new_run = False
        # Of each recent second: wake-ups, late ones among them, and the share of a core.
        self._recent: deque[tuple[int, int, float]] = deque(maxlen=TICKS_JUDGED)

    def start(self) -> None:
        """Start to measure. Only after Locust has forked: a greenlet does not survive that."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Stop measuring."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def start_run(self) -> None:
        """Measure a new run: like all its series, those of the delays begin at 0, and nothing before it counts."""
        self.lag_counts = LAG_LAYOUT.empty()
        self.lag_sum_s = 0.0
        self._recent.clear()
        self._is_new_run = True

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why latencies of the last `TICKS_JUDGED` seconds cannot be believed: `cpu`, `lag`; empty where they can.

        At the start of a run, where there are fewer, those to come count as calm ones: its busy first second would
        make a run of some seconds invalid as a whole.
        """
        probes = max(sum(n for n, _, _ in self._recent), TICKS_JUDGED / PROBE_INTERVAL_S)
        late = sum(n for _, n, _ in self._recent)
        cpu = sum(ratio for _, _, ratio in self._recent) / max(len(self._recent), _LEAST_TICKS)
        return (*(("cpu",) if cpu > MAX_CPU_RATIO else ()), *(("lag",) if late > MAX_LATE_SHARE * probes else ()))

    def snapshot(self, worker: str, users: int) -> WorkerSnapshot:
        """Return what is measured so far."""
        return WorkerSnapshot(
            worker=worker,
            cpu_ratio=self.cpu_ratio,
            memory_bytes=self.memory_bytes,
            users=users,
            lag_layout=LAG_LAYOUT,
            lag_counts=self.lag_counts[:],
            lag_sum_s=self.lag_sum_s,
            reasons=self.reasons,
        )

    def _run(self) -> None:
        second = due = monotonic()
        cpu, probes, late = process_time(), 0, 0
        while True:
            due += PROBE_INTERVAL_S
            gevent.sleep(max(due - monotonic(), 0))
            now = monotonic()
            if self._is_new_run:  # its second begins here, whatever kept the loop before
                self._is_new_run = False
                second = due = now
                cpu, probes, late = process_time(), 0, 0
                continue
            lag = now - due
            self.lag_counts[bisect_left(LAG_LAYOUT.bounds, max(lag, 0.0))] += 1
            self.lag_sum_s += max(lag, 0.0)
            missed = int(lag / PROBE_INTERVAL_S)  # wake-ups that fell due meanwhile, each as late as this one
            due += missed * PROBE_INTERVAL_S
            probes += 1 + missed
            late += 1 + missed if lag > LATE_S else 0
            if now - second >= 1:
                cpu_now = process_time()
                self.cpu_ratio = (cpu_now - cpu) / (now - second)
                self.memory_bytes = self._process.memory_info().rss
                self._recent.append((probes, late, self.cpu_ratio))
                second, cpu, probes, late = now, cpu_now, 0, 0
                self._every_second()


def host_name() -> str:
    """Return the name of this machine, as Locust begins its client ids with it."""
    return socket.gethostname()
