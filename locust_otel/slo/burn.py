"""How fast the budget of a run burns, over the windows the rules use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, Window

_POINTS = 150  # of a window, which is so known to within 0.7 % of its length


class Burning(NamedTuple):
    """A pair of windows that burns.

    Attributes:
        long_rate: Burn rate over the long window: 1 spends the budget of the period in just the period.
        short_rate: The same over the short one.
        factor: What both are above.
    """

    objective: Objective
    window: Window
    long_rate: float
    short_rate: float
    factor: float


class _Past:
    """Counts of the recent past, as far as one window looks back."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._points: deque[tuple[float, tuple[Counts, ...]]] = deque()

    def add(self, now_s: float, counts: tuple[Counts, ...]) -> None:
        if not self._points or now_s - self._points[-1][0] >= self._length_s / _POINTS:
            self._points.append((now_s, counts))
        # One point from before the window stays: what is looked at is as long as the window, even where few looks are.
        while len(self._points) > 1 and self._points[1][0] <= now_s - self._length_s:
            self._points.popleft()

    def before(self) -> tuple[Counts, ...]:
        return self._points[0][1]


class BurnRates:
    """Burn rates of a run, from counts as they come."""

    def __init__(self, slo: Slo) -> None:
        self._slo = slo
        self._past = {length: _Past(float(length)) for length in slo.spans_s}
        self._now: dict[str, Counts] = {}

    def add(self, now_s: float, counts: Mapping[str, Counts]) -> None:
        """Note the counts by objective of now, which is in seconds on a clock that never goes back."""
        self._now = dict(counts)
        values = tuple(counts[objective.name] for objective in self._slo.objectives)
        for past in self._past.values():
            past.add(now_s, values)

    def rate(self, objective: Objective, length_s: Decimal) -> float | None:
        """Return the burn rate over one of the file's windows; None where nothing was judged within."""
        if objective.budget is None or not self._now:
            return None
        position = self._slo.objectives.index(objective)
        recent = self._now[objective.name].less(self._past[length_s].before()[position])
        return recent.bad / recent.total / float(objective.budget) if recent.total else None

    def burning(self) -> Iterator[Burning]:
        """Yield the pairs that burn now: those whose alert the rules would fire."""
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
