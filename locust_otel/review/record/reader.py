"""Reads a run record, whole or interval by interval; see `wire.record` for what it holds."""

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

_CHUNK = 1 << 18

_unpacker = partial(zlib.decompressobj, wbits=zlib.MAX_WBITS | 16)


class Cumulated:
    """Requests of a run, added up interval by interval; the series of the contents may still grow."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._counts: dict[int, Counter[int]] = {}
        self._numbers: dict[int, list[Any]] = {}  # measured, unmeasured, bytes; sums at the end and before the first
        self._errors: Counter[ErrorKey] = Counter()
        self._user_errors: Counter[tuple[str, str]] = Counter()

    def add(self, interval: Interval) -> None:
        """Add an interval, which is later than those before."""
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
        """Return what was added so far; series without any request are left out."""
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
    """The record of a run, in memory."""

    intervals: list[Interval] = field(default_factory=list)
    is_complete: bool = False  # whether it ends as a run does; else it was cut off after its last interval

    @property
    def verdict(self) -> list[Verdict] | None:
        """What was said of each objective at the end; None without objectives, or without the end."""
        return self.end.verdict if self.end is not None else None

    @property
    def is_aborted(self) -> bool:
        """Whether --slo-abort has ended it."""
        return self.end is not None and self.end.is_aborted

    @property
    def elapsed_s(self) -> float:
        """Seconds from its start to its stop, or to where the record was cut off."""
        return self.intervals[-1].elapsed_s if self.intervals else 0.0

    def requests(self, start_s: float | None = None, end_s: float | None = None) -> RequestsSnapshot:
        """Return the requests of a span: of the intervals that end after its start, and not after its end.

        So the spans before and after any moment hold each request once. Both are seconds since the start of the run.
        """
        cumulated = Cumulated(self)
        for interval in self.intervals:
            if (start_s is None or start_s < interval.end_s) and (end_s is None or interval.end_s <= end_s):
                cumulated.add(interval)
        return cumulated.snapshot()


class RecordStream:
    """A record that is read interval by interval, in little memory: `record` has what came so far, without intervals.

    Raises:
        RecordError: It is not the record of a run, or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._is_cut = True
        self._lines = enumerate(self._whole_lines(), 1)
        number, line = next(self._lines, (1, None))
        if line is None:
            raise RecordError(self._path, "there is not one whole line in it.", "empty")
        self.record = Record.begun(line, f"{self._path}:{number}")

    def intervals(self) -> Iterator[Interval]:
        """Yield the intervals, once.

        Raises:
            RecordError: Something in it is no part of a record; that it ends too early is no error.
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
        """Yield the content of all gzip members; each exporter that has written to the file has made its own."""
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
            what = "this is no gzip file" if not read else "it is damaged"
            raise RecordError(f"{self._path}, byte {read} or later", f"{what}: {error}.", "damaged") from None
        self._is_cut = not unpacker.eof


def load(path: str | Path) -> Record:
    """Read a record; if it was cut off, up to that point.

    Raises:
        RecordError: It cannot be read, or something in it is no part of a record of this version.
    """
    # The garbage collector would look again and again at what is all kept: half of the time (measured 2026-11).
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        stream = RecordStream(path)
        stream.record.intervals = list(stream.intervals())
    finally:
        if was_enabled:
            gc.enable()
    return stream.record
