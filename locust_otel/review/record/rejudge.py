"""Judges a record, by the objectives of its run or by those of another SLO file."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from math import inf

from locust_otel.review.record.reader import Cumulated, Record
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo, spoken
from locust_otel.slo.validity import LOOK_BACK_S, Load, Validity
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
    doubt = _validity(record, slo, decidable, warm_s).doubt(judged_s, judged.counts())
    known = {result.objective.name: result for result in judged.results(slo, judged_s, doubt)}
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


def _validity(record: Record, slo: Slo, objectives: list[Objective], warm_s: float | None) -> Validity:
    """Return when the generator of a run did not keep up, and what was judged meanwhile."""
    validity, judged, cumulated = Validity(slo, record.start_time), JudgedRequests(objectives), Cumulated(record)
    if not any(interval.reasons for interval in record.intervals):
        return validity
    late_ends_s = [interval.end_s for interval in record.intervals if interval.reasons]
    for interval, after in pairwise((*record.intervals, None)):
        assert interval is not None  # noqa: S101  # for the type checker
        cumulated.add(interval)
        if warm_s is None or interval.is_over or interval.end_s < warm_s:
            continue
        # Counted only where it is asked for: at late intervals, and as far before them as `Validity` looks back.
        next_s = next((end_s for end_s in late_ends_s if end_s >= interval.end_s), inf)
        is_warm = 0 < warm_s == interval.end_s
        counts: dict[str, Counts] = {}
        if is_warm or next_s <= interval.end_s + LOOK_BACK_S or (after is not None and after.end_s == next_s):
            judged.update(cumulated.snapshot())
            if is_warm:
                judged.restart()
            counts = judged.counts()
        users = sum(interval.users.values())
        target = max(sum(interval.users_target.values()), users) if interval.state == "running" else users
        validity.note(interval.end_s, interval.reasons, counts, Load(users, target, interval.late_s))
    return validity
