"""Verdict: an exact comparison of the requests of a run with the objectives.

An objective is missed if bad / total > 1 - target, in whole numbers and decimals: a bound that is met exactly is met.
The rules for Prometheus compute the same from the same counters.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import compress
from math import fsum
from operator import attrgetter, is_not
from typing import Any

from locust_otel.core.catalogue import OTHER
from locust_otel.core.errors import ExitCode
from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import RequestsSnapshot, SeriesSnapshot
from locust_otel.slo.counts import Counts, Endpoint, count
from locust_otel.slo.objectives import Objective, Slo, spoken
from locust_otel.slo.validity import Doubt

CERTAIN = Doubt()
NOTHING = Counts()


class Status(StrEnum):
    """Verdict on an objective, and on a run."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Worst:
    """Endpoint with the most harm to an objective."""

    method: str
    name: str
    counts: Counts
    value: float  # share of its bad requests, in [0, 1]; for the mean, its own mean in seconds


@dataclass(frozen=True, slots=True)
class Result:
    """Verdict on an objective.

    Attributes:
        counts: The judged requests.
        budget_spent: Spent share of the period's budget, 1 for the whole budget; None without a budget, or if no
            request was judged.
        worst: The endpoint with the most harm; None if there is no harm.
        note: Why the objective is undecided or invalid, or another remark on the verdict; may be empty.
        told: The measured value as text if the number of good requests is not known: `p95 1.80 s`. All requests in
            `counts` are then good.
    """

    objective: Objective
    counts: Counts
    status: Status
    budget_spent: float | None = None
    worst: Worst | None = None
    note: str = ""
    told: str = ""

    @property
    def actual(self) -> float | None:
        """Share of good requests in [0, 1], or the mean in seconds; None if no request was judged."""
        if not self.counts.total:
            return None
        if self.objective.target is None:
            return self.counts.sum_s / self.counts.total
        return self.counts.good / self.counts.total


def is_missed(objective: Objective, counts: Counts) -> bool:
    """Return whether the judged requests miss an objective; False without requests."""
    if not counts.total:
        return False
    if objective.budget is not None:
        return counts.bad > objective.budget * counts.total
    return counts.sum_s / counts.total > float(objective.within_s or 0)


def budget_spent(slo: Slo, objective: Objective, counts: Counts, judged_s: float) -> float | None:
    """Return the spent share of the period's budget; None without a budget, or if no request was judged."""
    if objective.budget is None or not counts.total:
        return None
    of_period = min(1.0, judged_s / float(slo.period_s))
    return counts.bad / counts.total / float(objective.budget) * of_period


def judge(  # noqa: PLR0913, PLR0917  # all inputs of a verdict
    slo: Slo, objective: Objective, counts: Counts, judged_s: float, doubt: Doubt = CERTAIN, folded: Counts = NOTHING
) -> Result:
    """Judge an objective of a file `judged_s` seconds after the warm-up; `slo.validity` explains the effect of a doubt.

    `folded` are requests that may or may not fit the objective, those of `Match.uncertain`.
    """
    if not counts.total and slo.warmup_s and judged_s <= 0:
        status, note = Status.UNDECIDED, f"the warm-up of {spoken(slo.warmup_s)} was not over"
    elif not counts.total and objective.match and not folded.total:
        status, note = Status.UNDECIDED, f"no request was judged with {objective.match}"
    elif folded.total and not _is_decided(objective, counts, folded):
        status = Status.UNDECIDED
        note = (
            f"{folded.total:,} requests that are counted as {OTHER} may match too: --group-names, or a higher "
            "--max-request-names"
        )
    elif counts.total < slo.min_requests:
        status, note = Status.UNDECIDED, f"{counts.total:,} of the {slo.min_requests:,} requests it takes"
    elif is_missed(objective, counts):
        status, note = _missed(slo, objective, counts, doubt)
    else:
        status, note = _met(slo, doubt)
    return Result(objective, counts, status, budget_spent(slo, objective, counts, judged_s), note=note)


def _is_decided(objective: Objective, counts: Counts, folded: Counts) -> bool:
    """Return whether the verdict is the same whichever of the folded requests the objective matches."""
    if objective.budget is None:
        return False
    certain = counts.less(folded) if objective.match.covers_folded else counts
    best, worst_ = certain.more(Counts(folded.good)), certain.more(Counts(0, folded.bad))
    return is_missed(objective, best) == is_missed(objective, worst_)


def _met(slo: Slo, doubt: Doubt) -> tuple[Status, str]:
    if doubt.missing:
        return Status.INVALID, f"met by the counted requests; {doubt.missing}"
    if not doubt.late:
        return Status.MET, ""
    load = f"{doubt.made:.0%} of the load"
    if doubt.made < 1 - slo.tolerance:
        return Status.UNDECIDED, f"{load}: {doubt.late}"
    return Status.MET, f"at {load}; the generator was late in {doubt.late_share:.0%} of the run"


def _missed(slo: Slo, objective: Objective, counts: Counts, doubt: Doubt) -> tuple[Status, str]:
    late = doubt.requests.get(objective.name, Counts())
    if not late.total:
        return Status.MISSED, ""
    certain, when = counts.less(late), f"in the {1 - doubt.late_share:.0%} of the run in which the generator kept up"
    if certain.total < slo.min_requests:
        return Status.INVALID, f"missed; {certain.total:,} requests {when}; {doubt.late}"
    if is_missed(objective, certain):
        return Status.MISSED, f"{when} too"
    return Status.INVALID, f"missed; met {when}; {doubt.late}"


def worst(objective: Objective, by_endpoint: Mapping[Endpoint, Counts]) -> Worst | None:
    """Return the endpoint with the most bad requests, or for a mean with the most time above the limit."""
    within_s = float(objective.within_s or 0)
    is_mean = objective.target is None

    def excess_s(counts: Counts) -> float:
        return counts.sum_s - within_s * (counts.good + counts.bad)

    harm: Callable[[Counts], float] = excess_s if is_mean else attrgetter("bad")
    counts = max(by_endpoint.values(), key=harm, default=Counts())
    if harm(counts) <= 0:
        return None
    endpoint = next(endpoint for endpoint, counted in by_endpoint.items() if counted is counts)
    return Worst(*endpoint, counts, (counts.sum_s if is_mean else counts.bad) / counts.total)


def overall(results: Iterable[Result], *, is_aborted: bool = False) -> Status:
    """Return the verdict on a run; without a judged request it is never a pass."""
    statuses = {result.status for result in results}
    if is_aborted and Status.INVALID not in statuses:
        return Status.MISSED
    return next((status for status in BY_RANK if status in statuses), Status.UNDECIDED)


BY_RANK = (Status.MISSED, Status.INVALID, Status.UNDECIDED, Status.MET)
"""The verdict on a run is the first of these statuses that an objective has."""

EXIT_CODES = {
    Status.MET: ExitCode.OK,
    Status.MISSED: ExitCode.MISSED,
    Status.UNDECIDED: ExitCode.UNDECIDED,
    Status.INVALID: ExitCode.NOT_VALID,
}


class _Tally:
    """Judged requests of one objective."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._match = objective.match.of_any_user()
        self.restart({})

    def restart(self, before: dict[Endpoint, Counts]) -> None:
        """Forget the counts, and leave out the requests of the warm-up, by endpoint."""
        self.before = before
        self.by_endpoint = dict.fromkeys(before, Counts())  # after the warm-up, in the order of appearance
        self._good = self._bad = 0
        self._sums: tuple[Counts, Worst | None] | None = None

    def judges(self, endpoint: Endpoint) -> bool:
        """Return whether the objective judges requests of an endpoint, of any user class."""
        return self._match.covers(*endpoint, "")

    def put(self, endpoint: Endpoint, series: Sequence[SeriesSnapshot], layout: Layout) -> None:
        """Count an endpoint again from all its series."""
        counts, known = count(self.objective, series, layout), self.by_endpoint.get(endpoint, Counts())
        if endpoint in self.before:
            counts = counts.less(self.before[endpoint])
        self.by_endpoint[endpoint] = counts
        self._good += counts.good - known.good
        self._bad += counts.bad - known.bad
        self._sums = None

    def sums(self) -> tuple[Counts, Worst | None]:
        """Return the requests of all endpoints, and the worst endpoint."""
        if self._sums is None:
            sum_s = 0.0
            if self.objective.target is None:
                # A new sum: rounding errors of differences would depend on the number of updates.
                sum_s = fsum([counts.sum_s for counts in self.by_endpoint.values()])
            self._sums = Counts(self._good, self._bad, sum_s), worst(self.objective, self.by_endpoint)
        return self._sums


class JudgedRequests:
    """Judged requests of a run for each objective.

    An unchanged series is the same object as in the last snapshot, so only endpoints with a changed object are counted
    again. The result is the same as that of one count of everything.
    """

    def __init__(self, objectives: Sequence[Objective], before: bytes = b"") -> None:
        self._objectives = objectives
        self._before = before  # requests of the warm-up, pickled
        self._certain = [_Tally(objective) for objective in objectives]
        self._folded = {
            objective.name: _Tally(replace(objective, match=match))
            for objective in objectives
            if (match := objective.match.uncertain) is not None
        }
        self._tallies = [*self._certain, *self._folded.values()]
        if before:
            for tally, of_warmup in zip(self._tallies, pickle.loads(before), strict=True):  # noqa: S301  # our own
                tally.restart(of_warmup)
        self._forget()

    def __reduce__(self) -> tuple[Any, ...]:
        return JudgedRequests, (self._objectives, self._before)  # the rest is counted again

    def _forget(self) -> None:
        for tally in self._tallies:
            tally.restart(tally.before)
        self._series: tuple[SeriesSnapshot, ...] = ()
        self._positions: dict[Endpoint, list[int]] = {}
        self._judging: dict[Endpoint, list[_Tally]] = {}

    def restart(self) -> None:
        """Leave out the requests so far, those of the warm-up; call it once at most."""
        before = [tally.by_endpoint for tally in self._tallies]
        for tally in self._tallies:
            tally.restart(tally.by_endpoint)
        self._before = pickle.dumps(before, protocol=pickle.HIGHEST_PROTOCOL)  # once, as it never changes

    def update(self, requests: RequestsSnapshot) -> None:
        """Count the requests of a snapshot of the run."""
        series, known = requests.series, self._series
        changed = [*compress(range(len(known)), map(is_not, series, known))]
        if len(series) < len(known) or any(series[at].key != known[at].key for at in changed):
            self._forget()  # series of another run, or in another order
            known, changed = (), []
        for at in range(len(known), len(series)):
            endpoint = series[at].key[:2]
            if endpoint not in self._positions:
                self._positions[endpoint] = []
                self._judging[endpoint] = [tally for tally in self._tallies if tally.judges(endpoint)]
            self._positions[endpoint].append(at)
            changed.append(at)
        self._series = series
        for endpoint in dict.fromkeys([series[at].key[:2] for at in changed]):
            of_endpoint = [series[at] for at in self._positions[endpoint]]
            for tally in self._judging[endpoint]:
                tally.put(endpoint, of_endpoint, requests.layout)

    def counts(self) -> dict[str, Counts]:
        """Return the judged requests by name of the objective."""
        return {tally.objective.name: tally.sums()[0] for tally in self._certain}

    def results(self, slo: Slo, judged_s: float, doubt: Doubt = CERTAIN) -> tuple[Result, ...]:
        """Return the verdict on each objective of the file, in their order, as `judge` does."""
        folded = {name: tally.sums()[0] for name, tally in self._folded.items()}
        sums = ((tally.objective, *tally.sums()) for tally in self._certain)
        return tuple(
            replace(
                judge(slo, objective, counts, judged_s, doubt, folded.get(objective.name, NOTHING)),
                worst=worst_endpoint,
            )
            for objective, counts, worst_endpoint in sums
        )
