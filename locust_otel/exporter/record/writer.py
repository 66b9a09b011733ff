"""Writes a run record: snapshots in, lines out.

An interval has the changes between two snapshots. It is made first, and then added in one step. A restarted exporter
needs `Written` to continue the record. `Written` has no values of series, so the next interval repeats them all. This
is harmless, since all numbers are cumulative.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple, replace

from locust_otel.core.snapshot import RunSnapshot, SeriesSnapshot, Snapshot, WorkerSnapshot
from locust_otel.exporter.record.storage import RecordFile, Stored
from locust_otel.exporter.session import Session
from locust_otel.slo.verdict import Result
from locust_otel.wire import record
from locust_otel.wire.report import encode_counts


@dataclass(slots=True)
class Written:
    """State of a record at the end of its last interval."""

    run_id: str
    stored: Stored = field(default_factory=Stored)
    end_s: float = 0.0  # since the start of the run
    series: int = 0  # number of series with a written key; errors and marks likewise
    errors: int = 0
    lags: dict[str, tuple[float, Mapping[int, int]]] = field(default_factory=dict)  # sum and counts, by worker
    marks: int = 0
    is_warming_up: bool = False
    is_closed: bool = False  # nothing more is written


class RecordWriter:
    """Writes the record of one run, which this process or an earlier one has begun.

    The lock of the session is held while `written` changes.
    """

    def __init__(self, folder: Path, written: Written, session: Session | None = None) -> None:
        self.written = written
        self.file = RecordFile(folder, written.run_id, written.stored, session.lock if session is not None else None)
        self._in_turns = session.in_turns if session is not None else iter
        self._series: tuple[SeriesSnapshot, ...] = ()
        self._errors: Mapping[Any, int] = {}
        self._user_errors: Mapping[Any, int] = {}

    def begin(self, line: record.RunLine) -> None:
        """Add the first line."""
        self.file.add(_text(line))

    def interval(
        self,
        taken: Snapshot,
        marks: Iterable[record.Mark] = (),
        events: Iterable[record.RecordedEvent] = (),
        *,
        is_warm: bool = False,
    ) -> str:
        """Return the lines of the interval up to a snapshot; `is_warm` if the warm-up ends there too."""
        run, written = taken.run, self.written
        assert run is not None  # noqa: S101  # for the type checker
        series, errors, user_errors = run.requests.series, run.requests.errors, run.requests.user_errors
        lines: list[Struct] = [*marks, *events]
        if new_keys := [new.key for new in series[written.series :]]:
            lines.append(record.SeriesLine(new_keys))
        if new_errors := list(errors)[written.errors :]:
            lines.append(record.ErrorsLine(new_errors))
        end_s, unreconciled = self._end_of(taken, run), taken.health.unreconciled
        slo = {now.name: record.Judgement(now.good, now.bad, now.sum_s, now.status) for now in run.slo or ()}
        lines.append(
            record.IntervalLine(
                start_s=written.end_s,
                end_s=end_s,
                state=run.state,
                elapsed_s=run.elapsed_s,
                users=dict(run.users),
                users_target=dict(run.users_target),
                worker_states=None if taken.workers_expected is None else dict(taken.worker_states),
                workers_expected=taken.workers_expected,
                slo=None if run.slo is None else slo,
                locust_total=None if unreconciled is None else run.requests.total + unreconciled,
                series=self._entries(series),
                errors=[(n, count) for n, (key, count) in enumerate(errors.items()) if count != self._errors.get(key)],
                user_errors=[
                    (*key, count) for key, count in user_errors.items() if count != self._user_errors.get(key)
                ],
                workers=[self._worker(worker) for worker in taken.workers],
            )
        )
        if is_warm:
            lines.append(record.WarmLine(end_s))
        return "".join(map(_text, lines))

    def add(self, lines: str, taken: Snapshot) -> None:
        """Add the lines of the interval up to this snapshot; hold the lock of `written`."""
        run, written = taken.run, self.written
        assert run is not None  # noqa: S101  # for the type checker
        self.file.add(lines)
        written.end_s = self._end_of(taken, run)
        written.series, written.errors = len(run.requests.series), len(run.requests.errors)
        for worker in taken.workers:
            written.lags[worker.worker] = worker.lag_sum_s, worker.lag_counts
        self._series = run.requests.series
        self._errors, self._user_errors = run.requests.errors, run.requests.user_errors

    def end(self, line: record.EndLine) -> None:
        """Write the last line.

        Raises:
            OSError: The end of the record could not be written.
        """
        self.file.add(_text(line))
        self.file.end_member()
        self.written.is_closed = True
        self.file.write()

    def _end_of(self, taken: Snapshot, run: RunSnapshot) -> float:
        # The clock of a run stops with it, but the last reports of its workers come later.
        end_s = run.elapsed_s if run.active else max(taken.time - run.start_time, run.elapsed_s)
        return max(end_s, self.written.end_s + 0.001)

    def _entries(self, series: Sequence[SeriesSnapshot]) -> list[tuple[int, int, float, int, list[int]]]:
        """Return the entries of the series that have changed."""
        known = self._series
        entries = []
        for position, now in enumerate(self._in_turns(series)):
            before = known[position] if position < len(known) else None
            if now is not before and now.total != (0 if before is None else before.total):
                changed = _changed(now.counts, {} if before is None else before.counts)
                entries.append((position, now.unmeasured, now.sum_s, now.body_bytes, changed))
        return entries

    def _worker(self, now: WorkerSnapshot) -> record.WorkerLine:
        counts = now.lag_counts
        sum_s, known = self.written.lags.get(now.worker, (inf, {}))
        # A restarted worker counts from 0 again.
        is_new = now.lag_sum_s < sum_s or any(counts.get(index, 0) < count for index, count in known.items())
        lag = _changed(counts, {} if is_new else known)
        return record.WorkerLine(
            now.worker, now.cpu_ratio, now.memory_bytes, now.users, now.reasons, is_new, now.lag_sum_s, lag,
            now.schedule_sum_s,
        )  # fmt: skip


def _changed(counts: Mapping[int, int], before: Mapping[int, int]) -> list[int]:
    return encode_counts(counts, [index for index, count in counts.items() if count != before.get(index)])


def _object(line: Struct) -> dict[str, Any]:
    """Return a line as an object, with its values unchanged: twice as fast as `msgspec.to_builtins`."""
    tag = line.__struct_config__.tag
    return ({} if tag is None else {"type": tag}) | dict(zip(line.__struct_encode_fields__, astuple(line), strict=True))


_dumped: Callable[[Any], str] = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, check_circular=False, default=_object
).encode


def _text(line: Struct) -> str:
    try:
        return _dumped(line) + "\n"
    except (TypeError, ValueError):  # an attribute has no form in JSON, such as NaN
        if not isinstance(line, record.RecordedEvent):
            raise
        return _text(replace(line, attributes={key: str(value) for key, value in line.attributes.items()}))


def verdict_on(result: Result) -> record.Verdict:
    """Return the result of one objective for the record."""
    counts, worst = result.counts, result.worst
    return record.Verdict(
        slo=result.objective.name,
        status=result.status.value,
        good=counts.good,
        bad=counts.bad,
        sum_s=counts.sum_s,
        actual=result.actual,
        budget_spent=result.budget_spent,
        worst=None if worst is None else {"method": worst.method, "name": worst.name, "value": worst.value},
        note=result.note,
    )
