"""Worker to master: what a worker adds to each report of Locust, and how the master merges it.

Requests happen on workers; the master never sees one. Every three seconds each worker sends Locust's master a report,
and this rides on it. What is sent is cumulative, per run and worker, and never falls: the master keeps the largest it
was told, so a report that comes twice counts once, and one that comes late does no harm. Series and counts that did not
change are left out, but for a tenth of the series in turn, which is sent whole and heals what a lost report held; so
are all of them once the run is over.

A report is plain lists and numbers, for msgpack:

    {"v": 2, "runs": [RUN], "reset": N, "is_last": BOOL, "errors": N, "events": [EVENT],
     "vitals": [run_id, cpu_ratio, memory_bytes, [reason], lag_sum_s, COUNTS, schedule_sum_s, COUNTS]}
    RUN = {"id", "layout", "series": [SERIES], "errors": [[method, name, error_type, count]],
           "user_errors": [[user_class, error_type, count]]}
    SERIES = [method, name, user_class, is_failure, unmeasured, sum_s, body_bytes, COUNTS, EXEMPLARS]
    COUNTS = [gap, count, gap, count ...]: each gap is the distance to the next count that is sent, from -1
    EXEMPLARS = [[index, duration_s, trace_id, span_id, timestamp]]
    EVENT = [name, body, severity, {attribute: value}, timestamp, trace_id, span_id]
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import ne
from typing import Any

from locust_otel.core.catalogue import INVALID_REASONS
from locust_otel.core.errors import LocustOtelError
from locust_otel.core.events import Event
from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import ErrorKey, Exemplar, SeriesKey, SeriesSnapshot
from locust_otel.plugin.series import Aggregate, Series

REPORT_KEY = "locust_otel"
"""Where our part stands in Locust's report."""

NAMES_MESSAGE = "locust_otel.names"
"""Message of the master: the methods and names that have series of their own, once there are too many."""

VERSION = 2

EVENTS_PER_REPORT = 20
"""Events that ride on one report; the others wait for the next."""

_HEALING_REPORTS = 10  # within as many reports every series is sent, changed or not
_FAREWELL_REPORTS = 2  # reports that a run which has ended is still part of
_OUTCOMES = ("success", "failure")
_MAX_COUNT = 2**48  # requests in one bucket; more than that is no count, and could overflow a sum of workers
_MAX_BYTES = 2**56
_HEX = re.compile(r"[0-9a-f]{48}")


class ReportError(LocustOtelError):
    """A worker's report cannot be understood; nothing of it was merged."""


def fingerprint(layout: Layout) -> int:
    """Return a number that two layouts share only if their bounds are the same."""
    return zlib.crc32(repr(layout.bounds).encode())


def sparse(counts: Sequence[int], before: Sequence[int] | None = None) -> list[int]:
    """Return the counts that are not 0, or those that differ from the ones before, as gaps and counts in turn."""
    # Searches in C: few counts are not 0, and fewer change from one report to the next.
    chosen = compress(range(len(counts)), counts if before is None else map(ne, counts, before))
    result: list[int] = []
    last = -1
    for index in chosen:
        result += (index - last, counts[index])
        last = index
    return result


@dataclass(slots=True)
class _ReportedRun:
    """A run of a worker and what of it has been sent."""

    run_id: str
    aggregate: Aggregate
    layout: int
    seq: int = 0
    sent: dict[SeriesKey, SeriesSnapshot] = field(default_factory=dict)
    sent_errors: dict[ErrorKey, int] = field(default_factory=dict)
    farewells: int = _FAREWELL_REPORTS

    def report(self, *, is_over: bool) -> dict[str, Any]:
        self.seq += 1
        is_whole = is_over and self.farewells > 0
        self.farewells -= is_whole
        aggregate = self.aggregate
        aggregate.tally()
        entries = (self._entry(n, series, is_whole) for n, series in enumerate(aggregate.series.values()))
        return {
            "id": self.run_id,
            "layout": self.layout,
            "series": [entry for entry in entries if entry is not None],
            "errors": [
                [*key, count]
                for n, (key, count) in enumerate(aggregate.errors.items())
                if self._is_error_due(n, key, count, is_whole)
            ],
            "user_errors": [[*key, n] for key, n in aggregate.user_errors.items()],
        }

    def _entry(self, position: int, series: Series, is_whole: bool) -> list[Any] | None:
        key, now, before = series.key, series.frozen(), self.sent.get(series.key)
        is_whole = is_whole or before is None or not (position + self.seq) % _HEALING_REPORTS
        if now is before and not is_whole:
            return None
        self.sent[key] = now
        known = None if is_whole else before
        return [
            key.method, key.name, key.user_class, int(key.outcome == "failure"),
            now.unmeasured, now.sum_s, now.body_bytes, sparse(now.counts, known.counts if known else None),
            [
                [i, e.duration_s, e.trace_id, e.span_id, e.timestamp]
                for i, e in now.exemplars.items()
                if known is None or known.exemplars.get(i) is not e
            ],
        ]  # fmt: skip

    def _is_error_due(self, position: int, key: ErrorKey, count: int, is_whole: bool) -> bool:
        if self.sent_errors.get(key) == count and not is_whole and (position + self.seq) % _HEALING_REPORTS:
            return False
        self.sent_errors[key] = count
        return True


class Reporter:
    """Makes a worker's part of each report."""

    def __init__(self) -> None:
        self._runs: list[_ReportedRun] = []

    def start(self, run_id: str, aggregate: Aggregate) -> None:
        """Report this run from now on; the one before is said farewell to with its last numbers."""
        self._runs.append(_ReportedRun(run_id, aggregate, fingerprint(aggregate.layout)))

    def report(self, *, is_over: bool = False) -> list[dict[str, Any]]:
        """Return the runs to report, the current one last.

        Args:
            is_over: Whether the current one has stopped; its next reports are whole.
        """
        runs = [run.report(is_over=is_over or run is not self._runs[-1]) for run in self._runs]
        self._runs = [run for run in self._runs[:-1] if run.farewells > 0] + self._runs[-1:]
        return runs


@dataclass(slots=True)
class _WorkerSeries:
    """The last of a series that a worker reported, and the series it is part of here."""

    merged: Series
    is_folded: bool
    counts: array[int]
    unmeasured: int = 0
    sum_s: float = 0.0
    body_bytes: int = 0


class MergedRun:
    """A run as the master knows it: the sum of the last that each worker reported.

    Attributes:
        aggregate: The sum.
    """

    def __init__(self, run_id: str, aggregate: Aggregate) -> None:
        self.run_id = run_id
        self.aggregate = aggregate
        self._layout = fingerprint(aggregate.layout)
        self._series: dict[tuple[object, ...], _WorkerSeries] = {}
        self._errors: dict[tuple[str, ErrorKey], int] = {}
        self._user_errors: dict[tuple[str, str, str], int] = {}
        self._told_names: set[str] = set()

    def merge(self, client_id: str, report: dict[str, Any]) -> bool:
        """Put a worker's report of this run in the place of its last one.

        Returns:
            Whether the worker should be told which names have series of their own, since it has others.

        Raises:
            ReportError: It cannot be understood; nothing of it was merged.
        """
        try:
            if report["layout"] != self._layout:
                raise ReportError(f"worker {client_id} counts between other bounds than the master")
            series = report["series"]
            for entry in series:
                _check(entry, self.aggregate.layout)
            errors = [(ErrorKey(_text(m), _text(n), _text(t)), count(number)) for m, n, t, number in report["errors"]]
            user_errors = [((client_id, _text(c), _text(t)), count(number)) for c, t, number in report["user_errors"]]
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ReportError(f"worker {client_id} sent a report that is malformed: {error!r}") from error
        has_others = False
        for entry in series:
            has_others |= self._replace(client_id, entry)
        for key, number in errors:
            place = (client_id, key)
            method, name = self.aggregate.admitted(key.method, key.name)
            self.aggregate.count_error(method, name, key.error_type, max(number - self._errors.get(place, 0), 0))
            self._errors[place] = max(number, self._errors.get(place, 0))
        for user_error, number in user_errors:
            self.aggregate.count_user_error(*user_error[1:], max(number - self._user_errors.get(user_error, 0), 0))
            self._user_errors[user_error] = max(number, self._user_errors.get(user_error, 0))
        if not has_others or client_id in self._told_names:
            return False
        self._told_names.add(client_id)
        return True

    def _replace(self, client_id: str, entry: Sequence[Any]) -> bool:
        """Put a series in the place of the worker's last one; return whether its name had to be folded."""
        method, name, user_class, is_failure, unmeasured, sum_s, body_bytes, gaps, exemplars = entry
        place = (client_id, method, name, user_class, is_failure)
        old = self._series.get(place)
        if old is None:
            old = self._series[place] = self._first(method, name, user_class, is_failure)
        series, known = old.merged, old.counts
        series.thaw()
        counts, added, index = series.counts, 0, -1
        numbers = iter(gaps)
        for gap, count in zip(numbers, numbers, strict=True):
            index += gap
            if known[index] < count:  # few are since the last report
                difference = count - known[index]
                known[index] = count
                counts[index] += difference
                added += difference
        series.measured += added
        series.unmeasured += max(unmeasured - old.unmeasured, 0)
        # Added as a difference, which is never negative: `s + new - old` can end a rounding error below `s`, and to
        # Prometheus a sum that falls is a reset.
        series.sum_s += max(sum_s - old.sum_s, 0.0)
        series.body_bytes += max(body_bytes - old.body_bytes, 0)
        old.unmeasured = max(unmeasured, old.unmeasured)
        old.sum_s = max(sum_s, old.sum_s)
        old.body_bytes = max(body_bytes, old.body_bytes)
        for place_of, exemplar in map(_exemplar, exemplars):
            last = series.exemplars.get(place_of)
            if last is None or last.timestamp < exemplar.timestamp:
                series.exemplars[place_of] = exemplar
        return old.is_folded

    def _first(self, method: str, name: str, user_class: str, is_failure: int) -> _WorkerSeries:
        """Return what the first report of a worker's series is compared with: nothing."""
        here = self.aggregate.admitted(method, name)
        series = self.aggregate.of(SeriesKey(*here, user_class, _OUTCOMES[is_failure]))
        return _WorkerSeries(series, here[1] != name, self.aggregate.layout.empty())


def encode_event(event: Event) -> list[Any]:
    """Return an event as a report carries it."""
    return [
        event.name, event.body, event.severity, dict(event.attributes), event.timestamp, event.trace_id, event.span_id,
    ]  # fmt: skip


def decode_event(told: Any) -> Event:
    """Return the event of a report.

    Raises:
        ReportError: It is none.
    """
    try:
        name, body, severity, attributes, timestamp, trace_id, span_id = told
        scalars = {str(k): v for k, v in attributes.items() if isinstance(v, str | int | float)}
        if (trace_id or span_id) and not _HEX.fullmatch(_text(trace_id) + _text(span_id)):
            raise ValueError(f"trace {trace_id!r} and span {span_id!r}")
        if any(isinstance(v, int) and abs(v) >= _MAX_BYTES for v in scalars.values()):  # more than OTLP can carry
            raise ValueError(f"attributes {scalars!r}")
        severity = severity if severity in ("INFO", "WARN", "ERROR") else "INFO"  # it may be a list
        return Event(str(name), str(body), severity, scalars, _seconds(timestamp), trace_id or "", span_id or "")
    except (AttributeError, TypeError, ValueError) as error:
        raise ReportError(f"an event is malformed: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a worker says it is; the fields are those of `WorkerSnapshot`."""

    run_id: str
    cpu_ratio: float | None
    memory_bytes: int | None
    reasons: tuple[str, ...]
    lag_sum_s: float
    lag_counts: dict[int, int]
    schedule_sum_s: float
    schedule_counts: dict[int, int]


def decode_vitals(told: Any, last: int) -> Vitals:
    """Return the vitals of a report.

    Args:
        told: What it says.
        last: The last index of both counts of delays.

    Raises:
        ReportError: They are none.
    """
    try:
        run_id, cpu_ratio, memory_bytes, reasons, lag_sum_s, lags, schedule_sum_s, delays = told
        return Vitals(
            _text(run_id),
            None if cpu_ratio is None else _seconds(cpu_ratio),
            None if memory_bytes is None else count(memory_bytes, _MAX_BYTES),
            tuple(reason for reason in INVALID_REASONS if reason in [_text(told) for told in reasons]),
            _seconds(lag_sum_s),
            {index: count(number) for index, number in decode_counts(lags, last).items()},
            _seconds(schedule_sum_s),
            {index: count(number) for index, number in decode_counts(delays, last).items()},
        )
    except (TypeError, ValueError) as error:
        raise ReportError(f"a worker says of itself what makes no sense: {error!r}") from error


def _check(entry: Sequence[Any], layout: Layout) -> None:
    """Check what `_replace` relies on.

    Raises:
        ValueError: It is not as the top of this file says; or TypeError, IndexError.
    """
    method, name, user_class, is_failure, unmeasured, sum_s, body_bytes, gaps, exemplars = entry
    if not type(method) is type(name) is type(user_class) is str:
        raise TypeError(f"{entry[:3]!r} are no texts")
    if not type(is_failure) is type(unmeasured) is type(body_bytes) is int:
        raise TypeError(f"{entry[3:7]!r} are no counts")
    if is_failure not in {0, 1} or not 0 <= unmeasured < _MAX_COUNT or not 0 <= body_bytes < _MAX_BYTES:
        raise ValueError(f"{entry[3:7]!r} are no counts")
    _seconds(sum_s)
    # Steps in C, since there are many. A sum of integers is one, and of other things is not, or raises.
    if gaps and (type(sum(gaps)) is not int or min(gaps) < 1 or max(gaps) >= _MAX_COUNT):
        raise ValueError(f"gaps and counts {gaps!r}")
    if len(gaps) % 2 or sum(gaps[::2]) > len(layout.bounds) + 1:
        raise ValueError(f"gaps and counts {gaps!r}")
    for exemplar in exemplars:
        _decode_exemplar(exemplar, layout)


def _exemplar(sent: Sequence[Any]) -> tuple[int, Exemplar]:
    index, *fields = sent
    return index, Exemplar(*fields)


def _decode_exemplar(exemplar: Sequence[Any], layout: Layout) -> tuple[int, Exemplar]:
    index, duration_s, trace_id, span_id, timestamp = exemplar
    if count(index) > len(layout.classic_bounds) or not _HEX.fullmatch(_text(trace_id) + _text(span_id)):
        raise ValueError(f"exemplar {exemplar!r}")
    return index, Exemplar(_seconds(duration_s), trace_id, span_id, _seconds(timestamp))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def count(value: Any, limit: int = _MAX_COUNT) -> int:
    """Return a count that a worker sent.

    Raises:
        ValueError: It is none, or absurd.
    """
    if type(value) is not int or not 0 <= value < limit:  # True is one that OTLP does not take
        raise ValueError(f"a {type(value).__name__} is no count, or out of range")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in {int, float} or not 0 <= value < _MAX_COUNT:  # a sum of these stays finite
        raise ValueError(f"{type(value).__name__} is no time, or out of range")
    return float(value)


def decode_counts(gaps: Sequence[int], last: int) -> dict[int, int]:
    """Return counts by index, from gaps and counts in turn.

    Raises:
        ValueError: An index lies above `last`, or a gap or count is not positive.
    """
    counts: dict[int, int] = {}
    index = -1
    numbers: Iterable[int] = iter(gaps)
    for gap, count in zip(numbers, numbers, strict=True):
        if type(gap) is not int or type(count) is not int or gap < 1 or count < 1:
            raise ValueError(f"gap {gap} with count {count}")
        index += gap
        counts[index] = count
    if index > last:
        raise ValueError(f"index {index} of {last}")
    return counts
