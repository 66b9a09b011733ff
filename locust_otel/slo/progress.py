"""The objectives of one run while it is running: warm-up, judgement, burn rates, validity, abort."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from locust_otel.core.snapshot import ObjectivePoint, RequestsSnapshot
from locust_otel.slo.burn import Burning, BurnRates
from locust_otel.slo.counts import Counts
from locust_otel.slo.judged import JudgedRequests
from locust_otel.slo.objectives import Objective, Slo, Window
from locust_otel.slo.validity import Validity
from locust_otel.slo.verdict import Result


@dataclass(frozen=True, slots=True)
class Standing:
    """Objectives of a run, judged at one moment.

    Attributes:
        judged_s: Seconds since the warm-up.
        is_warming_up: Whether the warm-up is not over, so that no request is judged.
        burning: Pairs of windows that burned when the burn rates were last computed.
        aborted: The pair for which --slo-abort has stopped the run; None if it has not.
        results: One for each objective, in the order of the file.
    """

    slo: Slo
    judged_s: float
    is_warming_up: bool
    burning: tuple[Burning, ...]
    aborted: Burning | None
    results: tuple[Result, ...]

    def points(self) -> tuple[ObjectivePoint, ...]:
        """Return the results as the plain values that are exported."""
        return tuple(
            ObjectivePoint(
                name=result.objective.name,
                service=self.slo.service,
                target=None if result.objective.target is None else float(result.objective.target),
                within_s=None if result.objective.within_s is None else float(result.objective.within_s),
                min_requests=self.slo.min_requests,
                good=result.counts.good,
                bad=result.counts.bad,
                sum_s=result.counts.sum_s,
                status=result.status.value,
            )
            for result in self.results
        )


class Progress:
    """The objectives of one run. It is picklable; its methods must not run at the same time.

    Args:
        slo: The objectives.
        start_time: Start of the run in Unix time.

    Attributes:
        aborted: The pair for which --slo-abort has stopped the run; None if it has not.
        validity: Times at which the numbers of the run were not valid.
        is_warming_up: Whether the warm-up is not over, so that no request is judged.
    """

    def __init__(self, slo: Slo, start_time: float) -> None:
        self.slo = slo
        self.aborted: Burning | None = None
        self.validity = Validity(start_time, float(slo.warmup_s))
        self.is_warming_up = bool(slo.warmup_s)
        self._judged = JudgedRequests(slo.objectives)
        self._rates = BurnRates(slo)
        self._rates.add(float(slo.warmup_s), dict.fromkeys((o.name for o in slo.objectives), Counts()))
        self._burning: tuple[Burning, ...] = ()

    def observe(
        self, requests: RequestsSnapshot, elapsed_s: float, *, invalid: Collection[str] = ()
    ) -> tuple[Burning, ...]:
        """Compute the burn rates, about once a second; return the pairs that burn.

        The first call after the warm-up ends it: the requests until then are not judged.

        Args:
            requests: Requests of the run.
            elapsed_s: Seconds since its start.
            invalid: Why its numbers are not valid now, of `catalogue.INVALID_REASONS`; empty if they are.
        """
        if elapsed_s < float(self.slo.warmup_s):
            return ()
        self._judged.update(requests)
        if self.is_warming_up:
            self._judged.restart()
            self.is_warming_up = False
        self._rates.add(elapsed_s, self._judged.counts())
        self.validity.note(elapsed_s, invalid)
        self._burning = tuple(self._rates.burning())
        return self._burning

    def rates(self, objective: Objective) -> Iterator[tuple[Window, float | None, float | None, bool]]:
        """Yield the last burn rates of an objective: window, long, short, and whether both burn."""
        burning = {pair.window for pair in self._burning if pair.objective == objective}
        for window in self.slo.windows if objective.budget is not None else ():
            long_rate, short_rate = (self._rates.rate(objective, length) for length in (window.long_s, window.short_s))
            yield window, long_rate, short_rate, window in burning

    def judge(self, requests: RequestsSnapshot, elapsed_s: float) -> Standing:
        """Judge the requests of the run so far.

        Args:
            requests: Requests of the run.
            elapsed_s: Seconds since its start.
        """
        if not self.is_warming_up:
            self._judged.update(requests)
        judged_s = max(0.0, elapsed_s - float(self.slo.warmup_s))
        return Standing(
            slo=self.slo,
            judged_s=judged_s,
            is_warming_up=self.is_warming_up,
            burning=self._burning,
            aborted=self.aborted,
            results=self._judged.results(self.slo, judged_s, invalid=self.validity.invalid(judged_s)),
        )
