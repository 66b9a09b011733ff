"""Judges a record, by the objectives of its run or by those of another SLO file."""

from __future__ import annotations

from decimal import Decimal

from locust_otel.review.record.reader import Record
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo, spoken
from locust_otel.slo.progress import Validity
from locust_otel.slo.verdict import JudgedRequests, Result, Status


def results(record: Record, slo: Slo | None = None) -> list[Result]:
    """Judge each objective at the end of a record, in the order of the file.

    Without an SLO file they are those of the run itself; the answer is empty if it has none. An objective whose
    threshold is not a bound of the recorded histogram is undecided, and its note says why.
    """
    slo = slo if slo is not None else record.slo
    if slo is None:
        return []
    bounds = record.layout.bounds
    decidable = [
        objective
        for objective in slo.objectives
        if objective.sli is not Sli.LATENCY or float(objective.within_s or 0) in bounds
    ]
    judged, warm_s = JudgedRequests(decidable), _warm_s(record, slo)
    if warm_s:
        judged.update(record.requests(end_s=warm_s))
        judged.restart()
    if warm_s is not None:
        judged.update(record.requests())
    judged_s = max(0.0, record.elapsed_s - float(slo.warmup_s))
    known = {result.objective.name: result for result in judged.results(slo, judged_s, invalid=_invalid(record, slo))}
    return [known.get(objective.name) or _undecidable(objective) for objective in slo.objectives]


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
    ends = (i.end_s for i in record.intervals if i.end_s >= float(slo.warmup_s) and not i.is_over)
    return next(ends, None)


def _invalid(record: Record, slo: Slo) -> str:
    """Return why the numbers are not valid; empty if they are."""
    if record.verdict and record.slo is not None and record.slo.warmup_s == slo.warmup_s:
        # The words of the run itself: it looked at its generator at other moments than the record did.
        return next((said["note"] for said in record.verdict if said["status"] == Status.INVALID), "")
    validity = Validity(record.start_time, float(slo.warmup_s))
    for interval in record.intervals:
        if not interval.is_over and interval.end_s >= float(slo.warmup_s):
            validity.note(interval.end_s, interval.reasons)
    return validity.invalid(max(0.0, record.elapsed_s - float(slo.warmup_s)))
