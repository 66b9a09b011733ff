"""Reader of run records, whole or interval by interval; `wire.record` describes the format."""

from __future__ import annotations

import gc
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import field

from locust_otel.core.snapshot import ErrorKey, RequestsSnapshot, SeriesSnapshot
from locust_otel.review.record.decode import Contents, Interval
from locust_otel.wire.record import RecordError, Verdict

NO_END = "The record has no end: the run is still running, or the record was cut off."
_CHUNK = 1 << 18

_unpacker = partial(zlib.decompressobj, wbits=zlib.MAX_WBITS | 16)


class Cumulated:
    """Requests of a run, added up interval by interval. The contents may still get new series."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._counts: dict[int, Counter[int]] = {}
        self._numbers: dict[int, list[Any]] = {}  # measured, unmeasured, bytes; seconds at the end and before the first
        self._errors: Counter[ErrorKey] = Counter()
        self._user_errors: Counter[tuple[str, str]] = Counter()

    def add(self, interval: Interval) -> None:
        """Add an interval, which must be later than the intervals before."""
        for position, delta in interval.counts.items():
            if position not in self._counts:
                self._counts[position] = Counter()
                self._numbers[position] = [0, 0, 0, 0.0, delta.sum_to_s - delta.sum_s]
            counts, numbers = self._counts[position], self._numbers[position]
            counts.update(delta.counts)
            numbers[0] += delta.measured
            numbers[1] += delta.unmeasured
            numbers[2] += delta.body_bytes
            numbers[3] = delta.sum_to_s
        self._errors.update(interval.errors)
        self._user_errors.update(interval.user_errors)

    def snapshot(self) -> RequestsSnapshot:
        """Return the requests so far, without series that have none."""
        contents, series = self._contents, []
        for position, (measured, unmeasured, body_bytes, sum_to_s, sum_from_s) in sorted(self._numbers.items()):
            key, counts = contents.series[position], self._counts[position].copy()
            series.append(SeriesSnapshot(key, counts, measured, unmeasured, sum_to_s - sum_from_s, body_bytes))
        return RequestsSnapshot(
            layout=contents.layout,
            slow_s=contents.slow_s,
            series=tuple(series),
            errors=self._errors.copy(),
            user_errors=self._user_errors.copy(),
        )


class Record(Contents, kw_only=True):
    """Record of a run, in memory."""

    intervals: list[Interval] = field(default_factory=list)
    is_complete: bool = False  # whether it has its end; else it was cut off after the last interval

    @property
    def verdict(self) -> list[Verdict] | None:
        """Verdict on each objective; None without objectives, or without the end."""
        return self.end.verdict if self.end is not None else None

    @property
    def is_aborted(self) -> bool:
        """True if --slo-abort ended the run."""
        return self.end is not None and self.end.is_aborted

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start of the run to its stop, or to where the record was cut off."""
        return self.intervals[-1].elapsed_s if self.intervals else 0.0

    def requests(self, start_s: float | None = None, end_s: float | None = None) -> RequestsSnapshot:
        """Return the requests of a span, in seconds since the start of the run.

        It has the intervals that end after its start, and not after its end. So the spans before and after any time
        have each request once.
        """
        cumulated = Cumulated(self)
        for interval in self.intervals:
            if (start_s is None or start_s < interval.end_s) and (end_s is None or interval.end_s <= end_s):
                cumulated.add(interval)
        return cumulated.snapshot()


class RecordStream:
    """Record that is read interval by interval, in little memory. `record` has the content so far, without intervals.

    Raises:
        RecordError: The file cannot be read, is not a run record, or is of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._is_cut = True
        self._lines = enumerate(self._whole_lines(), 1)
        number, line = next(self._lines, (1, None))
        if line is None:
            raise RecordError(self._path, "it has no whole line.", "empty")
        self.record = Record.begun(line, f"{self._path}:{number}")

    def intervals(self) -> Iterator[Interval]:
        """Yield the intervals; can be called once.

        Raises:
            RecordError: The file violates the format. A file that ends too early is no error.
        """
        for number, line in self._lines:
            interval = self.record.take(line, f"{self._path}:{number}")
            if interval is not None:
                yield interval
        self.record.is_complete = self.record.end is not None and not self._is_cut

    def _whole_lines(self) -> Iterator[bytes]:
        rest = b""
        for text in self._unpacked():
            *lines, rest = (rest + text).split(b"\n")
            yield from lines
        # The rest has no newline: the file was cut off within a line.

    def _unpacked(self) -> Iterator[bytes]:
        """Yield the content of all gzip members; each exporter that wrote to the file began its own."""
        read, unpacker = 0, _unpacker()
        try:
            with Path(self._path).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield unpacker.decompress(chunk)
                    read += len(chunk)
                    while unpacker.eof and (rest := unpacker.unused_data):
                        unpacker = _unpacker()
                        yield unpacker.decompress(rest)
        except OSError as error:
            raise RecordError(self._path, f"it cannot be read: {error.strerror or error}.", "unreadable") from None
        except zlib.error as error:
            found = "it is damaged" if read else "this is not a gzip file"
            raise RecordError(f"{self._path}, byte {read} or later", f"{found}: {error}.", "damaged") from None
        self._is_cut = not unpacker.eof


def load(path: str | Path) -> Record:
    """Return the record in a file; if the file was cut off, up to that point.

    Raises:
        RecordError: The file cannot be read, or it violates this version of the format.
    """
    # The garbage collector would search all objects again and again, for half of the time (measured 2026-11).
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        stream = RecordStream(path)
        stream.record.intervals = list(stream.intervals())
    finally:
        if was_enabled:
            gc.enable()
    return stream.record
