"""The judgement: counts against objectives, exactly.

Missed is where bad / total > 1 - target, in whole numbers and decimals: a bound that is met exactly is met. The rules
for Prometheus compute the same from the same counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from locust_otel.core.errors import ExitCode
from locust_otel.slo.counts import Counts, Endpoint
from locust_otel.slo.objectives import Objective, Slo

_BAD = attrgetter("bad")


class Status(StrEnum):
    """Verdict on an objective."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Worst:
    """The endpoint with the most harm to an objective.

    Attributes:
        value: Share of its bad requests, in [0, 1]; for the mean, its own mean in seconds.
    """

    method: str
    name: str
    counts: Counts
    value: float


@dataclass(frozen=True, slots=True)
class Result:
    """Judgement of an objective.

    Attributes:
        counts: The judged requests.
        budget_spent: Spent share of the period's budget, 1 for the whole budget; None without a budget, or if no
            request was judged.
        worst: The endpoint with the most harm; None if there is no harm.
        note: Why the objective is undecided or invalid; empty otherwise.
        told: The measured value in words, if the number of good requests is not known: `p95 1.80 s`. Then `counts`
            has all requests as good.
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


def judge(slo: Slo, objective: Objective, counts: Counts, judged_s: float, *, invalid: str = "") -> Result:
    """Judge an objective.

    Args:
        slo: The file of the objective.
        objective: One of its objectives.
        counts: Its judged requests.
        judged_s: Seconds since the warm-up.
        invalid: Why the numbers are not valid; empty if they are.
    """
    spent = budget_spent(slo, objective, counts, judged_s)
    if invalid:
        return Result(objective, counts, Status.INVALID, spent, note=invalid)
    if counts.total < slo.min_requests:
        note = f"{counts.total:,} of the {slo.min_requests:,} requests it takes"
        if not counts.total and objective.match:
            note = f"no request was judged with {objective.match}"
        return Result(objective, counts, Status.UNDECIDED, spent, note=note)
    status = Status.MISSED if is_missed(objective, counts) else Status.MET
    return Result(objective, counts, status, spent)


def worst(objective: Objective, by_endpoint: Mapping[Endpoint, Counts]) -> Worst | None:
    """Return the endpoint with the most bad requests; for the mean, that with the most time above the bound."""
    within_s = float(objective.within_s or 0)
    is_mean = objective.target is None

    def excess_s(counts: Counts) -> float:
        return counts.sum_s - within_s * (counts.good + counts.bad)

    harm: Callable[[Counts], float] = excess_s if is_mean else _BAD
    counts = max(by_endpoint.values(), key=harm, default=Counts())
    if harm(counts) <= 0:
        return None
    endpoint = next(endpoint for endpoint, each in by_endpoint.items() if each is counts)
    return Worst(*endpoint, counts, (counts.sum_s if is_mean else counts.bad) / counts.total)


def exit_code(results: Iterable[Result], *, is_aborted: bool = False) -> ExitCode:
    """Return the exit code of a process; without a judged request it is never a pass."""
    statuses = {result.status for result in results}
    if Status.INVALID in statuses:
        return ExitCode.NOT_VALID
    if Status.MISSED in statuses or is_aborted:
        return ExitCode.MISSED
    return ExitCode.OK if statuses == {Status.MET} else ExitCode.UNDECIDED
