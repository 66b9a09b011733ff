"""How the objectives of one run stand while it goes on: warm-up, judged counts, burn rates, validity, abort."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from locust_otel.core.snapshot import ObjectivePoint, RequestsSnapshot
from locust_otel.slo.burn import Burning, BurnRates
from locust_otel.slo.counts import Counts, Endpoint, count, total
from locust_otel.slo.objectives import Objective, Slo, Window
from locust_otel.slo.validity import Validity
from locust_otel.slo.verdict import Result, judge, worst

_ByEndpoint = Mapping[Endpoint, Counts]
_Baseline = Mapping[str, _ByEndpoint]


class Standing:
    """How the objectives of a run stand at one moment.

    Judged only when somebody asks, one objective at a time: an exporter gives the event loop back in between.

    Attributes:
        judged_s: Seconds since the warm-up.
        is_warming_up: Whether nothing is judged yet.
        burning: Pairs that burned when the burn rates were last looked at.
        aborted: What ended the run by --slo-abort, if anything did.
    """

    def __init__(  # noqa: PLR0913  # all that a judgement needs
        self,
        slo: Slo,
        requests: RequestsSnapshot,
        baseline: _Baseline | None,
        judged_s: float,
        *,
        invalid: str,
        burning: tuple[Burning, ...],
        aborted: Burning | None,
    ) -> None:
        self.slo = slo
        self.judged_s = judged_s
        self.is_warming_up = baseline is None
        self.burning = burning
        self.aborted = aborted
        self._requests = requests
        self._baseline = baseline
        self._invalid = invalid
        self._results: dict[str, Result] = {}

    def results(self) -> Iterator[Result]:
        """Yield how each objective stands, in the order of the file."""
        for objective in self.slo.objectives:
            yield self.result(objective)

    def result(self, objective: Objective) -> Result:
        """Return how one objective of the file stands."""
        result = self._results.get(objective.name)
        if result is None:
            result = self._results[objective.name] = self._judged(objective)
        return result

    def points(self) -> Iterator[ObjectivePoint]:
        """Yield the same as the plain values that are exported."""
        for result in self.results():
            objective = result.objective
            yield ObjectivePoint(
                name=objective.name,
                service=self.slo.service,
                target=None if objective.target is None else float(objective.target),
                within_s=None if objective.within_s is None else float(objective.within_s),
                min_requests=self.slo.min_requests,
                good=result.counts.good,
                bad=result.counts.bad,
                sum_s=result.counts.sum_s,
                status=result.status.value,
            )

    def _judged(self, objective: Objective) -> Result:
        if self._baseline is None:
            by_endpoint: dict[Endpoint, Counts] = {}
        else:
            by_endpoint = since(count(objective, self._requests), self._baseline.get(objective.name, {}))
        result = judge(self.slo, objective, total(by_endpoint), self.judged_s, invalid=self._invalid)
        return replace(result, worst=worst(objective, by_endpoint))


def since(now: _ByEndpoint, before: _ByEndpoint) -> dict[Endpoint, Counts]:
    """Return the counts that came since, by endpoint."""
    return {endpoint: counts.less(before.get(endpoint, Counts())) for endpoint, counts in now.items()}


class Progress:
    """The objectives of one run.

    Attributes:
        aborted: What ended the run by --slo-abort, if anything did.
        validity: When its numbers could not be believed.
        on_warm: Called at the moment at which the warm-up ends, before anything else can happen.
    """

    def __init__(self, slo: Slo, start_time: float) -> None:
        self.slo = slo
        self.aborted: Burning | None = None
        self.on_warm: Callable[[], None] = lambda: None
        self._baseline: _Baseline | None = None if slo.warmup_s else {}
        self._rates = BurnRates(slo)
        self._rates.add(float(slo.warmup_s), dict.fromkeys((o.name for o in slo.objectives), Counts()))
        self._burning: tuple[Burning, ...] = ()
        self.validity = Validity(start_time, float(slo.warmup_s))

    @property
    def warmup_left(self) -> bool:
        """Whether the warm-up is not over."""
        return self._baseline is None

    def observe(
        self,
        requests: RequestsSnapshot,
        elapsed_s: float,
        *,
        invalid: Collection[str] = (),
        pause: Callable[[], None] = lambda: None,
    ) -> tuple[Burning, ...]:
        """Look at a run as it is now, about once a second; return the pairs that burn.

        Args:
            requests: Its requests.
            elapsed_s: Seconds since its start.
            invalid: Why its numbers cannot be believed now, of `catalogue.INVALID_REASONS`; nothing where they can.
            pause: Called between two objectives.
        """
        if elapsed_s < float(self.slo.warmup_s):
            return ()
        if self._baseline is None:
            # In one piece: what is left out of one objective is left out of all.
            self._baseline = {objective.name: count(objective, requests) for objective in self.slo.objectives}
            self.on_warm()
        counts = {}
        for objective in self.slo.objectives:
            counts[objective.name] = total(since(count(objective, requests), self._baseline.get(objective.name, {})))
            pause()
        self._rates.add(elapsed_s, counts)
        self.validity.note(elapsed_s, invalid)
        self._burning = tuple(self._rates.burning())
        return self._burning

    def rates(self, objective: Objective) -> Iterator[tuple[Window, float | None, float | None, bool]]:
        """Yield the burn rates of an objective, as last looked at: window, long, short, and whether both burn."""
        burning = {pair.window for pair in self._burning if pair.objective == objective}
        for window in self.slo.windows if objective.budget is not None else ():
            long_rate, short_rate = (self._rates.rate(objective, length) for length in (window.long_s, window.short_s))
            yield window, long_rate, short_rate, window in burning

    def standing(self, requests: RequestsSnapshot, elapsed_s: float) -> Standing:
        """Return how the objectives stand."""
        judged_s = max(0.0, elapsed_s - float(self.slo.warmup_s))
        return Standing(
            self.slo,
            requests,
            self._baseline,
            judged_s,
            invalid=self.validity.invalid(judged_s),
            burning=self._burning,
            aborted=self.aborted,
        )
