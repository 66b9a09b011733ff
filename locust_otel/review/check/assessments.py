"""Assessments of objectives by a source of numbers, and their comparison with an earlier run.

A source is a function from an SLO file to assessments: one for each objective, in the order of the file. An objective
that it cannot decide is undecided, with the reason, and never met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from math import inf

from locust_otel.core.words import duration
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, percent
from locust_otel.slo.verdict import Result, Status, is_missed, judge

Range = tuple[Fraction, Fraction]
"""Lowest and highest possible value of a number; the same if the number is known exactly."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Result of one objective by a source.

    `measured` is what a later run is compared with, by part of the run (`""` for the whole run): the share of bad
    requests in [0, 1] if `is_share`, else seconds. It is empty if the source does not know.
    """

    result: Result
    measured: Mapping[str, Range] = field(default_factory=dict)
    is_share: bool = True
    regression: str = ""  # comparison with the baseline, if the run is worse by more than allowed


@dataclass(frozen=True, slots=True)
class Assessments:
    """Assessments of all objectives of a file by a source, `results/run_stats.csv`. The notes concern all of them."""

    source: str
    assessments: tuple[Assessment, ...]
    notes: tuple[str, ...] = ()
    is_aborted: bool = False  # whether --slo-abort ended the run

    @property
    def results(self) -> tuple[Result, ...]:
        """Results of the assessments."""
        return tuple(assessment.result for assessment in self.assessments)


Source = Callable[[Slo], Assessments]


def decided(  # noqa: PLR0913  # all that a source can know
    slo: Slo,
    objective: Objective,
    counts: Counts,
    missed: bool | None,
    *,
    why: str = "",
    told: str = "",
    judged_s: float | None = None,
) -> Result:
    """Return the result of an objective if the source itself decides whether it is missed.

    `missed` is None if that is not decidable; `why` is the reason. `told` is the measured value in words, if the counts
    do not contain it. `judged_s` are the seconds since the warm-up, None if they are not known.
    """
    result = replace(judge(slo, objective, counts, inf if judged_s is None else judged_s), told=told)
    if judged_s is None:
        result = replace(result, budget_spent=None)
    if result.status is Status.UNDECIDED:
        return result
    if not counts.total:
        return replace(result, status=Status.UNDECIDED, note="no request was judged")
    if missed is None:
        return replace(result, status=Status.UNDECIDED, note=why)
    return replace(result, status=Status.MISSED if missed else Status.MET)


def noted(assessment: Assessment, *notes: str) -> Assessment:
    """Return an assessment with further notes."""
    result = assessment.result
    return replace(assessment, result=replace(result, note="; ".join(filter(None, (result.note, *notes)))))


def undecided(objective: Objective, why: str) -> Assessment:
    """Return the assessment of an objective that a source cannot decide."""
    return Assessment(Result(objective, Counts(), Status.UNDECIDED, note=why))


def counted(slo: Slo, objective: Objective, counts: Counts, *, judged_s: float | None = None) -> Assessment:
    """Return the assessment of an objective whose judged requests are known exactly."""
    return exactly(decided(slo, objective, counts, is_missed(objective, counts), judged_s=judged_s))


def exactly(result: Result) -> Assessment:
    """Return the assessment of a result with exact counts."""
    counts, is_share = result.counts, result.objective.target is not None
    if not counts.total:
        return Assessment(result)
    value = Fraction(counts.bad, counts.total) if is_share else Fraction(counts.sum_s) / counts.total
    return Assessment(result, {"": (value, value)}, is_share)


def compared(slo: Slo, now: Assessments, before: Assessments, allowed: Decimal) -> Assessments:
    """Return the assessments of a run after the comparison with a baseline; both are of the objectives of the file.

    A duration may be worse by the allowed share of the baseline's. A share of bad requests may be worse by the allowed
    share of the baseline's or of the budget, whichever is larger.
    """
    pairs = zip(now.assessments, before.assessments, strict=True)
    assessments = tuple(_compared(slo, assessment, base, allowed) for assessment, base in pairs)
    note = f"Compared with {before.source}: nothing may be worse by more than {percent(allowed)}."
    return replace(now, assessments=assessments, notes=(*now.notes, note))


def _compared(slo: Slo, assessment: Assessment, base: Assessment, allowed: Decimal) -> Assessment:
    result = assessment.result
    if result.status not in {Status.MET, Status.MISSED}:
        return assessment
    why = _incomparable(slo, assessment, base)
    if not why:
        worse = {
            part: _is_worse(assessment, now, base.measured[part], Fraction(allowed))
            for part, now in assessment.measured.items()
        }
        suspects = [part for part, is_worse in worse.items() if is_worse is not False]
        if not suspects:
            return assessment
        regression = _described(assessment, base, suspects[0])
        # Percentiles of several lines cannot be added up: all lines have to agree, as against a threshold.
        if all(worse.values()):
            return _decided(replace(assessment, regression=regression), Status.MISSED, regression)
        why = f"not decidable whether {regression}"
    return _decided(assessment, Status.UNDECIDED if result.status is Status.MET else result.status, why)


def _decided(assessment: Assessment, status: Status, note: str) -> Assessment:
    return noted(replace(assessment, result=replace(assessment.result, status=status)), note)


def _incomparable(slo: Slo, assessment: Assessment, base: Assessment) -> str:
    """Return why a baseline cannot be compared; empty if it can."""
    result = base.result
    why = ""
    if result.status is Status.INVALID or (result.status is Status.UNDECIDED and not base.measured):
        why = result.note
    elif result.counts.total < slo.min_requests:
        why = f"{result.counts.total:,} of the {slo.min_requests:,} requests it takes"
    elif not assessment.measured or assessment.measured.keys() != base.measured.keys():
        why = "the two do not measure the same"
    return why and f"the baseline cannot be compared: {why}"


def _is_worse(assessment: Assessment, now: Range, before: Range, allowed: Fraction) -> bool | None:
    """Return whether a number is worse by more than allowed; None if the ranges do not decide it."""

    def limit(base: Fraction) -> Fraction:
        budget = Fraction(assessment.result.objective.budget or 0)
        return base + allowed * (max(base, budget) if assessment.is_share else base)

    if now[0] > limit(before[1]):
        return True
    return False if now[1] <= limit(before[0]) else None


def _described(assessment: Assessment, base: Assessment, part: str) -> str:
    def value(number: Fraction) -> str:
        return f"{float(number) * 100:.3g} %" if assessment.is_share else duration(float(number))

    now, before = value(assessment.measured[part][1]), value(base.measured[part][0])
    subject = f"{part} " if part else ""
    return f"{subject}worse than the baseline: {now}{' bad' if assessment.is_share else ''}, was {before}"
