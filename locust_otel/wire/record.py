r"""The format of a run record, version 2.

A record is `RUN_ID.jsonl.gz`: JSON Lines in ASCII inside gzip, flushed after the first line and after each interval
(Z_SYNC_FLUSH). The process that writes it may be killed at any moment: a reader uses every line that ends with a
newline. Another process then continues the file with a gzip member of its own.

Requests, errors, bytes and delays are cumulative since the start of the run, and an interval holds only those that
have changed since the interval before. Times are seconds since the start of the run, except `start_time`, which is
Unix time.

Each line is an object with a `type`. The first line is the only `run`, the last line of a complete record is the only
`end`, and the others are in the order in which things happened:

    run       format "locust-otel-record", version 2, run_id, start_time, interval_s,
              info          labels of locust_run_info
              settings      settings that the numbers of the run depend on
              versions      of locust-otel and Python
              instance      host and port of /metrics; null if it was not served
              slow_s        a request that takes longer is slow
              thresholds_s  edges of the histogram that were asked for
              bounds        all its edges: counts[i] lies in (bounds[i - 1], bounds[i]], and one more above the last
              lag_bounds    the same of the histogram of delays
              slo           null, or {source, text}: name and content of the SLO file
    series    keys: [[method, name, user_class, outcome] ...]; the first key of the record is series 0, and so on
    errors    keys: [[method, name, error_type] ...], counted likewise
    mark      at, mark, kind
    event     at, name, body, severity, attributes
    warm      at: the warm-up is over, and the interval before this line ended with it
    interval  from, to, state, elapsed_s, users, users_target,
              series        [[series, unmeasured, sum_s, body_bytes, COUNTS] ...]
              errors        [[error, count] ...]
              user_errors   [[user_class, error_type, count] ...]
              workers       [{worker, cpu, memory, users, reasons, is_new, lag_sum_s, lag: COUNTS} ...]; with is_new
                            the delays of this worker count from 0 again
              worker_states, workers_expected    null in a local run
              slo           null, or by objective {good, bad, sum_s, status}, since the warm-up
              locust_total  requests that Locust has counted; null if it does not count
    end       at, recorded, locust_total, is_aborted,
              state         stopped; or lost, if Locust's process ended without stopping the run
              verdict       null, or [{slo, status, good, bad, sum_s, actual, budget_spent, worst, note} ...]

COUNTS are those of `wire.report`: [gap, count, gap, count ...], each gap being the distance to the next bucket that has
changed, from -1.

An interval takes a second, or longer if the file could not be written. A reader of version 2 ignores keys that it does
not know, and refuses types and versions that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from locust_otel.core.errors import LocustOtelError
from locust_otel.core.snapshot import ErrorKey

FORMAT = "locust-otel-record"
VERSION = 2
SUFFIX = ".jsonl.gz"

INTERVAL_S = 1.0
"""Seconds from one interval to the next."""


class RecordError(LocustOtelError):
    """A run record cannot be read; the message says where, and what was found.

    Attributes:
        slug: A stable name of the problem, `record-version`.
    """

    def __init__(self, where: str, found: str, slug: str) -> None:
        self.slug = f"record-{slug}"
        super().__init__(f"{where}: {found} ({self.slug})")


class Mark(NamedTuple):
    """Something that happened; seconds since the start of the run."""

    time_s: float
    mark: str
    kind: str


class RecordedEvent(NamedTuple):
    """An event of the run; seconds since its start."""

    time_s: float
    name: str
    body: str
    severity: str
    attributes: Mapping[str, str | int | float | bool]


class SeriesDelta(NamedTuple):
    """Requests of one series within one interval.

    Attributes:
        measured: The sum of `counts`.
        unmeasured: Requests without a usable duration.
        sum_s: Sum of the measured durations in seconds, to the last digit or so.
        body_bytes: Bytes of the response bodies.
        counts: Requests by index into the bounds of the layout, where there are any.
        sum_to_s: Sum of all durations from the start of the run to the end of the interval, exactly as it was counted.
    """

    measured: int
    unmeasured: int
    sum_s: float
    body_bytes: int
    counts: Mapping[int, int]
    sum_to_s: float = 0.0


class WorkerReading(NamedTuple):
    """How one generating process was at the end of an interval.

    Attributes:
        cpu_ratio: Share of one core; None before the first measurement.
        memory_bytes: Resident memory; None before the first measurement.
        reasons: Why its latencies cannot be believed, of `catalogue.INVALID_REASONS`.
        lag_counts: Delays of its event loop within the interval, by index into the `lag_bounds`.
        lag_sum_s: Their sum in seconds.
    """

    worker: str
    cpu_ratio: float | None
    memory_bytes: int | None
    users: int
    reasons: tuple[str, ...]
    lag_counts: Mapping[int, int]
    lag_sum_s: float


class Judgement(NamedTuple):
    """How one objective stood at the end of an interval; the counts are since the warm-up."""

    good: int
    bad: int
    sum_s: float
    status: str


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two moments of a run.

    Attributes:
        start_s: Seconds since the start of the run.
        end_s: Likewise; later.
        users: Running users by class at its end.
        users_target: Users asked for by class.
        state: One of `catalogue.RUN_STATES`.
        elapsed_s: Seconds from the start of the run to here, or to its stop.
        counts: New requests by position in `Record.series`; series without any are left out.
        errors: New failed requests by kind.
        user_errors: New exceptions of tasks, by user class and error type.
        workers: The generating processes.
        worker_states: Number of workers by state; None in a local run.
        workers_expected: None in a local run.
        slo: How the objectives stand, by name; None without an SLO file.
        locust_total: Requests that Locust has counted so far; None where it counts none.
    """

    start_s: float
    end_s: float
    users: Mapping[str, int]
    users_target: Mapping[str, int]
    state: str
    elapsed_s: float
    counts: Mapping[int, SeriesDelta]
    errors: Mapping[ErrorKey, int]
    user_errors: Mapping[tuple[str, str], int]
    workers: list[WorkerReading]
    worker_states: Mapping[str, int] | None
    workers_expected: int | None
    slo: Mapping[str, Judgement] | None
    locust_total: int | None

    @property
    def reasons(self) -> frozenset[str]:
        """Why its numbers cannot be believed, of `catalogue.INVALID_REASONS`; empty where they can."""
        missing = ("workers",) if (self.worker_states or {}).get("missing") else ()
        return frozenset(chain(missing, *(worker.reasons for worker in self.workers)))

    @property
    def keeps_up(self) -> bool:
        """Whether the numbers can be believed."""
        return not self.reasons
