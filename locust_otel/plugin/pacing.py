"""How late users begin their tasks, against the schedule that `constant_pacing` or `constant_throughput` gives them.

A user who waits for a slow answer starts the next task late, and asks less often just when the service is slow: the
latencies that would have been worst are never measured. That is coordinated omission, and a table of latencies does
not show it. Here it is a histogram of its own.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from locust_otel.core.histogram import layout

SCHEDULE_LAYOUT = layout()

_PACED = "constant_pacing.<locals>.wait_time_func"  # what both functions of Locust return
_MARK = "_locust_otel_paced"
_BEGAN = "_locust_otel_task_began"


class Pacing:
    """Measures the users of one process.

    Attributes:
        counts: Tasks by how late they began, as `SCHEDULE_LAYOUT` shapes them; on time is 0.
        sum_s: Sum of those delays in seconds.
    """

    def __init__(self) -> None:
        self.counts = SCHEDULE_LAYOUT.empty()
        self.sum_s = 0.0

    def start_run(self) -> None:
        """Measure a new run, from 0."""
        self.counts = SCHEDULE_LAYOUT.empty()
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
