"""What users had of a fault, by the run's own counters: first and last bad request, the SLO's breach, the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from locust_otel.gameday.history import History
from locust_otel.slo.burn import BurnRates
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Slo

_QUIET_S = 10.0
"""Without a bad request for so long (or for the shortest window of the rules) users have recovered."""


@dataclass(frozen=True, slots=True)
class Impact:
    """What users had of one fault. Unix times are those of the scrape that showed it.

    Attributes:
        first_bad_at: First bad request; None where there was none.
        last_bad_at: Last bad request before users had recovered.
        breach_at: When a pair of windows first burned faster than its factor.
        bad: Requests that missed an objective, or without an SLO file failed.
        budget_spent: By objective, share of the period's error budget that went meanwhile.
    """

    first_bad_at: float | None
    last_bad_at: float | None
    breach_at: float | None
    bad: int
    budget_spent: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Impacts:
    """What users had of a whole run.

    Attributes:
        bad: By Unix time, bad requests to date, of each objective; of all requests without an SLO file.
        breaches: Unix times at which a pair of windows burned.
        quiet_s: Without a bad request for so long users have recovered.
        budgets: By objective, what one bad request costs of the period's budget.
    """

    bad: Sequence[tuple[float, Mapping[str, int]]]
    breaches: Sequence[float]
    quiet_s: float
    budgets: Mapping[str, float]

    @property
    def budget_spent(self) -> tuple[tuple[str, float], ...]:
        """By objective, the share of the period's error budget that the whole run has spent."""
        last = self.bad[-1][1] if self.bad else {}
        return tuple((slo, last.get(slo, 0) * cost) for slo, cost in self.budgets.items())

    def of(self, begun_at: float | None, until: float) -> Impact | None:
        """Return what came between the start of a fault and another time; None for a fault that was not made."""
        if begun_at is None:
            return None
        first = last = None
        for (_, before), (at, now) in pairwise(self.bad):
            if not begun_at <= at <= until or all(count <= before.get(slo, 0) for slo, count in now.items()):
                continue
            if last is not None and at - last > self.quiet_s:
                break
            first, last = (at if first is None else first), at
        start = self._at(begun_at)
        end = self._at(until)
        grown = {slo: max(count - start.get(slo, 0), 0) for slo, count in end.items()}
        return Impact(
            first_bad_at=first,
            last_bad_at=last,
            breach_at=next((at for at in self.breaches if begun_at <= at <= until), None),
            bad=max(grown.values(), default=0),
            budget_spent=tuple((slo, grown.get(slo, 0) * cost) for slo, cost in self.budgets.items()),
        )

    def _at(self, time: float) -> Mapping[str, int]:
        """Return the counts of the last scrape before a time."""
        found: Mapping[str, int] = {}
        for at, counts in self.bad:
            if at > time:
                break
            found = counts
        return found


def impacts(slo: Slo | None, history: History) -> Impacts:
    """Return what users had of a run."""
    objectives = () if slo is None else tuple(each for each in slo.objectives if each.budget is not None)
    known = {name for counts in history.counts.values() for name in counts}
    if slo is None or not any(each.name in known for each in objectives):
        return Impacts([(at, {"": failed}) for at, failed, _ in history.failed], (), _QUIET_S, {})
    bad, breaches, rates = [], [], BurnRates(slo)
    latest = {each.name: Counts() for each in slo.objectives}
    for at, counts in history.counts.items():
        latest |= {name: each for name, each in counts.items() if name in latest}
        rates.add(at - history.begin, latest)
        bad.append((at, {each.name: latest[each.name].bad for each in objectives}))
        if next(rates.burning(), None) is not None:
            breaches.append(at)
    judged = min(1.0, max(history.elapsed_s - float(slo.warmup_s), 0.0) / float(slo.period_s))
    budgets = {
        each.name: judged / latest[each.name].total / float(each.budget)
        for each in objectives
        if each.budget is not None and latest[each.name].total
    }
    quiet_s = max([_QUIET_S, *(float(slo.spans_s[0]) for _ in slo.spans_s[:1])])
    return Impacts(bad, breaches, quiet_s, budgets)
