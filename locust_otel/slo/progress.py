"""Objectives of one run while it is running: warm-up, verdict, burn rates, abort."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from locust_otel.core.snapshot import ObjectivePoint, RequestsSnapshot
from locust_otel.slo.burn import Burning, BurnRates
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, Window
from locust_otel.slo.validity import NO_LOAD, Doubt, Load, Validity
from locust_otel.slo.verdict import CERTAIN, JudgedRequests, Result, Status, overall


@dataclass(frozen=True, slots=True)
class Standing:
    """Objectives of a run at one moment; the results are in the order of the file."""

    slo: Slo
    judged_s: float  # seconds since the warm-up
    is_warming_up: bool
    burning: tuple[Burning, ...]  # pairs of windows that burned at the last look
    aborted: Burning | None  # the pair for which --slo-abort has stopped the run
    results: tuple[Result, ...]
    doubt: Doubt = CERTAIN

    @property
    def verdict(self) -> Status:
        """The verdict on the run."""
        return overall(self.results, is_aborted=self.aborted is not None)

    def points(self) -> tuple[ObjectivePoint, ...]:
        """Return the results as the values to export."""
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
    """Objectives of one run, which starts at `start_time` in Unix time.

    It can be pickled. Its methods must not run at the same time.
    """

    def __init__(self, slo: Slo, start_time: float) -> None:
        self.slo = slo
        self.aborted: Burning | None = None  # the pair for which --slo-abort has stopped the run
        self.validity = Validity(slo, start_time)
        self.is_warming_up = bool(slo.warmup_s)  # if so, no request is judged yet
        self._judged = JudgedRequests(slo.objectives)
        self._rates, self._certain = BurnRates(slo), BurnRates(slo)  # the second without requests of a late generator
        for rates in self._rates, self._certain:
            rates.add(float(slo.warmup_s), dict.fromkeys((o.name for o in slo.objectives), Counts()))
        self._burning: tuple[Burning, ...] = ()

    def observe(
        self, requests: RequestsSnapshot, elapsed_s: float, *, invalid: Collection[str] = (), load: Load = NO_LOAD
    ) -> tuple[Burning, ...]:
        """Compute the burn rates, about once a second; return the pairs that burn.

        The first call at least `warmup_s` seconds after the start ends the warm-up: earlier requests are not judged.
        `invalid` are the current reasons of `catalogue.INVALID_REASONS`, `load` is the current load.
        """
        if elapsed_s < float(self.slo.warmup_s):
            return ()
        self._judged.update(requests)
        if self.is_warming_up:
            self._judged.restart()
            self.is_warming_up = False
        counts = self._judged.counts()
        self.validity.note(elapsed_s, invalid, counts, load)
        self._rates.add(elapsed_s, counts)
        late = self.validity.late(counts)
        self._certain.add(elapsed_s, {name: now.less(late[name]) for name, now in counts.items()})
        self._burning = tuple(self._rates.burning())
        return self._burning

    def critical(self) -> Burning | None:
        """Return a critical pair that burned at the last look, even without the requests of a late generator."""
        certain = {(pair.objective, pair.window) for pair in self._certain.burning()}
        critical = (pair for pair in self._burning if pair.window.severity == "critical")
        return next((pair for pair in critical if (pair.objective, pair.window) in certain), None)

    def rates(self, objective: Objective) -> Iterator[tuple[Window, float | None, float | None, bool]]:
        """Yield the last burn rates of an objective: pair of windows, long, short, and whether both burn."""
        burning = {pair.window for pair in self._burning if pair.objective == objective}
        for window in self.slo.windows if objective.budget is not None else ():
            long_rate, short_rate = (self._rates.rate(objective, length) for length in (window.long_s, window.short_s))
            yield window, long_rate, short_rate, window in burning

    def judge(self, requests: RequestsSnapshot, elapsed_s: float) -> Standing:
        """Judge the requests of the run so far, `elapsed_s` seconds after its start."""
        if not self.is_warming_up:
            self._judged.update(requests)
        judged_s = max(0.0, elapsed_s - float(self.slo.warmup_s))
        doubt = self.validity.doubt(judged_s, self._judged.counts())
        return Standing(
            slo=self.slo,
            judged_s=judged_s,
            is_warming_up=self.is_warming_up,
            burning=self._burning,
            aborted=self.aborted,
            results=self._judged.results(self.slo, judged_s, doubt),
            doubt=doubt,
        )
