"""Writes a run record: snapshots in, lines out.

An interval holds the changes between two snapshots. It is made first, and then added in one step. `Written` is what
another process needs to continue the record. It does not hold the last values, so the next interval repeats them all;
this is harmless, since all numbers are cumulative.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import compress
from operator import ne
from pathlib import Path
from typing import Any

from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import ObjectivePoint, RunSnapshot, SeriesSnapshot, Snapshot, WorkerSnapshot
from locust_otel.exporter.record.storage import RecordFile, Stored
from locust_otel.slo.verdict import Result
from locust_otel.wire.record import FORMAT, INTERVAL_S, VERSION, Mark, RecordedEvent
from locust_otel.wire.report import encode_counts


@dataclass(slots=True)
class Written:
    """State of a record.

    Attributes:
        stored: The file.
        end_s: When the last interval ended, in seconds since the start of the run.
        series: Number of series whose keys are written.
        errors: Number of kinds of errors whose keys are written.
        lags: Sum and counts of the delays that are written, by worker.
        is_closed: Whether nothing more is written.
    """

    run_id: str
    stored: Stored = field(default_factory=Stored)
    end_s: float = 0.0
    series: int = 0
    errors: int = 0
    lags: dict[str, tuple[float, dict[int, int]]] = field(default_factory=dict)
    is_closed: bool = False


class RecordWriter:
    """Writes the record of one run.

    Args:
        folder: Where the file is created. A file of its name is left alone, and ours gets another name.
        written: Its state, by this process or an earlier one.
        lock: Held while `written` changes.
    """

    def __init__(self, folder: Path, written: Written, lock: AbstractContextManager[object] | None = None) -> None:
        self.written = written
        self.file = RecordFile(folder, written.run_id, written.stored, lock)
        self._series: tuple[SeriesSnapshot, ...] = ()
        self._errors: Mapping[Any, int] = {}
        self._user_errors: Mapping[Any, int] = {}

    @property
    def path(self) -> Path | None:
        """The file; None before it could be created."""
        return self.file.path

    @property
    def is_behind(self) -> bool:
        """Whether something that was added is not written yet."""
        return bool(self.written.stored.pending)

    def begin(
        self,
        run: RunSnapshot,
        *,
        slo: tuple[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> None:
        """Add the first line.

        Args:
            run: The run as it begins.
            slo: Name and content of the SLO file; None without one.
            settings: What the run was started with.
            versions: Of this package and Python.
            instance: Host and port of `/metrics`.
        """
        requests = run.requests
        self.file.add(
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

    def interval(
        self,
        taken: Snapshot,
        marks: Iterable[Mark] = (),
        events: Iterable[RecordedEvent] = (),
        *,
        is_warm: bool = False,
    ) -> str:
        """Return the lines of an interval: the changes since the last one that was added.

        Args:
            taken: How the run stands at its end.
            marks: What was marked in it.
            events: What happened in it.
            is_warm: Whether the warm-up ends with it.
        """
        run, written = _run_of(taken), self.written
        series, errors = run.requests.series, run.requests.errors
        lines = [_line("mark", at=at, mark=mark, kind=kind) for at, mark, kind in marks]
        lines += map(_event_line, events)
        if new := [list(each.key) for each in series[written.series :]]:
            lines.append(_line("series", keys=new))
        if new := [list(key) for key in list(errors)[written.errors :]]:
            lines.append(_line("errors", keys=new))
        end_s = self._end_of(taken, run)
        unreconciled = taken.health.unreconciled
        lines.append(
            _line(
                "interval",
                **{"from": written.end_s},
                to=end_s,
                state=run.state,
                elapsed_s=run.elapsed_s,
                users=dict(run.users),
                users_target=dict(run.users_target),
                series=self._entries(series),
                errors=[
                    [position, count]
                    for position, (key, count) in enumerate(errors.items())
                    if count != self._errors.get(key)
                ],
                user_errors=[
                    [*key, count]
                    for key, count in run.requests.user_errors.items()
                    if count != self._user_errors.get(key)
                ],
                workers=[self._worker(worker) for worker in taken.workers],
                worker_states=None if taken.workers_expected is None else dict(taken.worker_states),
                workers_expected=taken.workers_expected,
                slo=None if run.slo is None else {p.name: _judgement(p) for p in run.slo},
                locust_total=None if unreconciled is None else run.requests.total + unreconciled,
            )
        )
        if is_warm:
            lines.append(_line("warm", at=end_s))
        return "".join(lines)

    def add(self, lines: str, taken: Snapshot) -> None:
        """Add the lines of an interval that ends with this snapshot; `written` is to be locked."""
        run, written = _run_of(taken), self.written
        self.file.add(lines)
        written.end_s = self._end_of(taken, run)
        written.series, written.errors = len(run.requests.series), len(run.requests.errors)
        for worker in taken.workers:
            counts = worker.lag_counts
            written.lags[worker.worker] = (worker.lag_sum_s, {index: counts[index] for index in _nonzero(counts)})
        self._series = run.requests.series
        self._errors, self._user_errors = run.requests.errors, run.requests.user_errors

    def end(
        self,
        *,
        state: str,
        recorded: int,
        locust_total: int | None,
        results: Sequence[Result] | None,
        is_aborted: bool,
    ) -> None:
        """Write the last line.

        Raises:
            OSError: The end of the record could not be written.
        """
        self.file.add(
            _line(
                "end",
                at=self.written.end_s,
                state=state,
                recorded=recorded,
                locust_total=locust_total,
                is_aborted=is_aborted,
                verdict=None if results is None else [_verdict(result) for result in results],
            )
        )
        self.file.end_member()
        self.written.is_closed = True
        self.file.write()

    def _end_of(self, taken: Snapshot, run: RunSnapshot) -> float:
        # The clock of a run stops with it, while the last reports of its workers still come.
        end_s = run.elapsed_s if run.active else max(taken.time - run.start_time, run.elapsed_s)
        return max(end_s, self.written.end_s + 0.001)

    def _entries(self, series: Sequence[SeriesSnapshot]) -> list[list[Any]]:
        """Return the entries of the series that have changed."""
        known = self._series
        entries = []
        for position, now in enumerate(series):
            before = known[position] if position < len(known) else None
            if now is not before and now.total != (0 if before is None else before.total):
                counts = now.counts
                indexes = _nonzero(counts if before is None else list(map(ne, counts, before.counts)))
                entries.append([position, now.unmeasured, now.sum_s, now.body_bytes, encode_counts(counts, indexes)])
        return entries

    def _worker(self, now: WorkerSnapshot) -> dict[str, Any]:
        counts = now.lag_counts
        sum_s, known = self.written.lags.get(now.worker) or (0.0, None)
        # A worker that has come back counts from 0 again.
        is_new = known is None or now.lag_sum_s < sum_s or any(counts[index] < n for index, n in known.items())
        before = {} if is_new or known is None else known
        return {
            "worker": now.worker,
            "cpu": now.cpu_ratio,
            "memory": now.memory_bytes,
            "users": now.users,
            "reasons": list(now.reasons),
            "is_new": is_new,
            "lag_sum_s": now.lag_sum_s,
            "lag": encode_counts(counts, [i for i in _nonzero(counts) if counts[i] != before.get(i)]),
        }


def _run_of(taken: Snapshot) -> RunSnapshot:
    assert taken.run is not None  # noqa: S101  # for the type checker
    return taken.run


def _nonzero(counts: Sequence[int]) -> list[int]:
    return list(compress(range(len(counts)), counts))  # in C, since there are many


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


def _judgement(point: ObjectivePoint) -> dict[str, Any]:
    return {"good": point.good, "bad": point.bad, "sum_s": point.sum_s, "status": point.status}


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
