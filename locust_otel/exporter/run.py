"""One run of a load test, as the exporter knows it: its identity, its phase, its clock, its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any

from locust_otel.core.marks import MAX_SINGLE, folded
from locust_otel.core.snapshot import RunSnapshot
from locust_otel.exporter.merged import Merged
from locust_otel.slo.progress import Progress


class Phase(StrEnum):
    """What a run is in the middle of."""

    WAITING = "waiting"  # it was begun, and Locust has not said how it goes
    SPAWNING = "spawning"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"  # its clock has stopped; reports may still come
    FINAL = "final"  # nothing will be added
    LOST = "lost"  # its Locust has gone without a word; nothing will be added


_ENDED = frozenset({Phase.STOPPED, Phase.FINAL, Phase.LOST})
_SHOWN = {Phase.WAITING: "spawning", Phase.FINAL: "stopped"}


@dataclass(slots=True)
class Run:
    """A run that goes on or is over.

    Attributes:
        run_id: Its identity.
        info: Labels of `locust_run_info` besides the id.
        start_time: Unix time in seconds.
        started_s: When it started, on the monotonic clock of this machine, which Locust's process shares.
        settings: What it was started with, as far as its numbers depend on it.
        merged: Its requests.
        progress: How its objectives fare; None without an SLO file.
        is_headless: Whether its Locust has no web UI.
        only_summary: Whether Locust was asked to print nothing while it runs.
        phase: What it is in the middle of.
        counted: Requests that Locust's workers have counted, by their reports to the master; None without a master.
        missing: Requests that the only process has counted less those it has recorded; None where Locust counts none.
        reset: Requests that a reset of Locust's table threw away, by source; they are counted all the same.
        users: Running users by class.
        users_target: Users asked for by class.
        unfinished: Sources that owe the report after their users' end.
        marks: What was marked in it, by mark and kind, and how often.
        marked: The same one by one: seconds since the start, mark, kind; so many and no more.
    """

    run_id: str
    info: Mapping[str, str]
    start_time: float
    started_s: float
    settings: Mapping[str, Any]
    merged: Merged
    progress: Progress | None
    is_headless: bool = False
    only_summary: bool = False
    phase: Phase = Phase.WAITING
    counted: int | None = None
    missing: int | None = None
    reset: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    users_target: dict[str, int] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    marks: dict[tuple[str, str], int] = field(default_factory=dict)
    marked: list[tuple[float, str, str]] = field(default_factory=list)
    stopped_s: float | None = None

    @property
    def is_active(self) -> bool:
        """Whether it has not stopped."""
        return self.phase not in _ENDED

    @property
    def is_final(self) -> bool:
        """Whether nothing will be added to it."""
        return self.phase in {Phase.FINAL, Phase.LOST}

    @property
    def elapsed_s(self) -> float:
        """Seconds from its start to now, or to its stop."""
        return (self.stopped_s if self.stopped_s is not None else monotonic()) - self.started_s

    @property
    def locust_total(self) -> int | None:
        """Requests that Locust has counted; None where it counts none (`run_single_user`)."""
        if self.counted is not None:
            return self.counted
        return None if self.missing is None else self.merged.total + self.missing

    @property
    def unreconciled(self) -> int | None:
        """Requests that Locust has counted less those recorded; None where it counts none."""
        return self.missing if self.counted is None else self.counted - self.merged.total

    def go_on(self, phase: Phase) -> None:
        """Note how Locust says it goes; nothing changes for a run that is over."""
        if self.is_active and phase not in _ENDED:
            self.phase = phase

    def stop(self, stopped_s: float) -> None:
        """Stop its clock; a second time changes nothing."""
        if self.is_active:
            self.phase, self.stopped_s = Phase.STOPPED, stopped_s

    def finish(self) -> None:
        """Note that nothing will be added."""
        self.stop(monotonic())
        if self.phase is Phase.STOPPED:
            self.phase = Phase.FINAL

    def lose(self) -> None:
        """Note that its Locust has gone without a word."""
        if not self.is_final:
            self.stop(monotonic())
            self.phase = Phase.LOST

    def mark(self, mark: str, kind: str) -> None:
        """Count something that happened."""
        mark, kind = folded(self.marks, mark, kind)
        self.marks[mark, kind] = self.marks.get((mark, kind), 0) + 1
        if len(self.marked) < MAX_SINGLE:
            self.marked.append((self.elapsed_s, mark, kind))

    def snapshot(self) -> RunSnapshot:
        """Return how it stands."""
        requests, elapsed_s = self.merged.snapshot(), self.elapsed_s
        # Workers that quit at once have not told the master that their users are gone.
        users = dict.fromkeys(self.users_target, 0) if self.is_final else dict(self.users)
        return RunSnapshot(
            run_id=self.run_id,
            info=self.info,
            state=_SHOWN.get(self.phase, self.phase.value),
            active=self.is_active,
            start_time=self.start_time,
            elapsed_s=elapsed_s,
            users=users,
            users_target=dict(self.users_target) if self.is_active else dict.fromkeys(self.users_target, 0),
            requests=requests,
            marks=self.marks.copy(),
            slo=self.progress.judge(requests, elapsed_s).points() if self.progress is not None else None,
        )
