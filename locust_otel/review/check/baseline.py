"""A run against an earlier one: what is worse by more than it may be is a miss."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check.assessments import Assessment, Assessments, Range
from locust_otel.slo import text
from locust_otel.slo.objectives import Slo, percent
from locust_otel.slo.verdict import Status

_FLAG = "--max-regression"


def regression(written: str) -> Decimal:
    """Return the share that `10%` or `0.1` asks for.

    Raises:
        ConfigurationError: It is neither.
    """
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,6})? ?%?", written):
        raise ConfigurationError(
            _FLAG, f"{written[:40]!r} is not a share.", "Write 10% or 0.1.", slug="check-max-regression"
        )
    number = Decimal(written.rstrip("% "))
    return number / 100 if written.endswith("%") else number


def compared(slo: Slo, now: Assessments, before: Assessments, allowed: Decimal) -> Assessments:
    """Return the assessments of a run, judged against those of an earlier one too; of both, in the order of the file.

    Args:
        slo: The file.
        now: The run.
        before: The baseline.
        allowed: How much worse a number may be, as a share of the baseline's; for a share of bad requests, of the
            baseline's or of the budget, whichever is larger.
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
        pairs = {part: (now, base.measured[part]) for part, now in assessment.measured.items()}
        verdicts = {part: _is_worse(assessment, *pair, Fraction(allowed)) for part, pair in pairs.items()}
        # As with percentiles of several lines against a threshold: all have to agree.
        if not any(worse is not False for worse in verdicts.values()):
            return assessment
        first = next(part for part, worse in verdicts.items() if worse is not False)
        told = _told(assessment, first, *pairs[first])
        if all(verdicts.values()):
            note = "; ".join(filter(None, (result.note, told)))
            return replace(assessment, result=replace(result, status=Status.MISSED, note=note), regression=told)
        why = f"not decidable whether {told}"
    status = Status.UNDECIDED if result.status is Status.MET else result.status
    return replace(assessment, result=replace(result, status=status, note="; ".join(filter(None, (result.note, why)))))


def _incomparable(slo: Slo, assessment: Assessment, base: Assessment) -> str:
    """Return why a baseline says nothing; empty where it does."""
    result = base.result
    if result.status is Status.INVALID or (result.status is Status.UNDECIDED and not base.measured):
        return f"the baseline cannot be compared: {result.note}"
    if result.counts.total < slo.min_requests:
        return f"the baseline cannot be compared: {result.counts.total:,} of the {slo.min_requests:,} requests it takes"
    if not assessment.measured or assessment.measured.keys() != base.measured.keys():
        return "the baseline cannot be compared: the two do not measure the same"
    return ""


def _is_worse(assessment: Assessment, now: Range, before: Range, allowed: Fraction) -> bool | None:
    """Return whether a number is worse by more than it may be; None where the bounds leave it open."""

    def limit(base: Fraction) -> Fraction:
        of = max(base, Fraction(assessment.result.objective.budget or 0)) if assessment.is_share else base
        return base + allowed * of

    if now[0] > limit(before[1]):
        return True
    return False if now[1] <= limit(before[0]) else None


def _told(assessment: Assessment, part: str, now: Range, before: Range) -> str:
    def value(number: Fraction) -> str:
        return f"{float(number) * 100:.3g} %" if assessment.is_share else text.duration(float(number))

    of = f"{part} " if part else ""
    what = " bad" if assessment.is_share else ""
    return f"{of}worse than the baseline: {value(now[1])}{what}, was {value(before[0])}"
