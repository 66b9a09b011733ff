"""Verdict on a record, by the objectives of its run or by those of another SLO file."""

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

    By default the SLO file is that of the run; the result is empty if the run had none. An objective whose threshold is
    not a bound of the recorded histogram is undecided, with the reason in its note.
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
    decided = {result.objective.name: result for result in judged.results(slo, judged_s, doubt)}
    return [decided.get(objective.name) or _undecidable(objective) for objective in slo.objectives]


def _undecidable(objective: Objective) -> Result:
    within = spoken(objective.within_s or Decimal(0))
    note = f"the record has no counts at {within}: only a run with this SLO file has"
    return Result(objective, Counts(), Status.UNDECIDED, note=note)


def _warm_s(record: Record, slo: Slo) -> float | None:
    """Return the end of the warm-up in seconds: 0 without a warm-up, None if it did not end."""
    if not slo.warmup_s:
        return 0.0
    if record.slo is not None and record.slo.warmup_s == slo.warmup_s:
        return record.warm_s
    after = (interval for interval in record.intervals if interval.end_s >= float(slo.warmup_s))
    return next((interval.end_s for interval in after if not interval.is_over), None)


def _validity(record: Record, slo: Slo, objectives: list[Objective], warm_s: float | None) -> Validity:
    """Return the times at which the generator did not keep up, with the requests that were judged then."""
    validity, judged, cumulated = Validity(slo, record.start_time), JudgedRequests(objectives), Cumulated(record)
    late_ends_s = [interval.end_s for interval in record.intervals if interval.reasons]
    if not late_ends_s:
        return validity
    for interval, after in pairwise((*record.intervals, None)):
        assert interval is not None  # noqa: S101  # for the type checker
        cumulated.add(interval)
        if warm_s is None or interval.is_over or interval.end_s < warm_s:
            continue
        # To count takes time: only late intervals need it, and those before them within the look-back of `Validity`.
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
