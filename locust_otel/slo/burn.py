"""Burn rates of the error budget of a run over the windows of the alerting rules; default windows of a period.

The SRE workbook pairs a long window with a short one and requires a burn rate in both. Its windows of hours are for a
budget of 30 days. A load test may be shorter than an hour, so the windows of a short period are shares of it.
https://sre.google/workbook/alerting-on-slos/
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, Window, plain

MIN_SCRAPES = 4
"""Scrapes in the shortest window: with fewer, one failed scrape leaves no rate."""

_DAY_S = 86400
_WORKBOOK = (("critical", 3600, 300, "14.4"), ("critical", 21600, 1800, "6"), ("warning", 259200, 21600, "1"))
_SHARES = (("critical", 15, "0.2"), ("warning", 3, "0.5"))
"""Severity, period divided by the long window, share of the budget."""

_POINTS = 150  # samples in a window, so that its length is exact to 0.7 %


class Burning(NamedTuple):
    """A pair of windows in which the budget of an objective burns too fast."""

    objective: Objective
    window: Window
    long_rate: float  # burn rate over the long window; 1 spends the budget in exactly the period
    short_rate: float
    factor: float  # threshold that both rates exceed


class BurnRates:
    """Burn rates of a run, computed from samples of its counts."""

    def __init__(self, slo: Slo) -> None:
        self._slo = slo
        self._past: dict[Decimal, deque[tuple[float, tuple[Counts, ...]]]] = {span: deque() for span in slo.spans_s}
        self._now: dict[str, Counts] = {}

    def add(self, now_s: float, counts: Mapping[str, Counts]) -> None:
        """Add the counts by objective at `now_s`, in seconds of a clock that never goes back."""
        self._now = dict(counts)
        values = tuple(counts[objective.name] for objective in self._slo.objectives)
        for length, samples in self._past.items():
            length_s = float(length)
            if not samples or now_s - samples[-1][0] >= length_s / _POINTS:
                samples.append((now_s, values))
            # Keep one sample from before the window: the rate is over the whole window even if samples are rare.
            while len(samples) > 1 and samples[1][0] <= now_s - length_s:
                samples.popleft()

    def rate(self, objective: Objective, length_s: Decimal) -> float | None:
        """Return the burn rate over a window of the file; None if no request was judged in it."""
        if objective.budget is None or not self._now:
            return None
        position = self._slo.objectives.index(objective)
        recent = self._now[objective.name].less(self._past[length_s][0][1][position])
        return recent.bad / recent.total / float(objective.budget) if recent.total else None

    def burning(self) -> Iterator[Burning]:
        """Yield the pairs of windows for which the alerting rules would fire now."""
        for objective in self._slo.objectives:
            if objective.budget is None or self._now.get(objective.name, Counts()).total < self._slo.min_requests:
                continue
            for window in self._slo.windows:
                factor = float(window.factor(self._slo.period_s))
                long_rate, short_rate = self.rate(objective, window.long_s), self.rate(objective, window.short_s)
                if long_rate is not None and short_rate is not None and min(long_rate, short_rate) > factor:
                    yield Burning(objective, window, long_rate, short_rate, factor)


def default_windows(
    period_s: Decimal, scrape_interval_s: Decimal, smallest_target: Decimal | None
) -> tuple[Window, ...]:
    """Return windows for a period; fewer, or none, if it is too short for them.

    The smallest target of the objectives limits the burn rates that are possible; it is None if all are means.
    """
    if period_s >= 7 * _DAY_S:
        drafts = [
            (severity, Decimal(long), Decimal(short), Decimal(factor) * long / period_s)
            for severity, long, short, factor in _WORKBOOK
        ]
    else:
        drafts = [
            (severity, *_pair(period_s / part, scrape_interval_s), Decimal(share)) for severity, part, share in _SHARES
        ]
    # If all requests are bad, the burn rate is 1 / (1 - target); the limit of an alert must be well below.
    highest = (1 + 1 / (1 - smallest_target)) / 2 if smallest_target is not None else Decimal(1000)
    windows: list[Window] = []
    for severity, long_s, short_s, share in drafts:
        if windows and long_s <= windows[-1].long_s:  # so short a period has one pair only
            continue
        if long_s <= period_s and MIN_SCRAPES * scrape_interval_s <= short_s < long_s:
            budget = min(max(share, long_s / period_s), highest * long_s / period_s, Decimal(1))
            windows.append(Window(severity, long_s, short_s, plain(budget)))
    return tuple(windows)


def _pair(long_s: Decimal, scrape_interval_s: Decimal) -> tuple[Decimal, Decimal]:
    """Return a long and a short window of whole seconds with at least `MIN_SCRAPES` scrapes."""
    shortest = MIN_SCRAPES * scrape_interval_s
    long_s = max(long_s, 2 * shortest)
    return _whole(long_s), _whole(max(long_s / 4, shortest))


def _whole(seconds: Decimal) -> Decimal:
    return plain(seconds.to_integral_value(ROUND_CEILING))
