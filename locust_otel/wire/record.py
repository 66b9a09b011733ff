r"""The format of a run record, version 2.

A record is `RUN_ID.jsonl.gz`: JSON Lines in ASCII inside gzip, flushed after the first line and after each interval
(Z_SYNC_FLUSH). The process that writes it may be killed at any moment: a reader uses every line that ends with a
newline. Another process then continues the file with a gzip member of its own.

Each line is an object of one of the classes below; its `type` is the class's tag. The first line is the only `run`, the
last line of a complete record is the only `end`, and the others are in the order in which things happened.

Requests, errors, bytes and delays are cumulative since the start of the run, and an interval holds only those that
have changed since the interval before. Times are seconds since the start of the run, except `start_time`, which is
Unix time. An interval takes a second, or longer if the file could not be written.

A reader of version 2 ignores keys that it does not know, and refuses types and versions that it does not know.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, TypedDict

from msgspec import Meta, Struct, field

from locust_otel.core.catalogue import RUN_STATES, SLO_STATUSES
from locust_otel.core.errors import LocustOtelError
from locust_otel.core.snapshot import ErrorKey, SeriesKey
from locust_otel.wire.report import Gaps, Reason

FORMAT = "locust-otel-record"
VERSION = 2
SUFFIX = ".jsonl.gz"

INTERVAL_S = 1.0
"""Seconds from one interval to the next."""

Total = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Time = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
State = Annotated[str, Meta(pattern=rf"\A(?:{'|'.join(RUN_STATES)})\Z")]
Status = Annotated[str, Meta(pattern=rf"\A(?:{'|'.join(SLO_STATUSES)})\Z")]


class RecordError(LocustOtelError):
    """A run record cannot be read; the message ends with a stable slug, `record-version`."""

    def __init__(self, where: str, found: str, slug: str) -> None:
        self.slug = f"record-{slug}"
        super().__init__(f"{where}: {found} ({self.slug})")


class RunFacts(Struct, kw_only=True):
    """Facts of a run that are known when it begins."""

    run_id: str
    start_time: Time
    interval_s: Time = INTERVAL_S  # that an interval takes, as a rule
    info: dict[str, str]  # labels of `locust_run_info`
    settings: dict[str, Any]  # that the numbers of the run depend on
    versions: dict[str, str]  # of locust-otel and Python
    instance: str | None  # host and port of /metrics; None if it was not served
    slow_s: Time  # a request that takes longer is slow


class SloFile(Struct):
    """Name and content of the SLO file."""

    source: str
    text: str


class RunLine(RunFacts, tag="run", kw_only=True):
    """First line."""

    format: str = FORMAT
    version: int = VERSION
    thresholds_s: list[Time]  # edges of the histogram that were asked for
    bounds: list[float]  # all its edges: counts[i] lies in (bounds[i - 1], bounds[i]], and one more above the last
    lag_bounds: list[float]  # the same of the histogram of delays
    slo: SloFile | None


class SeriesLine(Struct, tag="series"):
    """Keys of new series; the first key of the record is series 0, and so on."""

    keys: list[SeriesKey]


class ErrorsLine(Struct, tag="errors"):
    """Keys of new kinds of errors, counted likewise."""

    keys: list[ErrorKey]


class Mark(Struct, tag="mark", frozen=True):
    """Something that happened; seconds since the start of the run."""

    time_s: Time = field(name="at")
    mark: str
    kind: str


class RecordedEvent(Struct, tag="event", frozen=True):
    """An event of the run; seconds since its start."""

    time_s: Time = field(name="at")
    name: str
    body: str
    severity: str
    attributes: dict[str, Any]


class WarmLine(Struct, tag="warm"):
    """The warm-up is over, and the interval before this line ended with it."""

    at: Time


class Judgement(Struct, frozen=True):
    """State of one objective at the end of an interval; the counts are since the warm-up."""

    good: Total
    bad: Total
    sum_s: Time
    status: Status


class WorkerLine(Struct):
    """State of one generating process at the end of an interval; it is not known before the first measurement."""

    worker: str
    cpu: Time | None  # share of one core
    memory: Total | None  # bytes, resident
    users: Total
    reasons: tuple[Reason, ...]  # why its latencies cannot be believed
    is_new: bool  # whether its delays count from 0 again
    lag_sum_s: Time
    lag: Gaps  # delays of its event loop
    schedule_sum_s: Time = 0.0  # by which tasks with a schedule have begun late, since the start of the run


class IntervalFacts(Struct, kw_only=True):
    """Facts of an interval that do not depend on the intervals before."""

    start_s: Time = field(name="from")
    end_s: Time = field(name="to")  # later
    state: State
    elapsed_s: Time  # from the start of the run to here, or to its stop
    users: dict[str, Total]  # running users by class at the end
    users_target: dict[str, Total]  # users asked for by class
    worker_states: dict[str, Total] | None  # number of workers by state; None in a local run
    workers_expected: Total | None  # None in a local run
    slo: dict[str, Judgement] | None  # by objective; None without an SLO file
    locust_total: Total | None  # requests that Locust has counted so far; None where it counts none


class IntervalLine(IntervalFacts, tag="interval", kw_only=True):
    """Interval, with the numbers that have changed in it."""

    series: list[tuple[Total, Total, Time, Total, Gaps]]  # series, unmeasured, seconds, bytes of bodies, counts
    errors: list[tuple[Total, Total]]  # error, count
    user_errors: list[tuple[str, str, Total]]  # user class, error type, count
    workers: list[WorkerLine]


class Verdict(TypedDict):
    """Verdict on one objective; the fields are those of `slo.verdict.Result`."""

    slo: str
    status: Status
    good: Total
    bad: Total
    sum_s: Time
    actual: float | None
    budget_spent: float | None
    worst: dict[str, Any] | None
    note: str


class EndLine(Struct, tag="end"):
    """Last line."""

    at: Time
    state: State  # stopped; or lost, if Locust's process ended without stopping the run
    recorded: Total
    locust_total: Total | None  # None if Locust does not count
    is_aborted: bool  # whether --slo-abort has ended the run
    verdict: list[Verdict] | None  # None without objectives


Line = SeriesLine | ErrorsLine | Mark | RecordedEvent | WarmLine | IntervalLine | EndLine
"""Any line but the first."""
