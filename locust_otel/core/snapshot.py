"""Frozen values: all that is known at one moment.

A snapshot shares no mutable state with the run it was taken of, so outputs may render it in threads of their own, and
two outputs of one snapshot cannot disagree. A series that has not changed is the same object as in the last snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from locust_otel.core.histogram import Layout


class SeriesKey(NamedTuple):
    """Identity of a request series; `outcome` is `success` or `failure`."""

    method: str
    name: str
    user_class: str
    outcome: str


class ErrorKey(NamedTuple):
    """Identity of a kind of failed request."""

    method: str
    name: str
    error_type: str


class Exemplar(NamedTuple):
    """One request of a bucket that can be followed into the trace it belongs to.

    It ended at `timestamp`, in Unix time; `trace_id` has 32 and `span_id` 16 hex digits.
    """

    duration_s: float
    trace_id: str
    span_id: str
    timestamp: float


@dataclass(frozen=True, slots=True)
class SlowRequest:
    """One request above the threshold, with times and ids as in `Exemplar`; the ids may be empty.

    `status` is the HTTP status, or the class of the exception; empty where there is neither.
    """

    key: SeriesKey
    duration_s: float
    status: str
    trace_id: str
    span_id: str
    timestamp: float


@dataclass(frozen=True, slots=True)
class SeriesSnapshot:
    """All requests so far of one method, name, user class and outcome.

    Attributes:
        counts: Requests by index of the layout's bounds, where there are any; never changed again.
        measured: The sum of `counts`.
        unmeasured: Requests without a usable duration, which `counts` leaves out.
        sum_s: Sum of the measured durations in seconds.
        exemplars: At most one a bucket, by index into the classic view.
    """

    key: SeriesKey
    counts: Mapping[int, int]
    measured: int
    unmeasured: int
    sum_s: float
    body_bytes: int
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All requests of the series, measured or not."""
        return self.measured + self.unmeasured


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """State of one generating process.

    Attributes:
        worker: Host and index, `host-0`.
        cpu_ratio: Share of one core in [0, 1] and a little above; None before the first measurement.
        memory_bytes: Resident memory; None before the first measurement.
        lag_counts: How late its event loop was, by index of the bounds of `layout()`.
        lag_sum_s: Sum of those delays in seconds.
        reasons: Why its latencies cannot be believed, of `catalogue.INVALID_REASONS`; empty where they can.
        schedule_counts: Tasks of users with `constant_pacing` or `constant_throughput`, by how late they began,
            likewise; empty where nothing has a schedule.
        schedule_sum_s: Sum of those delays in seconds.
    """

    worker: str
    cpu_ratio: float | None
    memory_bytes: int | None
    users: int
    lag_counts: Mapping[int, int]
    lag_sum_s: float
    reasons: tuple[str, ...] = ()
    schedule_counts: Mapping[int, int] = field(default_factory=dict)
    schedule_sum_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RequestsSnapshot:
    """All requests of a run so far."""

    layout: Layout
    slow_s: float
    series: tuple[SeriesSnapshot, ...]
    errors: Mapping[ErrorKey, int]
    user_errors: Mapping[tuple[str, str], int]

    @property
    def total(self) -> int:
        """All requests, each once."""
        return sum(series.total for series in self.series)

    def slow(self, series: SeriesSnapshot) -> int:
        """Return how many of a series were slow."""
        return self.layout.above(series.counts, self.slow_s)


@dataclass(frozen=True, slots=True)
class ObjectivePoint:
    """State of one objective."""

    name: str
    service: str
    target: float | None  # share of good requests, in (0, 1); None for an objective on the mean
    within_s: float | None  # seconds; None for an objective on success
    min_requests: int
    good: int  # judged requests that keep it; for the mean all that have a duration
    bad: int  # judged requests that do not
    sum_s: float  # sum of the judged durations in seconds, for the mean
    status: str  # one of `catalogue.SLO_STATUSES`


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """State of a run.

    Attributes:
        info: Labels of `locust_run_info` besides `run_id`.
        state: One of `catalogue.RUN_STATES`.
        start_time: Unix time in seconds.
        elapsed_s: Seconds from start to now, or to its stop.
        users, users_target: Running users, and those asked for, by class.
        marks: How often each mark and kind was marked.
        slo: Its objectives; None without an SLO file.
    """

    run_id: str
    info: Mapping[str, str]
    state: str
    active: bool
    start_time: float
    elapsed_s: float
    users: Mapping[str, int]
    users_target: Mapping[str, int]
    requests: RequestsSnapshot
    marks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    slo: tuple[ObjectivePoint, ...] | None = None


@dataclass(frozen=True, slots=True)
class ExportCount:
    """Exports of one exporter with one outcome, and the seconds they took."""

    exporter: str
    outcome: str
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """State of the bridge itself."""

    exports: tuple[ExportCount, ...]
    last_exports: Mapping[str, float]
    rejected_points: Mapping[str, int]
    folded_requests: int
    listener_errors: int
    unreconciled: int | None
    versions: Mapping[str, str]
    restarts: int = 0
    merged_reports: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one process knows at one moment."""

    time: float  # Unix time in seconds
    process_start_time: float  # when this process began to measure, in Unix time
    run: RunSnapshot | None  # the current or last run; None before the first
    worker_states: Mapping[str, int]  # number of workers by state; empty in a local run
    workers_expected: int | None  # None in a local run
    workers: tuple[WorkerSnapshot, ...]
    health: HealthSnapshot
    is_final: bool = False  # whether the run is over and nothing will be added to it

    @property
    def invalid_reasons(self) -> frozenset[str]:
        """Reasons why the current numbers are not valid; empty if they are."""
        missing = ("workers",) if self.worker_states.get("missing") else ()
        return frozenset(chain(missing, *(worker.reasons for worker in self.workers)))
