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

    WAITING = "waiting"  # it has begun, and Locust has not reported a state yet
    SPAWNING = "spawning"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"  # its clock has stopped; reports may still arrive
    FINAL = "final"  # complete
    LOST = "lost"  # its Locust process has died


_ENDED = frozenset({Phase.STOPPED, Phase.FINAL, Phase.LOST})
_SHOWN = {Phase.WAITING: "spawning", Phase.FINAL: "stopped"}


@dataclass(slots=True)
class Run:
    """A run, running or over."""

    run_id: str
    info: Mapping[str, str]  # labels of `locust_run_info` besides the id
    start_time: float  # in Unix time
    started_s: float  # on the monotonic clock of this machine, which Locust's process shares
    settings: Mapping[str, Any]  # the settings that its numbers depend on
    merged: Merged
    progress: Progress | None  # its objectives; None without an SLO file
    is_headless: bool = False  # whether Locust has no web UI
    only_summary: bool = False  # whether Locust prints nothing during the run
    phase: Phase = Phase.WAITING
    counted: int | None = None  # requests by Locust's reports of its workers; None without a master
    missing: int | None = None  # Locust's count less ours in a local process; None if Locust counts none
    reset: dict[str, int] = field(default_factory=dict)  # by source: requests that Locust's table lost in a reset
    users: dict[str, int] = field(default_factory=dict)  # running, by class
    users_target: dict[str, int] = field(default_factory=dict)  # asked for, by class
    unfinished: set[str] = field(default_factory=set)  # sources that have not sent their last report
    marks: dict[tuple[str, str], int] = field(default_factory=dict)  # count by mark and kind
    marked: list[tuple[float, str, str]] = field(default_factory=list)  # elapsed_s, mark, kind; at most `MAX_SINGLE`
    stopped_s: float | None = None  # when its clock stopped, on the clock of `started_s`
    burning: set[tuple[str, Window]] = field(default_factory=set)  # objectives and windows logged as burning
    table_s: float = 0.0  # elapsed_s of the last logged table of objectives
    has_verdict: bool = False  # whether the verdict is logged
    is_fold_logged: bool = False  # whether the log says that names are folded

    @property
    def is_active(self) -> bool:
        """True until it stops."""
        return self.phase not in _ENDED

    @property
    def is_final(self) -> bool:
        """True once it is complete, or its Locust process has died."""
        return self.phase in {Phase.FINAL, Phase.LOST}

    @property
    def elapsed_s(self) -> float:
        """Seconds since its start, or from start to stop."""
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
        """Enter the phase that Locust reports; a run that is over does not change."""
        if self.is_active and phase not in _ENDED:
            self.phase = phase

    def stop(self, stopped_s: float) -> None:
        """Stop its clock; a second stop changes nothing."""
        if self.is_active:
            self.phase, self.stopped_s = Phase.STOPPED, stopped_s

    def finish(self) -> None:
        """Note that it is complete."""
        self.stop(monotonic())
        if self.phase is Phase.STOPPED:
            self.phase = Phase.FINAL

    def lose(self) -> None:
        """Note that its Locust process has died."""
        if not self.is_final:
            self.stop(monotonic())
            self.phase = Phase.LOST

    def mark(self, mark: str, kind: str) -> None:
        """Count a mark, and keep its time."""
        mark, kind = folded(self.marks, mark, kind)
        self.marks[mark, kind] = self.marks.get((mark, kind), 0) + 1
        if len(self.marked) < MAX_SINGLE:
            self.marked.append((self.elapsed_s, mark, kind))

    def snapshot(self) -> RunSnapshot:
        """Return its current state."""
        requests, elapsed_s = self.merged.snapshot(), self.elapsed_s
        # Workers that quit at once do not report to the master that their users have ended.
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
    """Return the line with the numbers of requests that Locust counted, were recorded, and were delivered."""
    locust, reset = "", sum(run.reset.values())
    if run.locust_total is not None:
        locust = f"Locust {run.locust_total:,}" + (f" ({reset:,} before a reset)" if reset else "")
    return "requests: " + " · ".join(filter(None, [locust, f"recorded {run.merged.total:,}", *accounts]))


def warn_of_account(run: Run) -> None:
    """Log which requests of a run may be missing, and why."""
    if run.unfinished:
        logger.warning(
            "%d workers left without their last report: Locust waits half a second for it. Their requests of the last "
            "3 s are missing in the numbers above and in Locust's table. --stop-timeout gives them more time.",
            len(run.unfinished),
        )
    if run.unreconciled:
        logger.warning(
            "Run %s does not add up: Locust's count differs from the recorded requests by %+d; "
            "see the metric locust_otel_unreconciled_requests.",
            run.run_id,
            run.unreconciled,
        )
