"""Tests of assessments and of their comparison with a baseline."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from locust_otel.review.check.assessments import (
    Assessment,
    Assessments,
    compared,
    counted,
    decided,
    exactly,
    noted,
    undecided,
)
from locust_otel.slo.counts import Counts
from locust_otel.slo.verdict import Result, Status
from tests.unit.check_files import slo

SLO = slo("success: {sli: success, target: 99%}, mean: {sli: mean, within: 500ms}", min_requests=100)
SUCCESS, MEAN = SLO.objectives


def both(now: Assessment, before: Assessment) -> Assessment:
    """Return an assessment after the comparison with a baseline that may be worse by a tenth."""
    run, baseline = Assessments("now", (now,)), Assessments("before", (before,))
    return compared(SLO, run, baseline, Decimal("0.1")).assessments[0]


def success(bad: int, total: int = 5000) -> Assessment:
    """Return an assessment of success."""
    return counted(SLO, SUCCESS, Counts(total - bad, bad))


def mean(ms: float) -> Assessment:
    """Return an assessment of the mean."""
    return counted(SLO, MEAN, Counts(1000, 0, ms))


def parts(**ranges: tuple[int, int]) -> Assessment:
    """Return an assessment of durations in ms that are known as ranges, by part of the run."""
    measured = {part: (Fraction(low, 1000), Fraction(high, 1000)) for part, (low, high) in ranges.items()}
    return replace(mean(100), measured=measured)


@pytest.mark.parametrize(
    ("now", "before", "status", "regression"),
    [
        (success(1), success(0), "met", ""),
        (success(5), success(0), "met", ""),  # a tenth of the budget of 50
        (success(6), success(0), "missed", "worse than the baseline: 0.12 % bad, was 0 %"),
        (success(45), success(40), "met", ""),  # a tenth of the budget, which is more than a tenth of 40
        (success(46), success(40), "missed", "worse than the baseline: 0.92 % bad, was 0.8 %"),
        (success(110), success(100), "missed", ""),  # a tenth of the 100
        (success(111), success(100), "missed", "worse than the baseline: 2.22 % bad, was 2 %"),
        (mean(330), mean(300), "met", ""),
        (mean(331), mean(300), "missed", "worse than the baseline: 331 ms, was 300 ms"),
        (mean(100), mean(300), "met", ""),
        (parts(a=(120, 120), b=(100, 100)), parts(a=(100, 100), b=(100, 100)), "undecided", ""),  # only a is worse
        (parts(a=(100, 100), b=(120, 120)), parts(a=(100, 100), b=(100, 100)), "undecided", ""),  # only b is worse
        (parts(a=(120, 120), b=(120, 120)), parts(a=(100, 100), b=(100, 100)), "missed",
         "a worse than the baseline: 120 ms, was 100 ms"),
        (parts(a=(105, 115)), parts(a=(100, 100)), "undecided", ""),
        (parts(a=(105, 110)), parts(a=(100, 104)), "met", ""),
    ],
)  # fmt: skip
def test_a_baseline(now: Assessment, before: Assessment, status: str, regression: str) -> None:
    """An objective is missed if it is worse than the baseline by more than a tenth, in all parts of the run."""
    assessment = both(now, before)
    assert (assessment.result.status, assessment.regression) == (status, regression)
    assert regression in assessment.result.note
    assert (status == "undecided") is ("not decidable whether" in assessment.result.note)


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (undecided(SUCCESS, "why"), "why"),
        (Assessment(Result(SUCCESS, Counts(1000, 0), Status.INVALID, note="late")), "late"),
        (success(0, 99), "99 of the 100 requests it takes"),
        (Assessment(Result(SUCCESS, Counts(1000, 0), Status.MET)), "the two do not measure the same"),
    ],
)
def test_a_baseline_that_cannot_be_compared(before: Assessment, why: str) -> None:
    """An objective that was met is undecided with the reason, and a missed one is still missed."""
    met, missed = both(success(0), before), both(success(100), before)
    assert (met.result.status, missed.result.status) == (Status.UNDECIDED, Status.MISSED)
    assert met.result.note == f"the baseline cannot be compared: {why}"


def test_undecided_stays_undecided() -> None:
    """A baseline changes nothing about an objective that is undecided."""
    assert both(undecided(SUCCESS, "why"), success(0)) == undecided(SUCCESS, "why")


def test_the_note_of_a_comparison() -> None:
    """The note of all objectives names the baseline."""
    run = Assessments("now", (success(0), mean(1)), ("first",), is_aborted=True)
    result = compared(SLO, run, replace(run, source="before"), Decimal("0.125"))
    assert result.notes == ("first", "Compared with before: nothing may be worse by more than 12.5 %.")
    assert (result.source, result.is_aborted, result.results) == ("now", True, run.results)


@pytest.mark.parametrize(
    ("counts", "missed", "status", "note"),
    [
        (Counts(1000), False, "met", ""), (Counts(1000), True, "missed", ""), (Counts(1000), None, "undecided", "why"),
        (Counts(99), True, "undecided", "99 of the 100 requests it takes"),
    ],
)  # fmt: skip
def test_decided(counts: Counts, missed: bool | None, status: str, note: str) -> None:
    """The source decides, if there are enough requests; without the judged seconds no budget is known."""
    result = decided(SLO, SUCCESS, counts, missed, why="why", told="words")
    assert (result.status, result.note, result.told, result.budget_spent) == (status, note, "words", None)


def test_exact_numbers() -> None:
    """An exact result is measured as a fraction, and one without requests is not measured."""
    assert success(1, 3000).measured == {"": (Fraction(1, 3000),) * 2}
    assert (mean(300).measured, mean(300).is_share) == ({"": (Fraction(3, 10),) * 2}, False)
    assert exactly(Result(SUCCESS, Counts(), Status.UNDECIDED)).measured == {}
    assert counted(SLO, SUCCESS, Counts(995, 5), judged_s=900).result.budget_spent == pytest.approx(0.25)


def test_notes() -> None:
    """Notes are joined without empty ones."""
    assert noted(noted(success(0), "", "a"), "b").result.note == "a; b"
