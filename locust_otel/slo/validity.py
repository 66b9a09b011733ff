"""Validity of a run: the effect of a late load generator and of missing workers on a verdict.

A late generator measures latencies that are too long, never too short. So an objective that is met stays met at the
actual load; if the actual load is too far below its target, the objective is undecided. An objective that is missed is
judged again without the requests of the late generator: if it is then met, the result is not valid.
While workers are missing, a part of the requests is missing too: missed objectives stay missed, and none is met.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import NamedTuple

from locust_otel.core.catalogue import INVALID_REASONS
from locust_otel.core.snapshot import Snapshot
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Slo

WORDS = {
    "cpu": "generator saturated (no CPU left)",
    "lag": "generator saturated (its event loop late)",
    "workers": "workers missing",
}
"""Descriptions of `catalogue.INVALID_REASONS`."""

_LATE = frozenset({"cpu", "lag"})
LOOK_BACK_S = 5.0  # before a generator is seen to be late: it judges its last five to ten seconds
_MAX_SPANS = 1000


class Load(NamedTuple):
    """Load at one moment."""

    users: int = 0
    users_target: int = 0  # the current target; while users are spawned, the running users
    late_s: float = 0.0  # total delay of scheduled tasks so far

    @classmethod
    def of(cls, snapshot: Snapshot) -> Load:
        """Return the load of the run of a snapshot."""
        run = snapshot.run
        if run is None:
            return cls()
        users = sum(run.users.values())
        target = max(sum(run.users_target.values()), users) if run.state == "running" else users
        return cls(users, target, sum(worker.schedule_sum_s for worker in snapshot.workers))


NO_LOAD = Load()


@dataclass(frozen=True, slots=True)
class Doubt:
    """Possible errors in the numbers of a run; without arguments there are no errors."""

    late: str = ""  # when and why the generator was late; empty if it never was
    late_share: float = 0.0  # share of the judged time
    requests: Mapping[str, Counts] = field(default_factory=dict)  # requests judged meanwhile, by objective
    made: float = 1.0  # share of the target load
    missing: str = ""  # when workers were missing; empty if the time is within the tolerance


class _Times:
    """Spans of time in seconds since the start of the run, with reasons; after 1,000 spans the last one is extended."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float, frozenset[str]]] = []

    @property
    def total_s(self) -> float:
        return sum(end_s - start_s for start_s, end_s, _ in self.spans)

    def add(self, start_s: float, end_s: float, reasons: frozenset[str]) -> None:
        if self.spans and (self.spans[-1][1] >= start_s or len(self.spans) == _MAX_SPANS):
            start_s, _, before = self.spans.pop()
            reasons |= before
        self.spans.append((start_s, end_s, reasons))

    def words(self, start_time: float, judged_s: float) -> str:
        """Return the longest span and the number of others in words; empty without spans."""
        if not self.spans:
            return ""
        start_s, end_s, reasons = max(self.spans, key=lambda span: span[1] - span[0])
        causes = " and ".join(WORDS[reason] for reason in INVALID_REASONS if reason in reasons)
        start, end = (datetime.fromtimestamp(start_time + s, UTC) for s in (start_s, end_s))
        others = len(self.spans) - 1
        more = f", and {others} more time{'s'[: others != 1]}" if others else ""
        return f"{causes} from {start:%H:%M:%S} to {end:%H:%M:%S} UTC{more}: {self.total_s:.0f} of {judged_s:.0f} s"


class Validity:
    """Times at which the numbers of a run were not valid, and the requests that were judged meanwhile.

    The run starts at `start_time` in Unix time. Its warm-up does not count.
    """

    def __init__(self, slo: Slo, start_time: float) -> None:
        self._start_time = start_time
        self._tolerance = float(slo.tolerance)
        self._late, self._missing = _Times(), _Times()
        self._requests: dict[str, Counts] = {}
        self._is_late = False  # at the last look
        self._target_s = self._lost_s = 0.0  # seconds of users
        # Recent looks at which the generator was not late, or the last look: time, judged requests, delay.
        self._moments: deque[tuple[float, Mapping[str, Counts], float]] = deque([(float(slo.warmup_s), {}, inf)])

    def note(self, elapsed_s: float, reasons: Collection[str], counts: Mapping[str, Counts], load: Load) -> None:
        """Add the judged requests by objective, and the reasons why those since the last call are not valid."""
        moments, (last_s, _, _) = self._moments, self._moments[-1]
        if elapsed_s <= last_s:
            return
        if moments[-1][2] == inf:  # delays of the warm-up do not count
            moments[-1] = (last_s, {}, load.late_s)
        lasted_s = elapsed_s - last_s
        self._target_s += load.users_target * lasted_s
        if "workers" in reasons:
            self._missing.add(last_s, elapsed_s, frozenset({"workers"}))
        late = _LATE.intersection(reasons)
        self._is_late = bool(late)
        if late:
            since_s, before, late_s = moments[0]
            self._requests = self._with(before, counts)
            self._late.add(since_s, elapsed_s, late)
            self._lost_s += (load.users_target - load.users) * lasted_s + max(load.late_s - late_s, 0.0)
            moments.clear()
        moments.append((elapsed_s, dict(counts), load.late_s))
        while moments[0][0] < elapsed_s - LOOK_BACK_S:
            moments.popleft()

    def _with(self, before: Mapping[str, Counts], counts: Mapping[str, Counts]) -> dict[str, Counts]:
        """Return the requests of the late generator, including those since `before`."""
        return {
            name: self._requests.get(name, Counts()).more(now.less(before.get(name, Counts())))
            for name, now in counts.items()
        }

    def late(self, counts: Mapping[str, Counts]) -> dict[str, Counts]:
        """Return the judged requests of the late generator; its state has not changed since the last look."""
        return self._with(self._moments[-1][1] if self._is_late else counts, counts)

    def doubt(self, judged_s: float, counts: Mapping[str, Counts]) -> Doubt:
        """Return possible errors in the judged requests after `judged_s` seconds."""
        late, missing = self._late, self._missing
        is_missing = missing.total_s > self._tolerance * judged_s
        return Doubt(
            late=late.words(self._start_time, judged_s),
            late_share=min(late.total_s / judged_s, 1.0) if judged_s > 0 else 0.0,
            requests=self.late(counts),
            made=max(1 - self._lost_s / self._target_s, 0.0) if self._target_s else 1.0,
            missing=missing.words(self._start_time, judged_s) if is_missing else "",
        )
