"""Burn rates of the error budget of a run, over the windows that the alerting rules use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, Window

_POINTS = 150  # samples in a window, so its length is exact to 0.7 %


class Burning(NamedTuple):
    """A pair of windows in which the budget burns too fast.

    Attributes:
        long_rate: Burn rate over the long window; 1 spends the budget in exactly the period.
        short_rate: Burn rate over the short window.
        factor: Threshold that both rates exceed.
    """

    objective: Objective
    window: Window
    long_rate: float
    short_rate: float
    factor: float


class _Past:
    """Samples of the counts in one window."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._points: deque[tuple[float, tuple[Counts, ...]]] = deque()

    def add(self, now_s: float, counts: tuple[Counts, ...]) -> None:
        if not self._points or now_s - self._points[-1][0] >= self._length_s / _POINTS:
            self._points.append((now_s, counts))
        # One sample from before the window stays, so that the rate is over the whole window even if samples are rare.
        while len(self._points) > 1 and self._points[1][0] <= now_s - self._length_s:
            self._points.popleft()

    def before(self) -> tuple[Counts, ...]:
        return self._points[0][1]


class BurnRates:
    """Burn rates of a run, computed from samples of its counts."""

    def __init__(self, slo: Slo) -> None:
        self._slo = slo
        self._past = {length: _Past(float(length)) for length in slo.spans_s}
        self._now: dict[str, Counts] = {}

    def add(self, now_s: float, counts: Mapping[str, Counts]) -> None:
        """Add the counts by objective at `now_s`, in seconds of a clock that never goes back."""
        self._now = dict(counts)
        values = tuple(counts[objective.name] for objective in self._slo.objectives)
        for past in self._past.values():
            past.add(now_s, values)

    def rate(self, objective: Objective, length_s: Decimal) -> float | None:
        """Return the burn rate over a window of the file; None if no request was judged in it."""
        if objective.budget is None or not self._now:
            return None
        position = self._slo.objectives.index(objective)
        recent = self._now[objective.name].less(self._past[length_s].before()[position])
        return recent.bad / recent.total / float(objective.budget) if recent.total else None

    def burning(self) -> Iterator[Burning]:
        """Yield the pairs of windows that burn now: those for which the alerting rules would fire."""
        for objective in self._slo.objectives:
            if objective.budget is None or not self._is_enough(objective):
                continue
            for window in self._slo.windows:
                factor = float(window.factor(self._slo.period_s))
                long_rate, short_rate = self.rate(objective, window.long_s), self.rate(objective, window.short_s)
                if long_rate is not None and short_rate is not None and min(long_rate, short_rate) > factor:
                    yield Burning(objective, window, long_rate, short_rate, factor)

    def _is_enough(self, objective: Objective) -> bool:
        counts = self._now.get(objective.name)
        return counts is not None and counts.total >= self._slo.min_requests
