"""Good and bad requests of an objective, counted from the histogram of each series.

Each threshold is a bound of the histogram, so the counts are exact and cost nothing for each request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import SeriesSnapshot
from locust_otel.slo.objectives import Objective, Sli


class Counts(NamedTuple):
    """Judged requests; for a mean all requests with a duration are good, and only a mean has a sum of durations."""

    good: int = 0
    bad: int = 0
    sum_s: float = 0.0

    @property
    def total(self) -> int:
        """All judged requests."""
        return self.good + self.bad

    def more(self, other: Counts) -> Counts:
        """Return the requests with the other counts added."""
        return Counts(self.good + other.good, self.bad + other.bad, self.sum_s + other.sum_s)

    def less(self, other: Counts) -> Counts:
        """Return the requests since the other counts; never below zero."""
        return Counts(max(self.good - other.good, 0), max(self.bad - other.bad, 0), max(self.sum_s - other.sum_s, 0.0))


Endpoint = tuple[str, str]
"""Method and name."""


def count(objective: Objective, series: Iterable[SeriesSnapshot], layout: Layout) -> Counts:
    """Return the requests of series as an objective judges them.

    Raises:
        KeyError: The threshold of the objective is not a bound of the histogram.
    """
    good, bad, sum_s = 0, 0, 0.0
    sli, only_success = objective.sli, objective.only_success
    covers = objective.match.covers if objective.match else None
    threshold_s = float(objective.within_s or 0)
    for snapshot in series:
        method, name, user_class, outcome = snapshot.key
        failed = outcome == "failure"
        if (failed and only_success) or (covers is not None and not covers(method, name, user_class)):
            continue
        if sli is Sli.SUCCESS:
            if failed:
                bad += snapshot.total
            else:
                good += snapshot.total
        elif sli is Sli.LATENCY:
            above = layout.above(snapshot.counts, threshold_s)
            good += snapshot.measured - above
            bad += above
        else:
            good += snapshot.measured
            sum_s += snapshot.sum_s
    return Counts(good, bad, sum_s)
