"""Writes a run record: snapshots in, lines out, and never an exception that its caller does not expect.

What an interval says is drafted in pieces, for the caller to give the event loop back in between, and then committed
in one piece: compressed, flushed and written. Only what is committed counts as told, so a draft may be thrown away.

A file that cannot be written is tried again with the next interval. Meanwhile nothing is drafted: since intervals are
differences, the first one afterwards holds all that happened in between, and memory does not grow.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import ne
from pathlib import Path
from typing import Any

from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import RunSnapshot, SeriesSnapshot, Snapshot, WorkerSnapshot
from locust_otel.exporter.record.storage import RecordFile
from locust_otel.slo.verdict import Result
from locust_otel.wire.record import FORMAT, INTERVAL_S, VERSION, Mark, RecordedEvent

SERIES_PER_PIECE = 20
"""Series drafted in one piece: half a millisecond of work."""

_LEVEL = 6


class RecordWriter:
    """Writes the record of one run.

    Args:
        folder: Where the file is made; a file that is there is left alone, and ours gets another name.
        run: The run as it begins.
        slo: Name and content of the SLO file; None without one.
        settings: What the run was started with.
        versions: Of this package and Python.
        instance: Host and port of `/metrics`.

    Attributes:
        commits: Number of commits so far: a draft of another number is out of date.
        is_closed: Whether nothing more is written.
        start_time: When the run started, in Unix time.
    """

    def __init__(  # noqa: PLR0913  # what the first line says
        self,
        folder: Path,
        run: RunSnapshot,
        *,
        slo: tuple[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> None:
        self.commits = 0
        self.is_closed = False
        self.start_time = run.start_time
        self._file = RecordFile(folder, run.run_id)
        self._compressor = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | 16)
        self._series: tuple[SeriesSnapshot, ...] = ()
        self._errors: Mapping[Any, int] = {}
        self._user_errors: Mapping[Any, int] = {}
        self._lags: dict[str, WorkerSnapshot] = {}
        self._end_s = 0.0
        requests = run.requests
        self._compress(
            _line(
                "run",
                format=FORMAT,
                version=VERSION,
                run_id=run.run_id,
                start_time=run.start_time,
                interval_s=INTERVAL_S,
                info=dict(run.info),
                settings=dict(settings or {}),
                versions=dict(versions or {}),
                instance=instance,
                slow_s=requests.slow_s,
                thresholds_s=requests.layout.classic_bounds,
                bounds=requests.layout.bounds,
                lag_bounds=layout().bounds,
                slo=None if slo is None else {"source": slo[0], "text": slo[1]},
            )
        )

    @property
    def path(self) -> Path | None:
        """The file; None before it could be made."""
        return self._file.path

    @property
    def is_behind(self) -> bool:
        """Whether something that was committed is not written yet."""
        return self._file.is_behind

    def draft(
        self,
        taken: Snapshot,
        marks: Iterable[Mark] = (),
        events: Iterable[RecordedEvent] = (),
        *,
        is_warm: bool = False,
    ) -> Iterator[str]:
        """Yield the lines of an interval in pieces: what has changed since the last commit.

        Args:
            taken: How the run stands at its end.
            marks: What was marked in it.
            events: What happened in it.
            is_warm: Whether the warm-up ends with it.
        """
        run = taken.run
        assert run is not None  # noqa: S101  # for the type checker
        yield "".join(_line("mark", at=at, mark=mark, kind=kind) for at, mark, kind in marks)
        yield "".join(_event_line(event) for event in events)
        series, errors = run.requests.series, run.requests.errors
        if new := [list(each.key) for each in series[len(self._series) :]]:
            yield _line("series", keys=new)
        if new := [list(key) for key in list(errors)[len(self._errors) :]]:
            yield _line("errors", keys=new)
        end_s = self._end_of(taken, run)
        yield _dumped({"type": "interval", "from": self._end_s, "to": end_s})[:-1] + ',"series":['
        comma = ""
        for first in range(0, len(series), SERIES_PER_PIECE):
            entries = [
                _entry(position, series[position], self._series[position] if position < len(self._series) else None)
                for position in range(first, min(first + SERIES_PER_PIECE, len(series)))
            ]
            piece = ",".join(_dumped(entry) for entry in entries if entry is not None)
            yield comma + piece if piece else ""
            comma = "," if piece else comma
        yield "],"
        judged: dict[str, Any] = {}
        for point in run.slo.points() if run.slo is not None else ():
            judged[point.name] = {"good": point.good, "bad": point.bad, "sum_s": point.sum_s, "status": point.status}
            yield ""
        unreconciled = taken.health.unreconciled
        rest = {
            "state": run.state,
            "elapsed_s": run.elapsed_s,
            "users": dict(run.users),
            "users_target": dict(run.users_target),
            "errors": [
                [position, count - self._errors.get(key, 0)]
                for position, (key, count) in enumerate(errors.items())
                if count != self._errors.get(key, 0)
            ],
            "user_errors": [
                [*key, count - self._user_errors.get(key, 0)]
                for key, count in run.requests.user_errors.items()
                if count != self._user_errors.get(key, 0)
            ],
            "workers": [self._worker(worker) for worker in taken.workers],
            "worker_states": None if taken.workers_expected is None else dict(taken.worker_states),
            "workers_expected": taken.workers_expected,
            "slo": None if run.slo is None else judged,
            "locust_total": None if unreconciled is None else run.requests.total + unreconciled,
        }
        yield _dumped(rest)[1:] + "\n" + (_line("warm", at=end_s) if is_warm else "")

    def commit(self, draft: str, taken: Snapshot) -> None:
        """Write a draft that was made of this snapshot since the last commit.

        Raises:
            OSError: Some of it could not be written; `retry` goes on with that.
        """
        run = taken.run
        assert run is not None  # noqa: S101  # for the type checker
        self._compress(draft)
        self._end_s = self._end_of(taken, run)
        self._series = run.requests.series
        self._errors, self._user_errors = run.requests.errors, run.requests.user_errors
        self._lags = {worker.worker: worker for worker in taken.workers}
        self.commits += 1
        self.retry()

    def retry(self) -> None:
        """Write what could not be written before.

        Raises:
            OSError: It still cannot.
        """
        self._file.write()

    def finish(
        self, *, recorded: int, locust_total: int | None, results: Sequence[Result] | None, is_aborted: bool
    ) -> None:
        """Write the last line, and close the file.

        Raises:
            OSError: The end of the record could not be written.
        """
        verdict = None if results is None else [_verdict(result) for result in results]
        line = _line(
            "end",
            at=self._end_s,
            recorded=recorded,
            locust_total=locust_total,
            is_aborted=is_aborted,
            verdict=verdict,
        )
        self._file.add(self._compressor.compress(line.encode()) + self._compressor.flush(zlib.Z_FINISH))
        self.is_closed = True
        try:
            self._file.write()
        finally:
            self._file.close()

    def _compress(self, lines: str) -> None:
        self._file.add(self._compressor.compress(lines.encode()) + self._compressor.flush(zlib.Z_SYNC_FLUSH))

    def _end_of(self, taken: Snapshot, run: RunSnapshot) -> float:
        # The clock of a run stands still once it has stopped, while the last reports of its workers still come.
        end_s = run.elapsed_s if run.active else max(taken.time - run.start_time, run.elapsed_s)
        return max(end_s, self._end_s + 0.001)

    def _worker(self, now: WorkerSnapshot) -> dict[str, Any]:
        before = self._lags.get(now.worker)
        # A worker that came back counts from 0 again.
        is_new = before is None or before.lag_sum_s > now.lag_sum_s
        known = now.lag_layout.empty() if is_new or before is None else before.lag_counts
        return {
            "worker": now.worker,
            "cpu": now.cpu_ratio,
            "memory": now.memory_bytes,
            "users": now.users,
            "reasons": list(now.reasons),
            "lag_sum_s": now.lag_sum_s - (0.0 if is_new or before is None else before.lag_sum_s),
            "lag": _gaps(now.lag_counts, known),
        }


def _entry(position: int, now: SeriesSnapshot, before: SeriesSnapshot | None) -> list[Any] | None:
    if now is before:
        return None
    if before is None:
        if not now.total:
            return None
        return [position, now.unmeasured, now.sum_s, now.body_bytes, *_gaps(now.counts, None)]
    if now.total == before.total:
        return None
    return [
        position,
        now.unmeasured - before.unmeasured,
        now.sum_s,
        now.body_bytes - before.body_bytes,
        *_gaps(now.counts, before.counts),
    ]


def _gaps(counts: Sequence[int], before: Sequence[int] | None) -> list[int]:
    """Return what came in addition, as gaps and counts in turn."""
    # Searches in C: few counts are not 0, and fewer change within a second.
    chosen = compress(range(len(counts)), counts if before is None else map(ne, counts, before))
    result: list[int] = []
    last = -1
    for index in chosen:
        result += (index - last, counts[index] - (0 if before is None else before[index]))
        last = index
    return result


_dumped: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def _line(type_: str, /, **values: Any) -> str:
    return _dumped({"type": type_, **values}) + "\n"


def _event_line(event: RecordedEvent) -> str:
    at, name, body, severity, attributes = event
    try:
        return _line("event", at=at, name=name, body=body, severity=severity, attributes=dict(attributes))
    except (TypeError, ValueError):  # an attribute that JSON cannot say, NaN for one
        texts = {key: str(value) for key, value in attributes.items()}
        return _line("event", at=at, name=name, body=body, severity=severity, attributes=texts)


def _verdict(result: Result) -> dict[str, Any]:
    worst = result.worst
    return {
        "slo": result.objective.name,
        "status": result.status.value,
        "good": result.counts.good,
        "bad": result.counts.bad,
        "sum_s": result.counts.sum_s,
        "actual": result.actual,
        "budget_spent": result.budget_spent,
        "worst": None if worst is None else {"method": worst.method, "name": worst.name, "value": worst.value},
        "note": result.note,
    }
