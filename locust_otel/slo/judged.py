"""The judged requests of a run, kept up to date at the cost of the endpoints that have changed."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from math import fsum
from operator import is_not

from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import RequestsSnapshot, SeriesSnapshot
from locust_otel.slo.counts import Counts, Endpoint, count
from locust_otel.slo.objectives import Objective, Slo
from locust_otel.slo.verdict import Result, Worst, judge, worst

_NONE = Counts()


class _Tally:
    """The judged requests of one objective.

    Attributes:
        before: Requests of the warm-up, by endpoint.
        by_endpoint: Requests since then, in the order in which the endpoints came up.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._match = replace(objective.match, user_classes=())
        self.restart({})

    def restart(self, before: dict[Endpoint, Counts]) -> None:
        """Count the requests after these."""
        self.before = before
        self.by_endpoint = dict.fromkeys(before, _NONE)
        self._good = self._bad = 0
        self._sums: tuple[Counts, Worst | None] | None = None

    def judges(self, endpoint: Endpoint) -> bool:
        """Return whether the objective judges an endpoint, if only the requests of some user classes."""
        return self._match.covers(*endpoint, "")

    def put(self, endpoint: Endpoint, series: Sequence[SeriesSnapshot], layout: Layout) -> None:
        """Count an endpoint again.

        Args:
            endpoint: Method and name.
            series: All series of it.
            layout: Where the bounds of their histogram lie.
        """
        counts, known = count(self.objective, series, layout), self.by_endpoint.get(endpoint, _NONE)
        if endpoint in self.before:
            counts = counts.less(self.before[endpoint])
        self.by_endpoint[endpoint] = counts
        self._good += counts.good - known.good
        self._bad += counts.bad - known.bad
        self._sums = None

    def sums(self) -> tuple[Counts, Worst | None]:
        """Return the requests of all endpoints, and the worst endpoint."""
        if self._sums is None:
            sum_s = 0.0
            if self.objective.target is None:
                # Added up anew: from differences the sum would depend on how often it was asked for.
                sum_s = fsum([counts.sum_s for counts in self.by_endpoint.values()])
            self._sums = Counts(self._good, self._bad, sum_s), worst(self.objective, self.by_endpoint)
        return self._sums


class JudgedRequests:
    """Counts the requests of a run for each objective.

    A series that has not changed is the same object as in the last snapshot, so only endpoints with another object are
    counted again. The result is the same as that of one count of everything.

    Args:
        objectives: What the requests are judged by.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._tallies = [_Tally(objective) for objective in objectives]
        self._before = b""
        self._forget()

    def __getstate__(self) -> tuple[list[Objective], bytes]:
        return [tally.objective for tally in self._tallies], self._before  # all else is counted again

    def __setstate__(self, state: tuple[list[Objective], bytes]) -> None:
        objectives, self._before = state
        self._tallies = [_Tally(objective) for objective in objectives]
        if self._before:
            for tally, before in zip(self._tallies, pickle.loads(self._before), strict=True):  # noqa: S301  # our own
                tally.restart(before)
        self._forget()

    def _forget(self) -> None:
        for tally in self._tallies:
            tally.restart(tally.before)
        self._series: tuple[SeriesSnapshot, ...] = ()
        self._positions: dict[Endpoint, list[int]] = {}
        self._judging: dict[Endpoint, list[_Tally]] = {}

    def restart(self) -> None:
        """Leave out the requests so far, as those of the warm-up; to be called once."""
        before = [tally.by_endpoint for tally in self._tallies]
        for tally in self._tallies:
            tally.restart(tally.by_endpoint)
        self._before = pickle.dumps(before, protocol=pickle.HIGHEST_PROTOCOL)  # once, since it never changes

    def update(self, requests: RequestsSnapshot) -> None:
        """Count the requests of the run as they are now."""
        series, known = requests.series, self._series
        changed = [*compress(range(len(known)), map(is_not, series, known))]
        if len(series) < len(known) or any(series[at].key != known[at].key for at in changed):
            self._forget()  # the series of another run, or in another order
            known, changed = (), []
        for at in range(len(known), len(series)):
            endpoint = series[at].key[:2]
            if endpoint not in self._positions:
                self._positions[endpoint] = []
                self._judging[endpoint] = [tally for tally in self._tallies if tally.judges(endpoint)]
            self._positions[endpoint].append(at)
            changed.append(at)
        self._series = series
        for endpoint in dict.fromkeys([series[at].key[:2] for at in changed]):
            of_endpoint = [series[at] for at in self._positions[endpoint]]
            for tally in self._judging[endpoint]:
                tally.put(endpoint, of_endpoint, requests.layout)

    def counts(self) -> dict[str, Counts]:
        """Return the judged requests by name of the objective."""
        return {tally.objective.name: tally.sums()[0] for tally in self._tallies}

    def results(self, slo: Slo, judged_s: float, *, invalid: str = "") -> tuple[Result, ...]:
        """Return the judgement of each objective, in their order.

        Args:
            slo: The file that the objectives are of.
            judged_s: Seconds since the warm-up.
            invalid: Why the numbers are not valid; empty if they are.
        """
        results = []
        for tally in self._tallies:
            counts, worst_endpoint = tally.sums()
            result = judge(slo, tally.objective, counts, judged_s, invalid=invalid)
            results.append(replace(result, worst=worst_endpoint))
        return tuple(results)
