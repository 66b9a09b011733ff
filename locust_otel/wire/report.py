"""Reports: what one source of requests has counted so far, in pieces.

A piece holds the series that were hit since the last one: their totals, and the counts of the buckets that were
touched. All numbers are cumulative per run and source, and never fall. A piece that comes twice counts once, and one
that comes late does no harm: the exporter keeps the largest number of each.

A piece is msgpack of a list: VERSION, and the fields of `Piece` in their order. A named tuple is a list of its fields
too; a `Tail`, an `Event` and a `SlowRequest` are objects with their fields as keys. Only a series is sent in another
shape, `_SentSeries`: there are many, and it takes two thirds of the bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple

import msgpack
import msgspec
from msgspec import Meta

from locust_otel.core.catalogue import INVALID_REASONS, OUTCOMES
from locust_otel.core.errors import LocustOtelError
from locust_otel.core.events import Event
from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import ErrorKey, Exemplar, SeriesKey, SlowRequest

VERSION = 4

EVENTS_PER_REPORT = 20
"""Events and slow requests that one report carries at the most; the others wait for the next."""

_MAX_COUNT = 2**48
_MAX_BYTES = 2**56
_MAX_TIMESTAMP = 2**33  # in the year 2242; its nanoseconds are a number that OTLP can carry
_SPAN = re.compile(r"[0-9a-f]{32}/[0-9a-f]{16}|/")  # trace and span; both, or neither
_SEVERITIES = ("INFO", "WARN", "ERROR")

Count = Annotated[int, Meta(ge=0, lt=_MAX_COUNT)]
"""Number of requests, or index of a bucket. More could overflow a sum of workers."""

Bytes = Annotated[int, Meta(ge=0, lt=_MAX_BYTES)]

Seconds = Annotated[float, Meta(ge=0, lt=_MAX_COUNT)]
"""Duration; a sum of these stays finite."""

Counts = Mapping[Count, Annotated[int, Meta(ge=1, lt=_MAX_COUNT)]]
"""Counts by index of the bounds, where there are any."""

Gaps = list[Annotated[int, Meta(ge=1, lt=_MAX_COUNT)]]
"""The same as [gap, count, gap, count ...]: each gap is the distance to the next bucket that is there, from -1."""

Reason = Annotated[str, Meta(pattern=rf"\A(?:{'|'.join(INVALID_REASONS)})\Z")]


class ReportError(LocustOtelError):
    """A report cannot be understood; nothing of it was merged."""


class SeriesReport(NamedTuple):
    """Requests of one series, as one source has counted them; the fields are those of `SeriesSnapshot`."""

    key: SeriesKey
    unmeasured: Count
    sum_s: Seconds
    body_bytes: Bytes
    counts: Counts
    exemplars: Mapping[Count, Exemplar]


class _SentSeries(NamedTuple):
    method: str
    name: str
    user_class: str
    is_failure: Literal[0, 1]
    unmeasured: Count
    sum_s: Seconds
    body_bytes: Bytes
    counts: Gaps
    exemplars: Mapping[Count, Exemplar]


class Vitals(NamedTuple):
    """State of a generating process; the fields are those of `WorkerSnapshot`."""

    cpu_ratio: Seconds | None
    memory_bytes: Bytes | None
    reasons: Annotated[tuple[Reason, ...], Meta(max_length=len(INVALID_REASONS))]
    lag_sum_s: Seconds
    lag_counts: Counts
    schedule_sum_s: Seconds
    schedule_counts: Counts


class Tail(msgspec.Struct, frozen=True):
    """What the last piece of a report says of the source itself."""

    is_over: bool  # whether the run has stopped there
    reset: Count  # requests that a reset of Locust's table threw away so far
    missing: Annotated[int, Meta(gt=-_MAX_COUNT, lt=_MAX_COUNT)] | None  # Locust's total less ours; None without one
    errors: Count  # events of Locust that its recorder could not use
    events: Annotated[tuple[Event, ...], Meta(max_length=EVENTS_PER_REPORT)]  # since the last report
    slow: Annotated[tuple[SlowRequest, ...], Meta(max_length=EVENTS_PER_REPORT)]  # likewise
    slow_dropped: Count  # slow requests that found no place among them
    vitals: Vitals


_Errors = tuple[tuple[ErrorKey, Count], ...]
_UserErrors = tuple[tuple[tuple[str, str], Count], ...]


class Piece(NamedTuple):
    """One piece of a report, checked."""

    run_id: str  # empty where the source knows no run
    layout: Count  # fingerprint of the bounds
    series: tuple[SeriesReport, ...]
    errors: _Errors
    user_errors: _UserErrors  # by user class and error type
    tail: Tail | None  # None but in the last piece


_SentPiece = tuple[str, Count, list[_SentSeries], _Errors, _UserErrors, Tail | None]


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


def encode_counts(counts: Mapping[int, int], indexes: Collection[int]) -> list[int]:
    """Return the counts at these indexes as gaps and counts in turn; an index that is there twice is sent once."""
    if len(indexes) == 1:
        (index,) = indexes
        return [index + 1, counts[index]]
    result: list[int] = []
    last = -1
    for index in sorted(set(indexes)):
        result += (index - last, counts[index])
        last = index
    return result


def decode_counts(gaps: Gaps) -> dict[int, int]:
    """Return counts by index, from gaps and counts in turn.

    Raises:
        ValueError: A gap has no count.
    """
    indexes = accumulate(gaps[::2], initial=-1)  # in C, since there are many
    next(indexes)
    return dict(zip(indexes, gaps[1::2], strict=True))


def encode_event(event: Event | SlowRequest) -> Any:
    """Return an event or a slow request as a report carries it."""
    return msgspec.to_builtins(event)


def decode(data: bytes) -> Piece:
    """Return a piece, checked.

    Raises:
        ReportError: It is none, or of another version.
    """
    try:
        message = msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")
    except Exception as error:  # msgpack raises many kinds
        raise ReportError(f"a report that is no msgpack: {type(error).__name__}") from error
    if type(message) is not list or not message or message[0] != VERSION:
        raise other_version(message[0] if type(message) is list and message else message)
    try:
        run_id, layout, series, errors, user_errors, tail = msgspec.convert(message[1:], _SentPiece)
        if tail is not None:
            _check_tail(tail)
        return Piece(run_id, layout, tuple(map(_series, series)), errors, user_errors, tail)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"a report that is malformed: {error!r}") from error


def decode_event(message: Any) -> Event:
    """Return the event that the plugin has sent.

    Raises:
        ReportError: It is none.
    """
    try:
        event = msgspec.convert(message, Event)
        _check_event(event)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"an event is malformed: {error!r}") from error
    return event


def other_version(message: Any) -> ReportError:
    """Return the error for a report of another version; earlier ones were an object with a key `v`."""
    version = message.get("v") if type(message) is dict else message
    shown = version if isinstance(version, int) else type(version).__name__
    return ReportError(
        f"a report of version {shown}; version {VERSION} is read here: install the same locust-otel on both"
    )


def _series(sent: _SentSeries) -> SeriesReport:
    method, name, user_class, is_failure, unmeasured, sum_s, body_bytes, gaps, exemplars = sent
    for exemplar in exemplars.values():
        _check_request(exemplar)
        if not exemplar.trace_id:
            raise ValueError("an exemplar without a trace")
    key = SeriesKey(method, name, user_class, OUTCOMES[is_failure])
    return SeriesReport(key, unmeasured, sum_s, body_bytes, decode_counts(gaps), exemplars)


# The types of `core` have no limits of their own.


def _check_tail(tail: Tail) -> None:
    for event in tail.events:
        _check_event(event)
    for request in tail.slow:
        _check_request(request)
        if request.key.outcome not in OUTCOMES:
            raise ValueError("a slow request without an outcome")


def _check_request(request: Exemplar | SlowRequest) -> None:
    if not 0 <= request.duration_s < _MAX_COUNT:
        raise ValueError("a duration out of range")
    _check_span(request)


def _check_event(event: Event) -> None:
    _check_span(event)
    if event.severity not in _SEVERITIES:
        raise ValueError("a severity that is none")
    if any(isinstance(value, int) and abs(value) >= _MAX_BYTES for value in event.attributes.values()):
        raise ValueError("an attribute out of range")  # more than OTLP can carry


def _check_span(value: Exemplar | SlowRequest | Event) -> None:
    if not 0 <= value.timestamp < _MAX_TIMESTAMP:
        raise ValueError("a timestamp out of range")
    if not _SPAN.fullmatch(f"{value.trace_id}/{value.span_id}"):
        raise ValueError("a trace and span that are none")
