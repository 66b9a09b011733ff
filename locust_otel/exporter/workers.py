"""The generating processes: the state that each reports, and the master's list of its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import WorkerSnapshot
from locust_otel.wire.report import Vitals


@dataclass(slots=True)
class Workers:
    """The generating processes.

    Attributes:
        vitals: Last state of each source in the current run.
        names: Names of the connected workers, `host-0`, by source; a local Locust has none.
        users: Simulated users by source.
        states: Number of workers by state.
        expected: Number of workers asked for; None in a local run.
        errors: Events that each source could not use.
        refused: Reports that were refused.
        strangers: Sources whose refused reports are logged.
    """

    vitals: dict[str, Vitals] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, int] = field(default_factory=dict)
    expected: int | None = None
    errors: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    strangers: set[str] = field(default_factory=set)

    @property
    def total_errors(self) -> int:
        """Events and reports that could not be used."""
        return self.refused + sum(self.errors.values())

    def snapshots(self, local: str | None) -> tuple[WorkerSnapshot, ...]:
        """Return the connected processes that have reported; `local` is name and source of the only one, if so."""
        names = self.names if local is None else {local: local}
        return tuple(
            _snapshot(vitals, name, self.users.get(source, 0))
            for source, name in names.items()
            if (vitals := self.vitals.get(source)) is not None
        )


def _snapshot(vitals: Vitals, name: str, users: int) -> WorkerSnapshot:
    bounds = layout()
    lags, delays = bounds.empty(), bounds.empty()
    for counts, reported in ((lags, vitals.lag_counts), (delays, vitals.schedule_counts)):
        for index, count in reported.items():
            if index < len(counts):
                counts[index] = count
    schedule = (bounds, delays) if any(delays) else (None, ())
    return WorkerSnapshot(
        worker=name,
        users=users,
        lag_layout=bounds,
        schedule_layout=schedule[0],
        **(vitals._asdict() | {"lag_counts": lags, "schedule_counts": schedule[1]}),
    )
