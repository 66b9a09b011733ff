"""One run of a load test: its identity, its clock, and the account of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic, time
from typing import Any

from locust_otel import runners
from locust_otel.aggregate import Aggregate
from locust_otel.snapshot import RunSnapshot


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
    """

    def __init__(self, run_id: str, aggregate: Aggregate, info: Mapping[str, str]) -> None:
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

    @property
    def unreconciled(self) -> int | None:
        """Requests Locust counted less those recorded; None where Locust counts none (`run_single_user`)."""
        return None if self.locust_total is None else self.locust_total - self.aggregate.total()

    @property
    def stopped(self) -> bool:
        """Whether it has stopped."""
        return self._stopped is not None

    def stop(self) -> None:
        """Stop its clock; a second time changes nothing."""
        if self._stopped is None:
            self._stopped = monotonic()

    def snapshot(self, runner: Any) -> RunSnapshot:
        """Return how it stands, with what the runner says of users."""
        end = self._stopped if self._stopped is not None else monotonic()
        target = runners.users_target(runner)
        return RunSnapshot(
            run_id=self.run_id,
            info=self.info,
            state="stopped" if self.stopped else runners.state(runner),
            active=not self.stopped,
            start_time=self._start_time,
            elapsed_s=end - self._started,
            # Workers that quit at once have not told the master that their users are gone.
            users=dict.fromkeys(target, 0) if self.is_final else runners.users(runner),
            users_target=dict.fromkeys(target, 0) if self.stopped else target,
            requests=self.aggregate.snapshot(),
        )
