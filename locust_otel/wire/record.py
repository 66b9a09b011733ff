r"""The format of a run record, version 1.

A record is `RUN_ID.jsonl.gz`: JSON Lines in ASCII, inside one gzip stream that is flushed after the first line and
after each interval (Z_SYNC_FLUSH). Whoever writes it may be killed at any moment: what was flushed can be read, and a
line without its newline is none. Numbers of requests are those *since the interval before*, so that a span of the run
is a sum of intervals. Times are seconds since the start of the run, but for `start_time`, which is Unix time.

Each line is an object with a `type`. The first one is the only `run`, the last one of a run that ended well the only
`end`, and in between stand the others, in the order in which things happened:

    run       format "locust-otel-record", version 1, run_id, start_time, interval_s,
              info          labels of locust_run_info
              settings      what the run was started with, as far as its numbers depend on it
              versions      of locust-otel and Python
              instance      host and port of /metrics; null where it was not served
              slow_s        above this a request is slow
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
              series        [[series, unmeasured, sum_to_s, body_bytes, gap, count, gap, count ...] ...] of those with
                            new requests: each gap is the distance to the next bucket with new requests, from -1;
                            sum_to_s is the sum of all durations up to here, since only that is exact
              errors        [[error, count] ...]
              user_errors   [[user_class, error_type, count] ...]
              workers       [{worker, cpu, memory, users, reasons, lag_sum_s, lag: [gap, count ...]} ...]
              worker_states, workers_expected    null in a local run
              slo           null, or by objective {good, bad, sum_s, status}: so far, since the warm-up
              locust_total  requests that Locust has counted so far; null where it counts none
    end       at, recorded, locust_total, is_aborted,
              verdict       null, or [{slo, status, good, bad, sum_s, actual, budget_spent, worst, note} ...]

An interval takes a second, or longer where the file could not be written meanwhile. A reader of version 1 ignores keys
that it does not know, and refuses types and versions that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from locust_otel.core.errors import LocustOtelError
from locust_otel.core.snapshot import ErrorKey

FORMAT = "locust-otel-record"
VERSION = 1
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
        lag_counts: Delays of its event loop within the interval, by index into the bounds of `generator.LAG_LAYOUT`.
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
        elapsed_s: Seconds for which the run has been going on; stands still once it has stopped.
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
