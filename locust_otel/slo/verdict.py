"""The judgement: counts against objectives, exactly.

Missed is where bad / total > 1 - target, in whole numbers and decimals: a bound that is met exactly is met. The rules
for Prometheus compute the same from the same counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from locust_otel.core.errors import ExitCode
from locust_otel.slo.counts import Counts, Endpoint
from locust_otel.slo.objectives import Objective, Slo


class Status(StrEnum):
    """What is said of an objective."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Worst:
    """The endpoint that did most against an objective.

    Attributes:
        value: Its own bad requests over its requests, in [0, 1]; for the mean its own mean in seconds.
    """

    method: str
    name: str
    counts: Counts
    value: float


@dataclass(frozen=True, slots=True)
class Result:
    """How an objective stands.

    Attributes:
        counts: The judged requests.
        budget_spent: Share of the period's budget that is gone, 1 for all of it; None where there is no budget, or
            nothing was judged.
        worst: The endpoint that did most against it; None where none did anything.
        note: Why it is undecided or invalid, where that is so.
        told: What was measured, in words, where only the number of requests is known and not which of them are good:
            `p95 1.80 s`. Then all of them stand in `counts` as good.
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
        """Share of good requests in [0, 1], or the mean in seconds; None where nothing was judged."""
        if not self.counts.total:
            return None
        if self.objective.target is None:
            return self.counts.sum_s / self.counts.total
        return self.counts.good / self.counts.total


def is_missed(objective: Objective, counts: Counts) -> bool:
    """Return whether the judged requests miss an objective; nothing misses nothing."""
    if not counts.total:
        return False
    if objective.budget is not None:
        return counts.bad > objective.budget * counts.total
    return counts.sum_s / counts.total > float(objective.within_s or 0)


def budget_spent(slo: Slo, objective: Objective, counts: Counts, judged_s: float) -> float | None:
    """Return the share of the period's budget that is gone; None where there is no budget, or nothing was judged."""
    if objective.budget is None or not counts.total:
        return None
    of_period = min(1.0, judged_s / float(slo.period_s))
    return counts.bad / counts.total / float(objective.budget) * of_period


def judge(slo: Slo, objective: Objective, counts: Counts, judged_s: float, *, invalid: str = "") -> Result:
    """Return how an objective stands.

    Args:
        slo: The file it stands in.
        objective: One of its objectives.
        counts: The judged requests of it.
        judged_s: Seconds since the warm-up.
        invalid: Why the numbers cannot be believed; empty where they can.
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
    """Return the endpoint with the most bad requests; for the mean the one that took most time above the bound."""
    within_s = float(objective.within_s or Decimal(0))

    def harm(counts: Counts) -> float:
        return counts.bad if objective.target is not None else counts.sum_s - within_s * counts.total

    endpoint = max(by_endpoint, key=lambda each: harm(by_endpoint[each]), default=None)
    if endpoint is None or harm(by_endpoint[endpoint]) <= 0:
        return None
    counts = by_endpoint[endpoint]
    value = counts.bad / counts.total if objective.target is not None else counts.sum_s / counts.total
    return Worst(*endpoint, counts, value)


def exit_code(results: Iterable[Result], *, is_aborted: bool = False) -> ExitCode:
    """Return what a process should end with; nothing judged is never a pass."""
    statuses = {result.status for result in results}
    if Status.INVALID in statuses:
        return ExitCode.NOT_VALID
    if Status.MISSED in statuses or is_aborted:
        return ExitCode.MISSED
    return ExitCode.OK if statuses == {Status.MET} else ExitCode.UNDECIDED
