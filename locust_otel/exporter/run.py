"""One run of a load test in the exporter: its identity, phase, clock and requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic
from typing import Any

from locust_otel.core.marks import MAX_SINGLE, folded
from locust_otel.core.snapshot import RunSnapshot
from locust_otel.exporter.merged import Merged
from locust_otel.slo.objectives import Window
from locust_otel.slo.progress import Progress

logger = logging.getLogger(__name__)


class Phase(StrEnum):
    """Phase of a run."""

    WAITING = "waiting"  # it has begun, and Locust has not said its state yet
    SPAWNING = "spawning"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"  # its clock has stopped; reports may still come
    FINAL = "final"  # nothing will be added
    LOST = "lost"  # its Locust has died; nothing will be added


_ENDED = frozenset({Phase.STOPPED, Phase.FINAL, Phase.LOST})
_SHOWN = {Phase.WAITING: "spawning", Phase.FINAL: "stopped"}


@dataclass(slots=True)
class Run:
    """A run, under way or over."""

    run_id: str
    info: Mapping[str, str]  # labels of `locust_run_info` besides the id
    start_time: float  # in Unix time
    started_s: float  # on the monotonic clock of this machine, which Locust's process shares
    settings: Mapping[str, Any]  # those that its numbers depend on
    merged: Merged
    progress: Progress | None  # its objectives; None without an SLO file
    is_headless: bool = False  # whether its Locust has no web UI
    only_summary: bool = False  # whether Locust was asked to print nothing while it runs
    phase: Phase = Phase.WAITING
    counted: int | None = None  # requests in the reports of Locust's workers to the master; None without a master
    missing: int | None = None  # requests that the only process counted less those recorded; None if Locust counts none
    reset: dict[str, int] = field(default_factory=dict)  # by source: removed by Locust's reset, counted all the same
    users: dict[str, int] = field(default_factory=dict)  # running, by class
    users_target: dict[str, int] = field(default_factory=dict)  # asked for, by class
    unfinished: set[str] = field(default_factory=set)  # sources without a report after their users' end
    marks: dict[tuple[str, str], int] = field(default_factory=dict)  # how often each mark and kind was marked
    marked: list[tuple[float, str, str]] = field(default_factory=list)  # the first `MAX_SINGLE`: elapsed_s, mark, kind
    stopped_s: float | None = None  # when its clock stopped, on the clock of `started_s`
    burning: set[tuple[str, Window]] = field(default_factory=set)  # logged as burning: objective and window
    table_s: float = 0.0  # elapsed_s of the last logged table of objectives
    has_verdict: bool = False  # whether its verdict is logged
    has_told_fold: bool = False  # whether it is logged that names are folded

    @property
    def is_active(self) -> bool:
        """True until it stops."""
        return self.phase not in _ENDED

    @property
    def is_final(self) -> bool:
        """True once nothing will be added to it."""
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
        """Note the phase that Locust reports; nothing changes for a run that is over."""
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
        """Note that its Locust has died."""
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
        """Return its state now."""
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


def account(run: Run, accounts: list[str]) -> str:
    """Return where every request of a run has arrived."""
    parts = []
    reset = sum(run.reset.values())
    if run.locust_total is not None:
        parts.append(f"Locust {run.locust_total:,}" + (f" ({reset:,} before a reset)" if reset else ""))
    parts.append(f"recorded {run.merged.total:,}")
    return f"requests: {' · '.join([*parts, *filter(None, accounts)])}"


def warn_of_account(run: Run) -> None:
    """Log which requests of a run are missing."""
    if run.unfinished:
        logger.warning(
            "%d workers left without their last report: Locust waits half a second for it. What they did in up to "
            "three seconds before is not in the numbers above, nor in Locust's table. --stop-timeout gives them more "
            "time.",
            len(run.unfinished),
        )
    if run.unreconciled:
        logger.warning(
            "Run %s does not add up: Locust counted %+d requests against those recorded here; "
            "locust_otel_unreconciled_requests says so too.",
            run.run_id,
            run.unreconciled,
        )
