"""What a source says about the objectives of a file, and what every source decides alike.

A source is a function from an SLO file to assessments: one for each objective, in the order of the file. What it cannot
decide is undecided, with the reason, and never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, spoken
from locust_otel.slo.verdict import Result, Status, is_missed, judge

Range = tuple[Fraction, Fraction]
"""The lowest and the highest a number can be; the same where it is known exactly."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a source says about one objective.

    Attributes:
        measured: What a later run can be compared with, by the part of the run it is of (`""` for all of it): a share
            of bad requests in [0, 1], or seconds. Empty where the source does not know.
        is_share: Which of the two it is.
        regression: How much worse than the baseline it is, where that is too much.
    """

    result: Result
    measured: Mapping[str, Range] = field(default_factory=dict)
    is_share: bool = True
    regression: str = ""


@dataclass(frozen=True, slots=True)
class Assessments:
    """What a source says about all objectives of a file.

    Attributes:
        source: What was looked at: `results/run_stats.csv`.
        notes: What a reader must know of all of them.
    """

    source: str
    assessments: tuple[Assessment, ...]
    notes: tuple[str, ...] = ()

    @property
    def results(self) -> tuple[Result, ...]:
        """The assessments alone."""
        return tuple(assessment.result for assessment in self.assessments)


Source = Callable[[Slo], Assessments]


def decided(  # noqa: PLR0913  # all that a source may know
    slo: Slo,
    objective: Objective,
    counts: Counts,
    missed: bool | None,
    *,
    why: str = "",
    told: str = "",
    judged_s: float | None = None,
    invalid: str = "",
) -> Result:
    """Return how an objective stands, where a source decides in its own way whether it is missed.

    Args:
        slo: The file it stands in.
        objective: One of its objectives.
        counts: The judged requests of it.
        missed: None where that is not decidable.
        why: Why it is not.
        told: What was measured, in words, where the counts do not say it.
        judged_s: Seconds since the warm-up; None where that is not known.
        invalid: Why the numbers cannot be believed.
    """
    result = replace(judge(slo, objective, counts, judged_s or 0.0, invalid=invalid), told=told)
    if judged_s is None:
        result = replace(result, budget_spent=None)
    if result.status in {Status.INVALID, Status.UNDECIDED}:
        return result
    if not counts.total:
        return replace(result, status=Status.UNDECIDED, note="no request was judged")
    if missed is None:
        return replace(result, status=Status.UNDECIDED, note=why)
    return replace(result, status=Status.MISSED if missed else Status.MET)


def undecided(objective: Objective, why: str) -> Assessment:
    """Return the assessment of a source that knows nothing about an objective."""
    return Assessment(Result(objective, Counts(), Status.UNDECIDED, note=why))


def counted(
    slo: Slo, objective: Objective, counts: Counts, *, judged_s: float | None = None, invalid: str = ""
) -> Assessment:
    """Return the assessment of a source that knows the judged requests exactly."""
    result = decided(slo, objective, counts, is_missed(objective, counts), judged_s=judged_s, invalid=invalid)
    if not counts.total:
        return Assessment(result)
    is_share = objective.target is not None
    value = Fraction(counts.bad, counts.total) if is_share else Fraction(counts.sum_s) / counts.total
    return Assessment(result, {"": (value, value)}, is_share)


def of_locust(objective: Objective) -> str:
    """Return why what Locust writes itself cannot decide an objective; empty where it can."""
    if objective.match.user_classes:
        return "not decidable: Locust's file does not tell user classes apart"
    if objective.only_success:
        return "not decidable: Locust's file does not tell the times of failed requests apart"
    return ""


def warmup_notes(slo: Slo, what: str) -> tuple[str, ...]:
    """Return the note that a source does not know the warm-up, where the file has one."""
    if not slo.warmup_s:
        return ()
    return (f"Judged over the whole run: {what} cannot leave out the warm-up of {spoken(slo.warmup_s)}.",)
