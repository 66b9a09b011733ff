"""A timeline of a run record."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from locust_otel.review.analysis.timeline import EndpointSeries, Timeline
from locust_otel.review.record.reader import Record

STOPPED = ("stopping", "stopped", "lost")


def timeline(record: Record, source: str = "") -> Timeline:
    """Return the intervals in which a recorded run had users; what came after its stop is left out."""
    intervals = [interval for interval in record.intervals if interval.state not in STOPPED]
    users = [sum(interval.users.values()) for interval in intervals]
    first = next((index for index, count in enumerate(users) if count), len(users))
    last = next((index for index in range(len(users), first, -1) if users[index - 1]), first)
    intervals, users = intervals[first:last], users[first:last]
    names = list(dict.fromkeys((key.method, key.name) for key in record.series))
    place = {name: index for index, name in enumerate(names)}
    of_series = [(place[key.method, key.name], key.outcome == "failure") for key in record.series]
    numbers = np.zeros((4, len(names), len(intervals)))  # good, failed, and their seconds
    cells = [_Cells([], [], []) for _ in names]
    for at, interval in enumerate(intervals):
        for position, delta in interval.counts.items():
            endpoint, is_failed = of_series[position]
            numbers[int(is_failed), endpoint, at] += delta.measured + (delta.unmeasured if is_failed else 0)
            numbers[2 + int(is_failed), endpoint, at] += delta.sum_s
            found = cells[endpoint]
            found.at.extend([at] * len(delta.counts))
            found.buckets.extend(delta.counts)
            found.counts.extend(delta.counts.values())
    endpoints = [
        EndpointSeries(
            method, name, numbers[0, index], numbers[1, index], numbers[2, index], numbers[3, index],
            np.stack((cells[index].at, cells[index].buckets), axis=1).astype(np.int64),
            np.array(cells[index].counts, float),
        )
        for index, (method, name) in enumerate(names)
    ]  # fmt: skip
    cpu = [max((w.cpu_ratio for w in i.workers if w.cpu_ratio is not None), default=np.nan) for i in intervals]
    slo = record.slo
    return Timeline(
        source=source or record.run_id,
        run_id=record.run_id,
        start_s=np.array([interval.start_s for interval in intervals]),
        end_s=np.array([interval.end_s for interval in intervals]),
        users=np.array(users, float),
        endpoints=tuple(sorted(endpoints, key=lambda each: -float(each.good.sum() + each.failed.sum()))),
        bounds=np.array(record.layout.bounds),
        keeps_up=np.array([interval.keeps_up for interval in intervals], bool),
        cpu=np.array(cpu, float),
        marks=tuple(record.marks),
        slo=slo,
        warmup_s=float(slo.warmup_s) if slo is not None else 0.0,
    )


class _Cells(NamedTuple):
    at: list[int]
    buckets: list[int]
    counts: list[int]
