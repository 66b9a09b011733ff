"""Judges a record, by the objectives of its run or by those of another SLO file."""

from __future__ import annotations

from decimal import Decimal

from locust_otel.review.record.reader import Record
from locust_otel.slo.counts import Counts
from locust_otel.slo.judged import JudgedRequests
from locust_otel.slo.objectives import Objective, Sli, Slo, spoken
from locust_otel.slo.validity import Validity
from locust_otel.slo.verdict import Result, Status

_OVER = ("stopped", "lost")


def results(record: Record, slo: Slo | None = None) -> list[Result]:
    """Judge each objective at the end of a record, in the order of the file.

    An objective whose threshold is not a bound of the recorded histogram is undecided, and its note says why.

    Args:
        record: The record; if it was cut off, the intervals in it are judged.
        slo: Objectives to judge by; None for those of its own run.

    Returns:
        One result for each objective; empty without objectives.
    """
    own = record.slo
    judged_by = slo if slo is not None else own
    if judged_by is None:
        return []
    decidable = [objective for objective in judged_by.objectives if _is_decidable(objective, record)]
    judged, warm_s = JudgedRequests(decidable), _warm_s(record, judged_by)
    if warm_s:
        judged.update(record.requests(end_s=warm_s))
        judged.restart()
    if warm_s is not None:
        judged.update(record.requests())
    judged_s = max(0.0, record.elapsed_s - float(judged_by.warmup_s))
    known = {
        result.objective.name: result
        for result in judged.results(judged_by, judged_s, invalid=_invalid(record, judged_by))
    }
    return [known.get(objective.name) or _undecidable(objective) for objective in judged_by.objectives]


def _is_decidable(objective: Objective, record: Record) -> bool:
    return objective.sli is not Sli.LATENCY or float(objective.within_s or 0) in record.layout.bounds


def _undecidable(objective: Objective) -> Result:
    within = spoken(objective.within_s or Decimal(0))
    note = f"the run did not count at {within}; a run with this SLO file does"
    return Result(objective, Counts(), Status.UNDECIDED, note=note)


def _warm_s(record: Record, slo: Slo) -> float | None:
    """Return the end of the warm-up in seconds: 0 without a warm-up, None if it did not end."""
    if not slo.warmup_s:
        return 0.0
    if record.slo is not None and record.slo.warmup_s == slo.warmup_s:
        return record.warm_s
    ends = (i.end_s for i in record.intervals if i.end_s >= float(slo.warmup_s) and i.state not in _OVER)
    return next(ends, None)


def _invalid(record: Record, slo: Slo) -> str:
    """Return why the numbers are not valid; empty if they are."""
    if record.verdict and record.slo is not None and record.slo.warmup_s == slo.warmup_s:
        # The words of the run itself: it looked at its generator at other moments than the record did.
        return next((str(each["note"]) for each in record.verdict if each["status"] == Status.INVALID), "")
    validity = Validity(record.start_time, float(slo.warmup_s))
    for interval in record.intervals:
        if interval.state not in _OVER and interval.end_s >= float(slo.warmup_s):
            validity.note(interval.end_s, interval.reasons)
    return validity.invalid(max(0.0, record.elapsed_s - float(slo.warmup_s)))
