r"""Format of a run record, version 2.

A record is `RUN_ID.jsonl.gz`: JSON Lines in ASCII inside gzip, flushed after the first line and after each interval
(Z_SYNC_FLUSH). The writing process may be killed at any moment: a reader uses every line that ends with a newline.
Another process then continues the file with a new gzip member.

Each line is an object of one of the classes below; its `type` is the tag of the class. The first line is the only
`run`, the last line of a complete record is the only `end`, and the other lines are in order of time.

Requests, errors, bytes and delays are cumulative since the start of the run. An interval holds only those that have
changed since the previous interval. Times are seconds since the start of the run, except `start_time`, which is Unix
time. An interval takes a second, or longer if the file could not be written.

A reader of version 2 ignores unknown keys, and refuses unknown types and versions.
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
INTERVAL_S = 1.0  # from one interval to the next

Total = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Time = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
State = Annotated[str, Meta(pattern=rf"\A(?:{'|'.join(RUN_STATES)})\Z")]
Status = Annotated[str, Meta(pattern=rf"\A(?:{'|'.join(SLO_STATUSES)})\Z")]


class RecordError(LocustOtelError):
    """Unreadable run record; the message ends with a stable slug, `record-version`."""

    def __init__(self, where: str, found: str, slug: str) -> None:
        self.slug = f"record-{slug}"
        super().__init__(f"{where}: {found} ({self.slug})")


class RunFacts(Struct, kw_only=True):
    """Facts of a run that are known at its start."""

    run_id: str
    start_time: Time
    interval_s: Time = INTERVAL_S  # usual length of an interval
    info: dict[str, str]  # labels of `locust_run_info`
    settings: dict[str, Any]  # settings that change the numbers of the run
    versions: dict[str, str]  # of locust-otel and Python
    instance: str | None  # host and port of /metrics; None without /metrics
    slow_s: Time  # time above which a request is slow


class SloFile(Struct):
    """Name and content of the SLO file."""

    source: str
    text: str


class RunLine(RunFacts, tag="run", kw_only=True):
    """First line of a record."""

    format: str = FORMAT
    version: int = VERSION
    thresholds_s: list[Time]  # requested edges of the histogram
    bounds: list[float]  # all edges: counts[i] is for (bounds[i - 1], bounds[i]], the last count for longer durations
    lag_bounds: list[float]  # all edges of the histogram of delays
    slo: SloFile | None


class SeriesLine(Struct, tag="series"):
    """Keys of new series, numbered from 0 in the order of the record."""

    keys: list[SeriesKey]


class ErrorsLine(Struct, tag="errors"):
    """Keys of new kinds of errors, numbered likewise."""

    keys: list[ErrorKey]


class Mark(Struct, tag="mark", frozen=True):
    """Mark of the run."""

    time_s: Time = field(name="at")
    mark: str
    kind: str


class RecordedEvent(Struct, tag="event", frozen=True):
    """Event of the run."""

    time_s: Time = field(name="at")
    name: str
    body: str
    severity: str
    attributes: dict[str, Any]


class WarmLine(Struct, tag="warm"):
    """End of the warm-up, which is the end of the interval before this line."""

    at: Time


class Judgement(Struct, frozen=True):
    """State of one objective at the end of an interval; the counts are since the warm-up."""

    good: Total
    bad: Total
    sum_s: Time
    status: Status


class WorkerLine(Struct):
    """State of one generating process at the end of an interval."""

    worker: str
    cpu: Time | None  # share of one core; None before the first measurement
    memory: Total | None  # resident bytes; None before the first measurement
    users: Total
    reasons: tuple[Reason, ...]  # reasons why its latencies are not valid
    is_new: bool  # whether its delays start from 0 again
    lag_sum_s: Time
    lag: Gaps  # delays of its event loop
    schedule_sum_s: Time = 0.0  # delays of tasks with a schedule since the start of the run


class IntervalFacts(Struct, kw_only=True):
    """Facts of an interval that do not depend on the intervals before."""

    start_s: Time = field(name="from")
    end_s: Time = field(name="to")  # greater than `from`
    state: State
    elapsed_s: Time  # from the start of the run to the end of the interval, or to the stop
    users: dict[str, Total]  # running users by class at the end
    users_target: dict[str, Total]  # requested users by class
    worker_states: dict[str, Total] | None  # number of workers by state; None in a local run
    workers_expected: Total | None  # None in a local run
    slo: dict[str, Judgement] | None  # by objective; None without an SLO file
    locust_total: Total | None  # requests that Locust has counted so far; None if it does not count


class IntervalLine(IntervalFacts, tag="interval", kw_only=True):
    """Interval, with the numbers that changed in it."""

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
    """Last line of a complete record."""

    at: Time
    state: State  # `stopped`; or `lost` if Locust's process ended before the run was stopped
    recorded: Total
    locust_total: Total | None  # None if Locust does not count
    is_aborted: bool  # whether --slo-abort has ended the run
    verdict: list[Verdict] | None  # None without objectives


Line = SeriesLine | ErrorsLine | Mark | RecordedEvent | WarmLine | IntervalLine | EndLine
"""Any line but the first."""
