"""Reports: the counts of one source of requests so far, in pieces.

A piece holds the series with requests since the last piece: their totals, and the counts of the buckets that changed.
All numbers are cumulative per run and source, and never fall. The exporter keeps the largest value of each number, so
a repeated piece counts once and a late piece does no harm.

A piece is msgpack of a list: VERSION, and the fields of `Piece` in order. A named tuple is also a list of its fields;
a `Tail`, an `Event` and a `SlowRequest` are objects with their fields as keys. Only a series has another shape,
`_SentSeries`, which saves a third of the bytes of the many series.
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
EVENTS_PER_REPORT = 20  # events, and slow requests, in one report; further ones wait for the next report

_MAX_COUNT = 2**48
_MAX_BYTES = 2**56
_MAX_TIMESTAMP = 2**33  # in the year 2242; its nanoseconds are a number that OTLP can carry
_SPAN = re.compile(r"[0-9a-f]{32}/[0-9a-f]{16}|/")  # trace and span: both or neither

# Numbers are limited so that sums over all workers do not overflow.
Count = Annotated[int, Meta(ge=0, lt=_MAX_COUNT)]  # number of requests, or index of a bucket
Bytes = Annotated[int, Meta(ge=0, lt=_MAX_BYTES)]
Seconds = Annotated[float, Meta(ge=0, lt=_MAX_COUNT)]
Counts = Mapping[Count, Annotated[int, Meta(ge=1, lt=_MAX_COUNT)]]  # by index of the bounds, without zeros
Gaps = list[Annotated[int, Meta(ge=1, lt=_MAX_COUNT)]]
"""Counts as [gap, count, gap, count ...]; a gap is the distance to the previous bucket, which starts at -1."""

Reason = Annotated[str, Meta(pattern=rf"\A(?:{'|'.join(INVALID_REASONS)})\Z")]


class ReportError(LocustOtelError):
    """Malformed report; nothing of it was merged."""


class SeriesReport(NamedTuple):
    """Requests of one series and one source; the fields are those of `SeriesSnapshot`."""

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
    """State of the source itself, in the last piece of a report."""

    is_over: bool  # whether the run has stopped at the source
    reset: Count  # requests that resets of Locust's table have removed so far
    missing: Annotated[int, Meta(gt=-_MAX_COUNT, lt=_MAX_COUNT)] | None  # Locust's total minus ours
    errors: Count  # events of Locust that the recorder could not process
    events: Annotated[tuple[Event, ...], Meta(max_length=EVENTS_PER_REPORT)]  # since the last report
    slow: Annotated[tuple[SlowRequest, ...], Meta(max_length=EVENTS_PER_REPORT)]  # likewise
    slow_dropped: Count  # slow requests beyond `EVENTS_PER_REPORT`
    vitals: Vitals


_Errors = tuple[tuple[ErrorKey, Count], ...]
_UserErrors = tuple[tuple[tuple[str, str], Count], ...]


class Piece(NamedTuple):
    """One checked piece of a report."""

    run_id: str  # empty if the source knows no run
    layout: Count  # fingerprint of the bounds
    series: tuple[SeriesReport, ...]
    errors: _Errors
    user_errors: _UserErrors  # by user class and error type
    tail: Tail | None  # None but in the last piece


_SentPiece = tuple[str, Count, list[_SentSeries], _Errors, _UserErrors, Tail | None]


def fingerprint(layout: Layout) -> int:
    """Return a checksum of the bounds of a layout."""
    return zlib.crc32(repr(layout.bounds).encode())


def encode(  # noqa: PLR0913, PLR0917  # the parts of a piece
    run_id: str,
    layout: int,
    series: Sequence[Any],
    errors: Sequence[Any] = (),
    user_errors: Sequence[Any] = (),
    tail: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the bytes of a piece; the module docstring has the shape of the arguments."""
    data: bytes = msgpack.packb(
        (VERSION, run_id, layout, series, errors, user_errors, tail), unicode_errors="surrogatepass"
    )
    return data


def encode_counts(counts: Mapping[int, int], indexes: Collection[int]) -> list[int]:
    """Return the counts at these indexes as gaps and counts in turn; duplicate indexes are sent once."""
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
    indexes = accumulate(gaps[::2], initial=-1)  # in C, because reports have many counts
    next(indexes)
    return dict(zip(indexes, gaps[1::2], strict=True))


def encode_event(event: Event | SlowRequest) -> Any:
    """Return an event or a slow request in the shape of a report."""
    return msgspec.to_builtins(event)


def decode(data: bytes) -> Piece:
    """Return a checked piece.

    Raises:
        ReportError: The data is not a piece, or has another version.
    """
    try:
        message = msgpack.unpackb(data, strict_map_key=False, unicode_errors="surrogatepass")
    except Exception as error:  # msgpack raises many kinds
        raise ReportError(f"a report that is not msgpack: {type(error).__name__}") from error
    if type(message) is not list or message[:1] != [VERSION]:
        raise other_version(message[0] if type(message) is list and message else message)
    try:
        run_id, layout, series, errors, user_errors, tail = msgspec.convert(message[1:], _SentPiece)
        for value in (*tail.events, *tail.slow) if tail is not None else ():
            _check(value)
        return Piece(run_id, layout, tuple(map(_series, series)), errors, user_errors, tail)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"a report that is malformed: {error!r}") from error


def decode_event(message: Any) -> Event:
    """Return a checked event of the plugin.

    Raises:
        ReportError: The message is not an event.
    """
    try:
        event = msgspec.convert(message, Event)
        _check(event)
        return event
    except (ValueError, RecursionError) as error:
        raise ReportError(f"an event is malformed: {error!r}") from error


def other_version(message: Any) -> ReportError:
    """Return the error for a report of another version; the first versions were an object with a key `v`."""
    version = message.get("v") if type(message) is dict else message
    shown = version if isinstance(version, int) else type(version).__name__
    return ReportError(f"a report of version {shown} instead of {VERSION}: install the same locust-otel on both")


def _series(sent: _SentSeries) -> SeriesReport:
    method, name, user_class, is_failure, unmeasured, sum_s, body_bytes, gaps, exemplars = sent
    for exemplar in exemplars.values():
        _check(exemplar)
        if not exemplar.trace_id:
            raise ValueError("an exemplar without a trace")
    key = SeriesKey(method, name, user_class, OUTCOMES[is_failure])
    return SeriesReport(key, unmeasured, sum_s, body_bytes, decode_counts(gaps), exemplars)


def _check(value: Exemplar | SlowRequest | Event) -> None:
    """Check a value of a type of `core`, which has no limits of its own.

    Raises:
        ValueError: A field is out of range.
    """
    if not 0 <= value.timestamp < _MAX_TIMESTAMP:
        raise ValueError("a timestamp out of range")
    if not _SPAN.fullmatch(f"{value.trace_id}/{value.span_id}"):
        raise ValueError("a malformed trace or span")
    if not isinstance(value, Event):
        if not 0 <= value.duration_s < _MAX_COUNT:
            raise ValueError("a duration out of range")
        if isinstance(value, SlowRequest) and value.key.outcome not in OUTCOMES:
            raise ValueError("a slow request without an outcome")
    elif value.severity not in {"INFO", "WARN", "ERROR"}:
        raise ValueError("an unknown severity")
    elif any(isinstance(item, int) and abs(item) >= _MAX_BYTES for item in value.attributes.values()):
        raise ValueError("an attribute out of range")  # more than OTLP can carry
