"""The scorecard of a game day: the times of each fault and its alerts, and the outcome of each expectation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from operator import itemgetter
from typing import NamedTuple

from locust_otel.core.errors import ExitCode
from locust_otel.gameday.alertmanager import Notice
from locust_otel.gameday.history import Episode, History
from locust_otel.gameday.judge import BROKEN, KEPT, ExpectationResult, InjectedFault, Judge, since
from locust_otel.gameday.plan import GameDay
from locust_otel.gameday.schema import StepShape
from locust_otel.slo.burn import BurnRates
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Slo


@dataclass(frozen=True, slots=True)
class Played:
    """The events of a played game day."""

    run_id: str
    faults: tuple[InjectedFault, ...]
    aborted: str = ""  # why it ended early; empty if it did not
    left: tuple[str, ...] = ()  # faults whose undo failed
    notes: tuple[str, ...] = ()
    silences: tuple[tuple[float, float], ...] = ()  # as in `Observer`
    load_output: tuple[str, ...] = ()  # last lines of a load that ended before its time


TIMES = (
    "first_bad_s", "breach_s", "pending_s", "firing_s", "alertmanager_s", "notified_s", "recovered_s", "resolved_s",
)  # fmt: skip
"""Keys in JSON of the times of a fault: seconds from its start, for the last two from its end."""

_QUIET_S = 10.0
"""Seconds without a bad request (or the shortest window of the rules) after which users have recovered."""


class BadRequests:
    """The bad requests of a run, by its own counters; Unix times are those of the scrape that showed them."""

    def __init__(self, slo: Slo | None, history: History) -> None:
        # By Unix time, bad requests to date of each objective; of all requests without an SLO file.
        self._bad: list[tuple[float, dict[str, int]]] = [(at, {"": failed}) for at, failed, _ in history.failed]
        self._breaches: list[float] = []  # Unix times at which a pair of windows burned
        self._costs: dict[str, float] = {}  # by objective, the share of the period's budget that a bad request spends
        self._quiet_s = _QUIET_S
        counted = {name for counts in history.counts.values() for name in counts}
        if slo is not None and any(goal.budget is not None and goal.name in counted for goal in slo.objectives):
            self._judge(slo, history)

    def _judge(self, slo: Slo, history: History) -> None:
        budgets = {objective.name: objective.budget for objective in slo.objectives if objective.budget is not None}
        latest = {objective.name: Counts() for objective in slo.objectives}
        rates = BurnRates(slo)
        self._bad = []
        for at, counts in history.counts.items():
            latest |= {name: count for name, count in counts.items() if name in latest}
            rates.add(at - history.begin, latest)
            self._bad.append((at, {name: latest[name].bad for name in budgets}))
            if next(rates.burning(), None) is not None:
                self._breaches.append(at)
        judged = min(1.0, max(history.elapsed_s - float(slo.warmup_s), 0.0) / float(slo.period_s))
        totals = {name: latest[name].total for name in budgets}
        self._costs = {name: judged / totals[name] / float(budget) for name, budget in budgets.items() if totals[name]}
        self._quiet_s = max([_QUIET_S, *map(float, slo.spans_s[:1])])

    def stretch(self, begin: float, end: float) -> tuple[float | None, float | None]:
        """Return the times of the first bad request, and of the last one before the recovery; None if there is none."""
        first = last = None
        for (_, before), (at, now) in pairwise(self._bad):
            if not begin <= at <= end or all(count <= before.get(slo, 0) for slo, count in now.items()):
                continue
            if last is not None and at - last > self._quiet_s:
                break
            first, last = (at if first is None else first), at
        return first, last

    def breach_at(self, begin: float, end: float) -> float | None:
        """Return when a pair of windows first burned faster than its factor; None if this did not happen."""
        return next((at for at in self._breaches if begin <= at <= end), None)

    def between(self, begin: float, end: float) -> dict[str, int]:
        """Return the bad requests of each objective; without an SLO file the failed ones."""
        before = self.to_date(begin)
        return {slo: max(count - before.get(slo, 0), 0) for slo, count in self.to_date(end).items()}

    def cost(self, bad: Mapping[str, int]) -> dict[str, float]:
        """Return by objective the share of the period's error budget that bad requests spend."""
        return {slo: bad.get(slo, 0) * cost for slo, cost in self._costs.items()}

    def to_date(self, time: float = inf) -> Mapping[str, int]:
        """Return the bad requests of each objective by the last scrape up to a time."""
        position = bisect_right(self._bad, time, key=itemgetter(0))
        return self._bad[position - 1][1] if position else {}


@dataclass(frozen=True, slots=True)
class FaultScore:
    """A fault and its effects.

    Attributes:
        times: By `TIMES`; None for what was not seen. Those of an alert are of `alert`, except for its end: that is
            the end of all expected alerts.
        alert: The expected alert that fired first; None if none did.
        bad: Requests that missed an objective, or without an SLO file failed; None if the fault was never injected.
        budget_spent: By objective, the share of the period's error budget spent from this fault to the next.
    """

    step: StepShape
    injected: InjectedFault
    times: Mapping[str, float | None]
    alert: Episode | None
    bad: int | None
    budget_spent: Mapping[str, float]
    results: tuple[ExpectationResult, ...]


class OtherAlert(NamedTuple):
    """An alert that fired and that no expectation names, or that began too late to be of its fault."""

    alert: Episode
    fault: str  # the last fault before it; empty if there is none
    after_s: float | None  # seconds from the end of that fault; None if it was active


@dataclass(frozen=True, slots=True)
class Scorecard:
    """A game day, judged."""

    day: GameDay
    played: Played
    faults: tuple[FaultScore, ...]
    begin: float  # Unix time of the start of the run
    others: tuple[OtherAlert, ...]  # during a fault, or within the windows of the rules after it
    unprovoked: tuple[Episode, ...]  # alerts that fired without a fault
    budget_spent: Mapping[str, float]  # by objective, the share of the period's error budget that the run has spent
    notes: tuple[str, ...]

    @property
    def results(self) -> list[ExpectationResult]:
        """The results of all faults."""
        return [result for fault in self.faults for result in fault.results]

    @property
    def code(self) -> int:
        """The exit code: of a failed undo, else of a broken expectation, else of an undecided one."""
        outcomes = {result.outcome for result in self.results}
        if self.played.left:
            return 1
        if BROKEN in outcomes:
            return ExitCode.MISSED
        is_decided = not self.played.aborted and outcomes == {KEPT}
        return ExitCode.OK if is_decided else ExitCode.UNDECIDED


def scorecard(
    day: GameDay, played: Played, history: History, notices: Sequence[Notice], *, sees_notices: bool
) -> Scorecard:
    """Judge a game day by its history; without `sees_notices`, nothing watched Alertmanager or its notifications."""
    injected = {fault.name: fault for fault in played.faults}
    judge = Judge(history, notices, sees_notices, played.silences)
    run = BadRequests(day.slo, history)
    faults: list[FaultScore] = []
    until = history.end
    for step in reversed(day.steps):
        fault = injected.get(step.fault.name, InjectedFault(step.fault.name))
        faults.insert(0, _scored(step, fault, until, run, judge))
        until = faults[0].injected.begun_at or until
    others = tuple(_others(faults, history))
    after_s = max([30.0, *map(float, () if day.slo is None else day.slo.spans_s)])
    near = tuple(other for other in others if other.fault and (other.after_s is None or other.after_s <= after_s))
    return Scorecard(
        day=day, played=played, faults=tuple(faults), begin=history.begin, others=near,
        unprovoked=tuple(other.alert for other in others if other not in near),
        budget_spent=run.cost(run.to_date()), notes=(*day.notes, *played.notes, *_notes(day, history)),
    )  # fmt: skip


def _scored(step: StepShape, fault: InjectedFault, until: float, run: BadRequests, judge: Judge) -> FaultScore:
    results = tuple(judge.result(expectation, fault, until) for expectation in step.expect)
    begun_at, ended_at = fault.begun_at, fault.ended_at
    if begun_at is None:
        return FaultScore(step, fault, dict.fromkeys(TIMES), None, None, {}, results)
    raised = [result for result in results if result.expectation.alert and result.alert]
    first = min(raised, key=_firing_s, default=None)
    course = None if first is None else first.alert
    ends = [result.resolved_s for result in raised if result.resolved_s is not None]
    first_bad_at, last_bad_at = run.stretch(begun_at, until)
    times = (
        since(first_bad_at, begun_at),
        since(run.breach_at(begun_at, until), begun_at),
        *((course.pending_s, course.firing_s, course.arrived_s, course.notified_s) if course else (None,) * 4),
        since(last_bad_at, ended_at),
        max(ends) if ends and len(ends) == len(raised) else None,
    )
    bad = run.between(begun_at, until)
    named = dict(zip(TIMES, times, strict=True))
    alert = None if first is None else first.fired[0]
    return FaultScore(step, fault, named, alert, max(bad.values(), default=0), run.cost(bad), results)


def _firing_s(result: ExpectationResult) -> float:
    return inf if result.alert is None else result.alert.firing_s


def _others(faults: Sequence[FaultScore], history: History) -> Iterator[OtherAlert]:
    """Yield the fired alerts that are in the result of no expectation, with the last fault before each."""
    expected = [alert for fault in faults for result in fault.results for alert in result.fired]
    for alert in history.episodes:
        if alert.firing_at is None or alert in expected:
            continue
        before = [fault.injected for fault in faults if (fault.injected.begun_at or inf) <= alert.pending_at]
        if not before:
            yield OtherAlert(alert, "", None)
            continue
        after_s = since(alert.pending_at, before[-1].ended_at)
        is_active = after_s is None or after_s <= history.delay_s
        yield OtherAlert(alert, before[-1].name, None if is_active else after_s)


def _notes(day: GameDay, history: History) -> Iterator[str]:
    missing = {expectation.name for expectation in day.expectations} - (history.rules or frozenset())
    if history.rules is not None and missing:
        yield f"Prometheus has no rule for {', '.join(sorted(missing))}: were the rules loaded?"
    if not history.is_valid:
        yield "the load generator was too slow at times: it then measured its own slowness."
