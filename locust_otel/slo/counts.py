"""What the requests so far count for an objective: good, bad, and how long they took.

Read from the histogram's own bounds, of which each threshold is one: no interpolation, and no cost on the request path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from locust_otel.core.snapshot import RequestsSnapshot
from locust_otel.slo.objectives import Objective, Sli


class Counts(NamedTuple):
    """Judged requests.

    Attributes:
        good: Requests that keep the objective; for the mean all that have a duration.
        bad: Requests that do not.
        sum_s: Sum of the durations in seconds, where the objective is on the mean.
    """

    good: int = 0
    bad: int = 0
    sum_s: float = 0.0

    @property
    def total(self) -> int:
        """All judged requests."""
        return self.good + self.bad

    def plus(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(self.good + other.good, self.bad + other.bad, self.sum_s + other.sum_s)

    def less(self, other: Counts) -> Counts:
        """Return what came since the other; never below zero."""
        return Counts(max(self.good - other.good, 0), max(self.bad - other.bad, 0), max(self.sum_s - other.sum_s, 0.0))


Endpoint = tuple[str, str]
"""Method and name."""


def count(objective: Objective, requests: RequestsSnapshot) -> dict[Endpoint, Counts]:
    """Return the judged requests by endpoint; empty where none matches."""
    result: dict[Endpoint, Counts] = {}
    threshold_s = float(objective.within_s or 0)
    for series in requests.series:
        key = series.key
        failed = key.outcome == "failure"
        if (failed and objective.only_success) or not objective.match.covers(key.method, key.name, key.user_class):
            continue
        if objective.sli is Sli.SUCCESS:
            counts = Counts(0, series.total) if failed else Counts(series.total)
        elif objective.sli is Sli.LATENCY:
            bad = requests.layout.above(series.counts, threshold_s)
            counts = Counts(series.measured - bad, bad)
        else:
            counts = Counts(series.measured, 0, series.sum_s)
        endpoint = (key.method, key.name)
        result[endpoint] = result[endpoint].plus(counts) if endpoint in result else counts
    return result


def total(counts: Mapping[Endpoint, Counts]) -> Counts:
    """Return the judged requests of all endpoints."""
    result = Counts()
    for each in counts.values():
        result = result.plus(each)
    return result
