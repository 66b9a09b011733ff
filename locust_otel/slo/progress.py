"""The objectives of one run while it is running: warm-up, judgement, burn rates, validity, abort."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from locust_otel.core.catalogue import INVALID_REASONS
from locust_otel.core.snapshot import ObjectivePoint, RequestsSnapshot
from locust_otel.slo.burn import Burning, BurnRates
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, Window
from locust_otel.slo.verdict import JudgedRequests, Result

MAX_INVALID_SHARE = 0.1
"""Share of the judged time in which the numbers may be invalid; above it, nothing is decided."""

WORDS = {
    "cpu": "generator saturated (no CPU left)",
    "lag": "generator saturated (its event loop late)",
    "workers": "workers missing",
}
"""Descriptions of `catalogue.INVALID_REASONS`."""

_MAX_SPANS = 1000


@dataclass(slots=True)
class Span:
    """A time in which the numbers were not valid, in seconds since the start of the run, and the reasons."""

    start_s: float
    end_s: float
    reasons: frozenset[str]


class Validity:
    """Collects the times at which the numbers of a run were not valid, at most 1,000; the last is extended further.

    The run starts at `start_time` in Unix time. Invalid numbers in its first `from_s` seconds do not matter.
    """

    def __init__(self, start_time: float, from_s: float) -> None:
        self.spans: list[Span] = []
        self._start_time = start_time
        self._looked_s = from_s

    def note(self, elapsed_s: float, reasons: Collection[str]) -> None:
        """Note the reasons why the numbers since the last call are not valid; none if they are."""
        since_s, self._looked_s = self._looked_s, max(elapsed_s, self._looked_s)
        if not reasons or elapsed_s <= since_s:
            return
        last = self.spans[-1] if self.spans else None
        if last is not None and (last.end_s == since_s or len(self.spans) >= _MAX_SPANS):
            last.end_s = elapsed_s
            last.reasons |= frozenset(reasons)
        else:
            self.spans.append(Span(since_s, elapsed_s, frozenset(reasons)))

    def invalid(self, judged_s: float) -> str:
        """Return why the run as a whole is not valid, after this many judged seconds; empty if it is."""
        total_s = sum(span.end_s - span.start_s for span in self.spans)
        if total_s <= MAX_INVALID_SHARE * judged_s or not self.spans:
            return ""
        longest = max(self.spans, key=lambda span: span.end_s - span.start_s)
        what = " and ".join(WORDS[reason] for reason in INVALID_REASONS if reason in longest.reasons)
        start, end = (datetime.fromtimestamp(self._start_time + s, UTC) for s in (longest.start_s, longest.end_s))
        text = f"{what} from {start:%H:%M:%S} to {end:%H:%M:%S} UTC"
        others = len(self.spans) - 1
        more = f", and {others} more time{'s'[: others != 1]}" if others else ""
        return f"{text}{more}: {total_s:.0f} of {judged_s:.0f} s, where {MAX_INVALID_SHARE:.0%} may be"


@dataclass(frozen=True, slots=True)
class Standing:
    """Objectives of a run, judged at one moment; its results are in the order of the file."""

    slo: Slo
    judged_s: float  # seconds since the warm-up
    is_warming_up: bool
    burning: tuple[Burning, ...]  # pairs of windows that burned when the burn rates were last computed
    aborted: Burning | None  # the pair for which --slo-abort has stopped the run
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
    """The objectives of one run, which starts at `start_time` in Unix time.

    It is picklable; its methods must not run at the same time.
    """

    def __init__(self, slo: Slo, start_time: float) -> None:
        self.slo = slo
        self.aborted: Burning | None = None  # the pair for which --slo-abort has stopped the run
        self.validity = Validity(start_time, float(slo.warmup_s))
        self.is_warming_up = bool(slo.warmup_s)  # until its end no request is judged
        self._judged = JudgedRequests(slo.objectives)
        self._rates = BurnRates(slo)
        self._rates.add(float(slo.warmup_s), dict.fromkeys((o.name for o in slo.objectives), Counts()))
        self._burning: tuple[Burning, ...] = ()

    def observe(
        self, requests: RequestsSnapshot, elapsed_s: float, *, invalid: Collection[str] = ()
    ) -> tuple[Burning, ...]:
        """Compute the burn rates, about once a second; return the pairs that burn.

        The first call after the warm-up, `elapsed_s` seconds after the start, ends it: the requests until then are not
        judged. `invalid` tells why the numbers are not valid now, by `catalogue.INVALID_REASONS`.
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
        """Judge the requests of the run so far, `elapsed_s` seconds after its start."""
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
