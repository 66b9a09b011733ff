"""Judges a record, by the objectives of its run or by those of another SLO file."""

from __future__ import annotations

from decimal import Decimal

from locust_otel.review.record.reader import Record
from locust_otel.slo.counts import Counts, count
from locust_otel.slo.objectives import Objective, Sli, Slo, spoken
from locust_otel.slo.progress import Standing
from locust_otel.slo.validity import Validity
from locust_otel.slo.verdict import Result, Status


def results(record: Record, slo: Slo | None = None) -> list[Result]:
    """Return how each objective stands at the end of a record, in the order of the file.

    An objective whose threshold is no edge of the recorded histogram is undecided, and its note says why.

    Args:
        record: The record; one that was cut off is judged as far as it goes.
        slo: Objectives to judge by; None for those of its own run.

    Returns:
        Nothing where there are no objectives at all.
    """
    own = record.slo
    judged_by = slo if slo is not None else own
    if judged_by is None:
        return []
    decidable = tuple(each for each in judged_by.objectives if _is_decidable(each, record))
    warm_s = _warm_s(record, judged_by)
    baseline = {}
    if warm_s:
        before = record.requests(end_s=warm_s)
        baseline = {objective.name: count(objective, before) for objective in decidable}
    standing = Standing(
        judged_by,
        record.requests(),
        None if warm_s is None else baseline,
        max(0.0, record.elapsed_s - float(judged_by.warmup_s)),
        invalid=_invalid(record, judged_by),
        burning=(),
        aborted=None,
    )
    return [
        standing.result(objective) if objective in decidable else _undecidable(objective)
        for objective in judged_by.objectives
    ]


def _is_decidable(objective: Objective, record: Record) -> bool:
    return objective.sli is not Sli.LATENCY or float(objective.within_s or 0) in record.layout.bounds


def _undecidable(objective: Objective) -> Result:
    within = spoken(objective.within_s or Decimal(0))
    note = f"the run did not count at {within}; a run with this SLO file does"
    return Result(objective, Counts(), Status.UNDECIDED, note=note)


def _warm_s(record: Record, slo: Slo) -> float | None:
    """Return when the warm-up ended: 0 where there is none, None where it did not end."""
    if not slo.warmup_s:
        return 0.0
    if record.slo is not None and record.slo.warmup_s == slo.warmup_s:
        return record.warm_s
    ends = (i.end_s for i in record.intervals if i.end_s >= float(slo.warmup_s) and i.state != "stopped")
    return next(ends, None)


def _invalid(record: Record, slo: Slo) -> str:
    """Return why the numbers cannot be believed; empty where they can."""
    if record.verdict and record.slo is not None and record.slo.warmup_s == slo.warmup_s:
        # What the run has said: it looked at its generator at other moments than the record did.
        return next((str(each["note"]) for each in record.verdict if each["status"] == Status.INVALID), "")
    validity = Validity(record.start_time, float(slo.warmup_s))
    for interval in record.intervals:
        if interval.state != "stopped" and interval.end_s >= float(slo.warmup_s):
            validity.note(interval.end_s, interval.reasons)
    return validity.invalid(max(0.0, record.elapsed_s - float(slo.warmup_s)))
