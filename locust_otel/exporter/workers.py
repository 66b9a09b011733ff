"""The generating processes: the state that each one reports, and the master's list of its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import WorkerSnapshot
from locust_otel.wire.report import Vitals


@dataclass(slots=True)
class Workers:
    """The generating processes."""

    vitals: dict[str, Vitals] = field(default_factory=dict)  # last state by source, in the current run
    names: Mapping[str, str] = field(default_factory=dict)  # `host-0` by source; empty in a local run
    users: Mapping[str, int] = field(default_factory=dict)  # simulated users by source
    states: Mapping[str, int] = field(default_factory=dict)  # number of workers by state
    expected: int | None = None  # number of expected workers; None in a local run
    errors: dict[str, int] = field(default_factory=dict)  # unusable events by source
    refused: int = 0  # number of refused reports
    strangers: set[str] = field(default_factory=set)  # sources with a logged refusal

    @property
    def total_errors(self) -> int:
        """Number of unusable events and refused reports."""
        return self.refused + sum(self.errors.values())

    def snapshots(self, local: str | None) -> tuple[WorkerSnapshot, ...]:
        """Return the connected processes that have reported; in a local run `local` is the name and source."""
        names = self.names if local is None else {local: local}
        return tuple(
            _snapshot(vitals, name, self.users.get(source, 0))
            for source, name in names.items()
            if (vitals := self.vitals.get(source)) is not None
        )


def _snapshot(vitals: Vitals, name: str, users: int) -> WorkerSnapshot:
    last = len(layout().bounds)
    lags, delays = (
        {index: count for index, count in counts.items() if index <= last}
        for counts in (vitals.lag_counts, vitals.schedule_counts)
    )
    return WorkerSnapshot(
        worker=name, users=users, **vitals._asdict() | {"lag_counts": lags, "schedule_counts": delays}
    )
