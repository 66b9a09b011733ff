"""The generating processes: how each says it is, and what Locust's master says of its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import WorkerSnapshot
from locust_otel.wire.report import Vitals


@dataclass(slots=True)
class Workers:
    """What is known of the generating processes.

    Attributes:
        vitals: How each source said it is in the current run.
        names: Names of the workers that are there, `host-0`, by source; a local Locust has none.
        users: Simulated users by source.
        states: Number of workers by state.
        expected: How many there should be; None where there are none.
        errors: Events that a source could not make sense of.
        refused: Reports that were refused.
        strangers: Sources of which a report was refused, which is logged once.
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
        """Events and reports that could not be made sense of."""
        return self.refused + sum(self.errors.values())

    def snapshots(self, local: str | None) -> tuple[WorkerSnapshot, ...]:
        """Return how the processes are that are there and have reported.

        Args:
            local: Name of the only process, which is its source too; None where there are workers.
        """
        names = self.names if local is None else {local: local}
        return tuple(
            _snapshot(vitals, name, self.users.get(source, 0))
            for source, name in names.items()
            if (vitals := self.vitals.get(source)) is not None
        )


def _snapshot(vitals: Vitals, name: str, users: int) -> WorkerSnapshot:
    bounds = layout()
    lags, delays = bounds.empty(), bounds.empty()
    for counts, told in ((lags, vitals.lag_counts), (delays, vitals.schedule_counts)):
        for index, count in told.items():
            if index < len(counts):
                counts[index] = count
    return WorkerSnapshot(
        worker=name,
        cpu_ratio=vitals.cpu_ratio,
        memory_bytes=vitals.memory_bytes,
        users=users,
        lag_layout=bounds,
        lag_counts=lags,
        lag_sum_s=vitals.lag_sum_s,
        reasons=vitals.reasons,
        schedule_layout=bounds if any(delays) else None,
        schedule_counts=delays if any(delays) else (),
        schedule_sum_s=vitals.schedule_sum_s,
    )
