"""One run of a load test: its identity, its clock, and the account of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic, time
from typing import Any

from locust_otel.core.marks import MAX_SINGLE
from locust_otel.core.snapshot import RunSnapshot
from locust_otel.plugin import runners
from locust_otel.plugin.series import Aggregate
from locust_otel.slo.objectives import Slo
from locust_otel.slo.progress import Progress, Standing


class RunIds:
    """Gives each run of a process an id of its own; a given one gets `-2`, `-3` from the second run on."""

    def __init__(self, given: str | None, new: Any) -> None:
        self._given = given
        self._new = new
        self._count = 0

    def next(self) -> str:
        """Return the id of the next run."""
        self._count += 1
        if self._given is None:
            run_id: str = self._new()
            return run_id
        return self._given if self._count == 1 else f"{self._given}-{self._count}"


class Run:
    """A run that goes on or has stopped.

    Attributes:
        run_id: Its identity.
        aggregate: Its requests.
        info: Labels of `locust_run_info` besides the id.
        is_final: Whether nothing will be added to it any more.
        locust_total: Requests that Locust counted, by its own table or its workers' reports; those that a reset of its
            table threw away are part of it.
        reset_away: Those of them that a reset threw away.
        concluded: Whether its account was logged.
        told: Whether the event of its end was told.
        slo: How its objectives stand; None without an SLO file.
        marks: What was marked in it, by mark and kind, and how often.
        marked: The same one by one: seconds since the start, mark, kind; so many and no more.
    """

    def __init__(self, run_id: str, aggregate: Aggregate, info: Mapping[str, str], slo: Slo | None = None) -> None:
        self.run_id = run_id
        self.aggregate = aggregate
        self.info = info
        self.is_final = False
        self.concluded = False
        self.told = False
        self.locust_total: int | None = None
        self.reset_away = 0
        self._start_time = time()
        self._started = monotonic()
        self._stopped: float | None = None
        self.slo = Progress(slo, self._start_time) if slo is not None else None
        self.marks: dict[tuple[str, str], int] = {}
        self.marked: list[tuple[float, str, str]] = []

    @property
    def unreconciled(self) -> int | None:
        """Requests Locust counted less those recorded; None where Locust counts none (`run_single_user`)."""
        return None if self.locust_total is None else self.locust_total - self.aggregate.total()

    @property
    def stopped(self) -> bool:
        """Whether it has stopped."""
        return self._stopped is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds from its start to now, or to its stop."""
        return (self._stopped if self._stopped is not None else monotonic()) - self._started

    def mark(self, mark: str, kind: str) -> None:
        """Count something that happened."""
        self.marks[mark, kind] = self.marks.get((mark, kind), 0) + 1
        if len(self.marked) < MAX_SINGLE:
            self.marked.append((self.elapsed_s, mark, kind))

    def standing(self) -> Standing | None:
        """Return how its objectives stand; None without an SLO file."""
        return self.slo.standing(self.aggregate.snapshot(), self.elapsed_s) if self.slo is not None else None

    def stop(self) -> None:
        """Stop its clock; a second time changes nothing."""
        if self._stopped is None:
            self._stopped = monotonic()

    def snapshot(self, runner: Any) -> RunSnapshot:
        """Return how it stands, with what the runner says of users."""
        target = runners.users_target(runner)
        requests, elapsed_s = self.aggregate.snapshot(), self.elapsed_s
        return RunSnapshot(
            run_id=self.run_id,
            info=self.info,
            state="stopped" if self.stopped else runners.state(runner),
            active=not self.stopped,
            start_time=self._start_time,
            elapsed_s=elapsed_s,
            # Workers that quit at once have not told the master that their users are gone.
            users=dict.fromkeys(target, 0) if self.is_final else runners.users(runner),
            users_target=dict.fromkeys(target, 0) if self.stopped else target,
            requests=requests,
            marks=self.marks.copy(),
            slo=self.slo.standing(requests, elapsed_s) if self.slo is not None else None,
        )
