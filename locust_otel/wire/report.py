"""Reports: what one source of requests has counted so far, in pieces.

A piece holds the series that were hit since the last one: their totals, and the counts of the buckets that were
touched. All numbers are cumulative per run and source, and never fall. A piece that comes twice counts once, and one
that comes late does no harm: whoever merges keeps the largest number it was told.

A piece is msgpack of a list:

    [VERSION, run_id, layout, [SERIES], [[method, name, error_type, count]], [[user_class, error_type, count]], TAIL]
    SERIES = [method, name, user_class, is_failure, unmeasured, sum_s, body_bytes, COUNTS, EXEMPLARS]
    COUNTS = [gap, count, gap, count ...]: each gap is the distance to the next bucket that is told, from -1
    EXEMPLARS = [[index, duration_s, trace_id, span_id, timestamp]]
    TAIL = null, or in the last piece of a report
           {"is_over", "reset", "missing", "errors", "events": [EVENT], "slow": [SLOW], "slow_dropped",
            "vitals": VITALS}
    EVENT = [name, body, severity, {attribute: value}, timestamp, trace_id, span_id]
    SLOW = [method, name, user_class, outcome, duration_s, status, trace_id, span_id, timestamp]
    VITALS = [cpu_ratio, memory_bytes, [reason], lag_sum_s, COUNTS, schedule_sum_s, COUNTS]
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import msgpack

from locust_otel.core.catalogue import INVALID_REASONS, OUTCOMES
from locust_otel.core.errors import LocustOtelError
from locust_otel.core.events import Event
from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import ErrorKey, Exemplar, SeriesKey, SlowRequest

VERSION = 3

EVENTS_PER_REPORT = 20
"""Events and slow requests that one report carries; the others wait for the next."""

_MAX_COUNT = 2**48  # requests in one bucket; more than that is no count, and could overflow a sum of workers
_MAX_BYTES = 2**56
_MAX_TIMESTAMP = 2**33  # in the year 2242; its nanoseconds are a number that OTLP can carry
_HEX = re.compile(r"[0-9a-f]{48}")  # a trace and a span
_TRACE_ID_LENGTH = 32


class ReportError(LocustOtelError):
    """A report cannot be understood; nothing of it was merged."""


class SeriesReport(NamedTuple):
    """What a source says of one series; `counts` holds cumulative counts by index of the bounds."""

    key: SeriesKey
    unmeasured: int
    sum_s: float
    body_bytes: int
    counts: Mapping[int, int]
    exemplars: Mapping[int, Exemplar]


class Vitals(NamedTuple):
    """How a generating process says it is; the fields are those of `WorkerSnapshot`."""

    cpu_ratio: float | None
    memory_bytes: int | None
    reasons: tuple[str, ...]
    lag_sum_s: float
    lag_counts: Mapping[int, int]
    schedule_sum_s: float
    schedule_counts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Tail:
    """What the last piece of a report says of the source itself.

    Attributes:
        is_over: Whether the run has stopped there.
        reset: Requests that a reset of Locust's table threw away so far.
        missing: Requests that Locust has counted there less those recorded; None where Locust counts none.
        errors: Events that its recorder could not make sense of.
        events: What has happened since the last report.
        slow: Slow requests since then.
        slow_dropped: Slow requests that found no place among them.
        vitals: How the process is.
    """

    is_over: bool
    reset: int
    missing: int | None
    errors: int
    events: tuple[Event, ...]
    slow: tuple[SlowRequest, ...]
    slow_dropped: int
    vitals: Vitals


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a report, checked.

    Attributes:
        run_id: The run that is reported; empty where the source knows none.
        layout: Fingerprint of the bounds between which was counted.
        tail: None but in the last piece.
    """

    run_id: str
    layout: int
    series: tuple[SeriesReport, ...]
    errors: tuple[tuple[ErrorKey, int], ...]
    user_errors: tuple[tuple[tuple[str, str], int], ...]
    tail: Tail | None


def fingerprint(layout: Layout) -> int:
    """Return a number that two layouts share only if their bounds are the same."""
    return zlib.crc32(repr(layout.bounds).encode())


def encode(  # noqa: PLR0913, PLR0917  # the parts of a piece
    run_id: str,
    layout: int,
    series: Sequence[Any],
    errors: Sequence[Any] = (),
    user_errors: Sequence[Any] = (),
    tail: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a piece as it is sent; the arguments are shaped as the top of this file says."""
    data: bytes = msgpack.packb(
        (VERSION, run_id, layout, series, errors, user_errors, tail), unicode_errors="surrogatepass"
    )
    return data


def encode_counts(counts: Mapping[int, int] | Sequence[int], indexes: Collection[int]) -> list[int]:
    """Return counts as gaps and counts in turn.

    Args:
        counts: By index.
        indexes: Those to be told, in any order; one that is there twice is told once.
    """
    if len(indexes) == 1:
        (index,) = indexes
        return [index + 1, counts[index]]
    result: list[int] = []
    last = -1
    for index in sorted(set(indexes)):
        result += (index - last, counts[index])
        last = index
    return result


def decode_counts(gaps: Any) -> dict[int, int]:
    """Return counts by index, from gaps and counts in turn.

    Raises:
        ValueError: They are none; or TypeError.
    """
    if not gaps:
        return {}
    # Steps in C, since there are many. A sum of integers is one, and of other things is not, or raises.
    if type(gaps) is not list or len(gaps) % 2 or type(sum(gaps)) is not int:
        raise ValueError("gaps and counts that are none")
    if min(gaps) < 1 or max(gaps) >= _MAX_COUNT or bool in map(type, gaps):
        raise ValueError("gaps and counts out of range")
    steps = gaps[::2]
    steps[0] -= 1
    return dict(zip(accumulate(steps), gaps[1::2], strict=True))


def encode_event(event: Event) -> list[Any]:
    """Return an event as a report carries it."""
    return [
        event.name, event.body, event.severity, dict(event.attributes), event.timestamp, event.trace_id, event.span_id,
    ]  # fmt: skip


def encode_slow(slow: SlowRequest) -> list[Any]:
    """Return a slow request as a report carries it."""
    return [*slow.key, slow.duration_s, slow.status, slow.trace_id, slow.span_id, slow.timestamp]


def decode(data: bytes) -> Piece:
    """Return a piece, checked.

    Raises:
        ReportError: It is none, or of another version.
    """
    try:
        told = msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")
    except Exception as error:  # msgpack raises many kinds
        raise ReportError(f"a report that is no msgpack: {type(error).__name__}") from error
    if type(told) is not list or not told or told[0] != VERSION:
        raise other_version(told[0] if type(told) is list and told else told)
    try:
        _, run_id, layout, series, errors, user_errors, tail = told
        return Piece(
            _text(run_id),
            count(layout),
            tuple(map(_series, series)),
            tuple((ErrorKey(_text(m), _text(n), _text(t)), count(number)) for m, n, t, number in errors),
            tuple(((_text(c), _text(t)), count(number)) for c, t, number in user_errors),
            None if tail is None else _tail(tail),
        )
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise ReportError(f"a report that is malformed: {error!r}") from error


def other_version(told: Any) -> ReportError:
    """Return the error for a report of another version; earlier ones were an object with a key `v`."""
    version = told.get("v") if type(told) is dict else told
    shown = version if isinstance(version, int) else type(version).__name__
    return ReportError(
        f"a report of version {shown}; version {VERSION} is read here: install the same locust-otel on both"
    )


def _series(entry: Sequence[Any]) -> SeriesReport:
    method, name, user_class, is_failure, unmeasured, sum_s, body_bytes, gaps, exemplars = entry
    if not type(method) is type(name) is type(user_class) is str:
        raise TypeError("a series without a name")
    if not type(is_failure) is type(unmeasured) is type(body_bytes) is int:
        raise TypeError("a series without counts")
    if is_failure not in {0, 1} or not 0 <= unmeasured < _MAX_COUNT or not 0 <= body_bytes < _MAX_BYTES:
        raise ValueError("counts of a series out of range")
    return SeriesReport(
        SeriesKey(method, name, user_class, OUTCOMES[is_failure]),
        unmeasured,
        _seconds(sum_s),
        body_bytes,
        decode_counts(gaps),
        dict(map(_exemplar, exemplars)) if exemplars else {},
    )


def _exemplar(sent: Sequence[Any]) -> tuple[int, Exemplar]:
    index, duration_s, trace_id, span_id, timestamp = sent
    _check_trace(trace_id, span_id)
    if not trace_id:
        raise ValueError("an exemplar without a trace")
    return count(index), Exemplar(_seconds(duration_s), trace_id, span_id, _seconds(timestamp, _MAX_TIMESTAMP))


def _tail(told: Mapping[str, Any]) -> Tail:
    return Tail(
        bool(told["is_over"]),
        count(told["reset"]),
        None if told["missing"] is None else _difference(told["missing"]),
        count(told["errors"]),
        tuple(map(decode_event, told["events"][:EVENTS_PER_REPORT])),
        tuple(map(_slow, told["slow"][:EVENTS_PER_REPORT])),
        count(told["slow_dropped"]),
        _vitals(told["vitals"]),
    )


def _slow(told: Sequence[Any]) -> SlowRequest:
    method, name, user_class, outcome, duration_s, status, trace_id, span_id, timestamp = told
    if outcome not in OUTCOMES:
        raise ValueError("a slow request without an outcome")
    _check_trace(trace_id, span_id)
    key = SeriesKey(_text(method), _text(name), _text(user_class), outcome)
    return SlowRequest(key, _seconds(duration_s), _text(status), trace_id, span_id, _seconds(timestamp, _MAX_TIMESTAMP))


def _vitals(told: Sequence[Any]) -> Vitals:
    cpu_ratio, memory_bytes, reasons, lag_sum_s, lags, schedule_sum_s, delays = told
    known = [_text(reason) for reason in reasons]
    return Vitals(
        None if cpu_ratio is None else _seconds(cpu_ratio),
        None if memory_bytes is None else count(memory_bytes, _MAX_BYTES),
        tuple(reason for reason in INVALID_REASONS if reason in known),
        _seconds(lag_sum_s),
        decode_counts(lags),
        _seconds(schedule_sum_s),
        decode_counts(delays),
    )


def decode_event(told: Any) -> Event:
    """Return the event of a report.

    Raises:
        ReportError: It is none.
    """
    try:
        name, body, severity, attributes, timestamp, trace_id, span_id = told
        scalars = {str(k): v for k, v in attributes.items() if isinstance(v, str | int | float)}
        _check_trace(trace_id, span_id)
        if any(isinstance(v, int) and abs(v) >= _MAX_BYTES for v in scalars.values()):  # more than OTLP can carry
            raise ValueError("an attribute out of range")
        severity = severity if severity in ("INFO", "WARN", "ERROR") else "INFO"  # it may be a list
        return Event(str(name), str(body), severity, scalars, _seconds(timestamp, _MAX_TIMESTAMP), trace_id, span_id)
    except (AttributeError, TypeError, ValueError) as error:
        raise ReportError(f"an event is malformed: {error!r}") from error


def _check_trace(trace_id: Any, span_id: Any) -> None:
    is_one = len(_text(trace_id)) == _TRACE_ID_LENGTH and _HEX.fullmatch(trace_id + span_id)
    if not is_one and not trace_id == span_id == "":
        raise ValueError("a trace and span that are none")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} where a text should be")
    return value


def count(value: Any, limit: int = _MAX_COUNT) -> int:
    """Return a count.

    Raises:
        ValueError: It is none, or absurd.
    """
    if type(value) is not int or not 0 <= value < limit:  # True is one that OTLP does not take
        raise ValueError(f"a {type(value).__name__} is no count, or out of range")
    return value


def _difference(value: Any) -> int:
    return count(value) if type(value) is not int or value >= 0 else -count(-value)


def _seconds(value: Any, limit: int = _MAX_COUNT) -> float:
    if type(value) not in {int, float} or not 0 <= value < limit:  # a sum of these stays finite
        raise ValueError(f"a {type(value).__name__} is no time, or out of range")
    return float(value)
