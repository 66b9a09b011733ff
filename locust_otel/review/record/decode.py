"""Decoder of the lines of a record: cumulative numbers become numbers of each interval.

Every violation of the format is an error.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from msgspec import Struct, convert, field

from locust_otel.core.histogram import Layout, joined, layout
from locust_otel.core.snapshot import ErrorKey, SeriesKey, WorkerSnapshot
from locust_otel.slo.file import parse
from locust_otel.slo.objectives import Slo
from locust_otel.wire import record
from locust_otel.wire.report import Gaps, decode_counts

_Key = TypeVar("_Key")

_MALFORMED = (ValueError, IndexError, OverflowError, RecursionError)
"""Errors that a line with violations of the format raises; those of msgspec and JSON are `ValueError`."""


class SeriesDelta(NamedTuple):
    """Requests of a series within an interval."""

    measured: int  # the sum of the counts
    unmeasured: int  # without a usable duration
    sum_s: float  # of the measured durations, with an error in the last digit
    body_bytes: int
    counts: Mapping[int, int]  # requests by index into the bounds of the layout, without zeros
    sum_to_s: float = 0.0  # of all durations since the start of the run, exactly as recorded


class Interval(record.IntervalFacts, kw_only=True):
    """Interval of a run, with the numbers of this interval alone."""

    counts: Mapping[int, SeriesDelta]  # by position in `Contents.series`, without series that have no requests
    errors: Mapping[ErrorKey, int]
    user_errors: Mapping[tuple[str, str], int]  # exceptions of tasks, by user class and error type
    cpu_ratio: float | None  # highest share of a core of any generating process; None if unknown
    reasons: frozenset[str]  # of `catalogue.INVALID_REASONS`, for which its numbers are not reliable
    late_s: float = 0.0  # by which scheduled tasks began late, since the start of the run

    @property
    def is_over(self) -> bool:
        """True if the run was over at its end."""
        return self.state in {"stopped", "lost"}


class _Known(Struct):
    """Last values of a series."""

    unmeasured: int = 0
    sum_s: float = 0.0
    body_bytes: int = 0
    counts: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))


class Contents(record.RunFacts, kw_only=True):
    """Content of the lines so far, without the intervals."""

    layout: Layout
    slo: Slo | None
    series: list[SeriesKey] = field(default_factory=list)
    errors: list[ErrorKey] = field(default_factory=list)
    marks: list[record.Mark] = field(default_factory=list)
    events: list[record.RecordedEvent] = field(default_factory=list)
    workers: tuple[WorkerSnapshot, ...] = ()  # at the end of the last interval, with delays since the start
    warm_s: float | None = None  # end of the warm-up; None if it did not end, or without a warm-up
    end: record.EndLine | None = None  # last line; None before it was read
    _known: list[_Known] = field(default_factory=list)
    _known_errors: defaultdict[ErrorKey, int] = field(default_factory=lambda: defaultdict(int))
    _known_user_errors: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    _known_lags: dict[str, tuple[float, defaultdict[int, int]]] = field(default_factory=dict)
    _lags: dict[str, tuple[Counter[int], float]] = field(default_factory=dict)
    _end_s: float = 0.0

    @classmethod
    def begun(cls, line: bytes, where: str) -> Self:
        """Return the content after the first line.

        Raises:
            RecordError: It is not the first line of a record, or that of another version.
        """
        try:
            values = convert(json.loads(line.decode("ascii")), dict[str, Any])
            version = values.get("version")
            if values.get("format") != record.FORMAT or values.get("type") != "run":
                raise record.RecordError(where, "this is not a run record.", "format")
            if version == 1:
                raise record.RecordError(where, "this is of version 1; locust-otel 0.1 reads it.", "version")
            if version != record.VERSION:
                found = f"this is of version {version!r}; this locust-otel reads version {record.VERSION}."
                raise record.RecordError(where, f"{found} Use the locust-otel that wrote it.", "version")
            run = convert(values, record.RunLine)
            bounds = layout(run.thresholds_s)
            if [*bounds.bounds] != run.bounds or [*layout().bounds] != run.lag_bounds:
                raise ValueError("the edges of the histogram are not those of this version of the format")
            slo = None if run.slo is None else parse(run.slo.text.encode(), run.slo.source)
            return cls(**_facts(run, record.RunFacts), layout=bounds, slo=slo)
        except _MALFORMED as error:
            raise record.RecordError(where, f"this is not the first line of a record: {error}", "rubbish") from error

    def take(self, line: bytes, where: str) -> Interval | None:
        """Read a line after the first one, and return its interval if it has one.

        Raises:
            RecordError: It is not a line of this version of the format.
        """
        try:
            values: record.Line = convert(json.loads(line.decode("ascii")), record.Line)
            if self.end is not None:
                raise ValueError("a line after the end")
            match values:
                case record.IntervalLine():
                    return self._interval(values)
                case record.SeriesLine():
                    self.series += values.keys
                    self._known += [_Known() for _ in values.keys]
                case record.ErrorsLine():
                    self.errors += values.keys
                case record.Mark():
                    self.marks.append(values)
                case record.RecordedEvent():
                    self.events.append(values)
                case record.EndLine():
                    self.end = values
                case _:
                    self.warm_s = values.at
        except _MALFORMED as error:
            raise record.RecordError(where, f"this is not a line of a record: {error}", "rubbish") from error
        return None

    def _interval(self, line: record.IntervalLine) -> Interval:
        if line.start_s != self._end_s or line.end_s <= line.start_s:
            raise ValueError(f"the interval from {line.start_s} to {line.end_s} does not follow {self._end_s}")
        self._end_s = line.end_s
        user_errors = {(user_class, error_type): number for user_class, error_type, number in line.user_errors}
        self.workers = tuple(map(self._worker, line.workers))
        reasons = {reason for worker in line.workers for reason in worker.reasons}
        if (line.worker_states or {}).get("missing"):
            reasons.add("workers")
        return Interval(
            **_facts(line, record.IntervalFacts),
            counts=self._counts(line.series),
            errors=_new(self._known_errors, {self.errors[position]: number for position, number in line.errors}),
            user_errors=_new(self._known_user_errors, user_errors),
            cpu_ratio=max((worker.cpu for worker in line.workers if worker.cpu is not None), default=None),
            reasons=frozenset(reasons),
            late_s=sum(worker.schedule_sum_s for worker in line.workers),
        )

    def _counts(self, entries: Iterable[tuple[int, int, float, int, Gaps]]) -> dict[int, SeriesDelta]:
        """Return the requests of this interval by series, without series that have none."""
        # One loop, for speed: an hour of 50 series has 180,000 entries.
        result: dict[int, SeriesDelta] = {}
        all_known, last = self._known, len(self.layout.bounds)
        for position, unmeasured, sum_to_s, body_bytes, gaps in entries:
            if position in result:
                raise ValueError(f"series {position} is there twice")
            known = all_known[position]
            counts = _new(known.counts, _buckets(gaps, last))
            more_unmeasured, more_bytes = unmeasured - known.unmeasured, body_bytes - known.body_bytes
            more_s = sum_to_s - known.sum_s
            if more_unmeasured < 0 or more_bytes < 0 or more_s < 0:
                raise ValueError(f"a number of series {position} falls")
            if counts or more_unmeasured or more_bytes or more_s:
                known.unmeasured, known.sum_s, known.body_bytes = unmeasured, sum_to_s, body_bytes
                measured = sum(counts.values())
                result[position] = SeriesDelta(measured, more_unmeasured, more_s, more_bytes, counts, sum_to_s)
        return result

    def _worker(self, line: record.WorkerLine) -> WorkerSnapshot:
        before_s, known = (not line.is_new and self._known_lags.get(line.worker)) or (0.0, defaultdict(int))
        if line.lag_sum_s < before_s:
            raise ValueError(f"a sum of worker {line.worker} falls")
        lags = _new(known, _buckets(line.lag, len(layout().bounds)))
        self._known_lags[line.worker] = (line.lag_sum_s, known)
        counts, sum_s = self._lags.get(line.worker) or ({}, 0.0)
        self._lags[line.worker] = total = (joined((counts, lags)), sum_s + (line.lag_sum_s - before_s))
        return WorkerSnapshot(line.worker, line.cpu, line.memory, line.users, *total, line.reasons)


def _facts(line: Struct, kind: type[Struct]) -> dict[str, Any]:
    """Return the fields of a line that another kind of struct has too."""
    return {name: getattr(line, name) for name in kind.__struct_fields__}


def _buckets(gaps: Gaps, last: int) -> dict[int, int]:
    counts = decode_counts(gaps)
    if counts and next(reversed(counts)) > last:
        raise ValueError(f"the index of a bucket is above {last}")
    return counts


def _new(known: defaultdict[_Key, int], numbers: Mapping[_Key, int]) -> dict[_Key, int]:
    """Return how much cumulative numbers have risen, without zeros, and keep them as the known ones."""
    new = {}
    for key, number in numbers.items():
        if more := number - known[key]:
            new[key] = more
            known[key] = number
    if min(new.values(), default=0) < 0:
        raise ValueError("a count falls")
    return new
