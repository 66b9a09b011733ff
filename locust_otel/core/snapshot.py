"""Snapshots: frozen values of everything that a process has measured so far.

A snapshot shares no mutable state with its run, so outputs may render it in their own threads, and two outputs of one
snapshot always agree. An unchanged series is the same object as in the last snapshot.
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
    """One request of a bucket, with its trace."""

    duration_s: float
    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits
    timestamp: float  # end of the request, in Unix time


@dataclass(frozen=True, slots=True)
class SlowRequest:
    """One slow request, with times and ids as in `Exemplar`; the ids may be empty."""

    key: SeriesKey
    duration_s: float
    status: str  # HTTP status or class of the exception; empty if there is neither
    trace_id: str
    span_id: str
    timestamp: float


@dataclass(frozen=True, slots=True)
class SeriesSnapshot:
    """All requests so far of one method, name, user class and outcome."""

    key: SeriesKey
    counts: Mapping[int, int]  # requests by index of the layout's bounds, without zeros; never changed
    measured: int  # sum of `counts`
    unmeasured: int  # requests without a usable duration, which are not in `counts`
    sum_s: float  # sum of the measured durations in seconds
    body_bytes: int
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)  # one a bucket, by index into the classic view

    @property
    def total(self) -> int:
        """All requests of the series, measured or not."""
        return self.measured + self.unmeasured


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """State of one generating process.

    Its delays are those of its event loop (`lag`), and those of tasks of users with `constant_pacing` or
    `constant_throughput` (`schedule`; empty without such users): counts by index of the bounds of `layout()`, and their
    sum in seconds.
    """

    worker: str  # host and index, `host-0`
    cpu_ratio: float | None  # share of one core in [0, 1] and a little above; None before the first measurement
    memory_bytes: int | None  # resident memory; None before the first measurement
    users: int
    lag_counts: Mapping[int, int]
    lag_sum_s: float
    reasons: tuple[str, ...] = ()  # of `catalogue.INVALID_REASONS`: why its latencies are not valid
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
        """Return the number of slow requests of a series."""
        return self.layout.above(series.counts, self.slow_s)


@dataclass(frozen=True, slots=True)
class ObjectivePoint:
    """State of one objective."""

    name: str
    service: str
    target: float | None  # share of good requests, in (0, 1); None for an objective on the mean
    within_s: float | None  # seconds; None for an objective on success
    min_requests: int
    good: int  # judged requests that meet it; for the mean all requests with a duration
    bad: int  # judged requests that do not meet it
    sum_s: float  # sum of the judged durations in seconds, for the mean
    status: str  # one of `catalogue.SLO_STATUSES`


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """State of a run."""

    run_id: str
    info: Mapping[str, str]  # labels of `locust_run_info` besides `run_id`
    state: str  # one of `catalogue.RUN_STATES`
    active: bool
    start_time: float  # Unix time in seconds
    elapsed_s: float  # seconds from the start to now, or to the stop
    users: Mapping[str, int]  # running users by class
    users_target: Mapping[str, int]  # requested users by class
    requests: RequestsSnapshot
    marks: Mapping[tuple[str, str], int] = field(default_factory=dict)  # number of marks by text and kind
    slo: tuple[ObjectivePoint, ...] | None = None  # None without an SLO file


@dataclass(frozen=True, slots=True)
class ExportCount:
    """Number and seconds of the exports of one exporter with one outcome."""

    exporter: str
    outcome: str
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """State of locust-otel itself."""

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
    """Everything that one process has measured so far."""

    time: float  # Unix time in seconds
    process_start_time: float  # Unix time at which this process began to measure
    run: RunSnapshot | None  # the current or last run; None before the first
    worker_states: Mapping[str, int]  # number of workers by state; empty in a local run
    workers_expected: int | None  # None in a local run
    workers: tuple[WorkerSnapshot, ...]
    health: HealthSnapshot
    is_final: bool = False  # whether the run is over and complete

    @property
    def invalid_reasons(self) -> frozenset[str]:
        """Reasons why the current latencies are not valid; empty if they are."""
        missing = ("workers",) if self.worker_states.get("missing") else ()
        return frozenset(chain(missing, *(worker.reasons for worker in self.workers)))
