"""Reads a run record, whole or interval by interval; see `wire.record` for what it holds."""

from __future__ import annotations

import gc
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from locust_otel.core.catalogue import RUN_STATES
from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import ErrorKey, RequestsSnapshot, SeriesKey, SeriesSnapshot
from locust_otel.review.record.decode import Contents, first
from locust_otel.slo.objectives import Slo
from locust_otel.wire.record import Interval, Mark, RecordedEvent, RecordError, SeriesDelta, WorkerReading

__all__ = ["Cumulated", "Interval", "Mark", "Record", "RecordStream", "RecordedEvent", "SeriesDelta", "WorkerReading",
           "load"]  # fmt: skip

_CHUNK = 1 << 18

_unpacker = partial(zlib.decompressobj, wbits=zlib.MAX_WBITS | 16)


class Cumulated:
    """Requests of a run, added up interval by interval.

    Args:
        contents: What the record says of its series; they may still grow.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._counts: list[array[int]] = []
        self._numbers: list[list[Any]] = []  # measured, unmeasured, body bytes; sum at the end, and before the first
        self._frozen: dict[int, SeriesSnapshot] = {}
        self._errors: dict[ErrorKey, int] = {}
        self._user_errors: dict[tuple[str, str], int] = {}

    def add(self, interval: Interval) -> None:
        """Add an interval, which is later than those before."""
        empty = self._contents.layout.empty
        for position, delta in interval.counts.items():
            while len(self._counts) <= position:
                self._counts.append(empty())
                self._numbers.append([0, 0, 0, 0.0, None])
            if self._frozen.pop(position, None) is not None:
                self._counts[position] = self._counts[position][:]
            counts, numbers = self._counts[position], self._numbers[position]
            for index, count in delta.counts.items():
                counts[index] += count
            numbers[0] += delta.measured
            numbers[1] += delta.unmeasured
            numbers[2] += delta.body_bytes
            numbers[3] = delta.sum_to_s
            if numbers[4] is None:
                numbers[4] = delta.sum_to_s - delta.sum_s
        for key, count in interval.errors.items():
            self._errors[key] = self._errors.get(key, 0) + count
        for user_error, count in interval.user_errors.items():
            self._user_errors[user_error] = self._user_errors.get(user_error, 0) + count

    def snapshot(self) -> RequestsSnapshot:
        """Return what was added so far; series without any request are left out."""
        contents = self._contents
        for position, (measured, unmeasured, body_bytes, sum_to_s, sum_from_s) in enumerate(self._numbers):
            if position not in self._frozen and sum_from_s is not None:
                self._frozen[position] = SeriesSnapshot(
                    key=contents.series[position],
                    counts=self._counts[position],
                    measured=measured,
                    unmeasured=unmeasured,
                    sum_s=sum_to_s - sum_from_s,
                    body_bytes=body_bytes,
                )
        return RequestsSnapshot(
            layout=contents.layout,
            slow_s=contents.slow_s,
            series=tuple(self._frozen[position] for position in sorted(self._frozen)),
            errors=self._errors.copy(),
            user_errors=self._user_errors.copy(),
        )


@dataclass(slots=True)
class Record:
    """The record of a run, in memory.

    Attributes:
        contents: All of it but the intervals.
        intervals: One after the other, without a gap.
        is_complete: Whether it ends as a run does; else it was cut off after its last interval.
    """

    contents: Contents
    intervals: list[Interval]
    is_complete: bool

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self.contents.run_id

    @property
    def start_time(self) -> float:
        """When it started, in Unix time."""
        return self.contents.start_time

    @property
    def interval_s(self) -> float:
        """Seconds that an interval takes, as a rule."""
        return self.contents.interval_s

    @property
    def info(self) -> dict[str, str]:
        """Labels of `locust_run_info`."""
        return self.contents.info

    @property
    def slo(self) -> Slo | None:
        """The objectives it was judged by; None without an SLO file."""
        return self.contents.slo

    @property
    def layout(self) -> Layout:
        """Where the bounds of its histogram lie."""
        return self.contents.layout

    @property
    def series(self) -> list[SeriesKey]:
        """Its series, in the order of their first requests."""
        return self.contents.series

    @property
    def marks(self) -> list[Mark]:
        """What was marked in it."""
        return self.contents.marks

    @property
    def events(self) -> list[RecordedEvent]:
        """What happened in it."""
        return self.contents.events

    @property
    def warm_s(self) -> float | None:
        """When its warm-up ended, in seconds since its start; None where it did not, or there is none."""
        return self.contents.warm_s

    @property
    def verdict(self) -> list[dict[str, Any]] | None:
        """What was said of each objective at the end; None without objectives, or without the end."""
        return None if self.contents.end is None else self.contents.end["verdict"]

    @property
    def is_aborted(self) -> bool:
        """Whether --slo-abort has ended it."""
        return self.contents.end is not None and bool(self.contents.end["is_aborted"])

    @property
    def state(self) -> str:
        """State of the run at the end of the record: `stopped`, or `lost` if its Locust ended without stopping it."""
        if self.contents.end is not None:
            return str(self.contents.end["state"])
        return self.intervals[-1].state if self.intervals else RUN_STATES[0]

    @property
    def locust_total(self) -> int | None:
        """Requests that Locust itself has counted, as far as is known."""
        if self.contents.end is not None:
            total: int | None = self.contents.end["locust_total"]
            return total
        return self.intervals[-1].locust_total if self.intervals else None

    @property
    def elapsed_s(self) -> float:
        """Seconds from its start to its stop, or to where the record was cut off."""
        return self.intervals[-1].elapsed_s if self.intervals else 0.0

    def requests(self, start_s: float | None = None, end_s: float | None = None) -> RequestsSnapshot:
        """Return the requests of a span: of the intervals that end after its start, and not after its end.

        So the spans before and after any moment hold each request once.

        Args:
            start_s: Seconds since the start of the run; None for that start.
            end_s: Likewise; None for the end of the record.
        """
        cumulated = Cumulated(self.contents)
        for interval in self.intervals:
            if (start_s is None or start_s < interval.end_s) and (end_s is None or interval.end_s <= end_s):
                cumulated.add(interval)
        return cumulated.snapshot()


class RecordStream:
    """A record that is read interval by interval, in little memory.

    Args:
        path: The file.

    Attributes:
        contents: What was said so far, but for the intervals.
        is_complete: Whether the end was reached, and was that of a run.

    Raises:
        RecordError: It is not the record of a run, or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._is_cut = True
        self._lines = enumerate(self._whole_lines(), 1)
        self.is_complete = False
        number, line = next(self._lines, (1, None))
        if line is None:
            raise RecordError(self._path, "there is not one whole line in it.", "empty")
        self.contents = first(line, f"{self._path}:{number}")

    def intervals(self) -> Iterator[Interval]:
        """Yield the intervals, once.

        Raises:
            RecordError: Something in it is no part of a record; that it ends too early is no error.
        """
        for number, line in self._lines:
            interval = self.contents.take(line, f"{self._path}:{number}")
            if interval is not None:
                yield interval
        self.is_complete = self.contents.end is not None and not self._is_cut

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
            for chunk in _chunks(self._path):
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
        intervals = list(stream.intervals())
    finally:
        if was_enabled:
            gc.enable()
    return Record(stream.contents, intervals, stream.is_complete)


def _chunks(path: str) -> Iterable[bytes]:
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
