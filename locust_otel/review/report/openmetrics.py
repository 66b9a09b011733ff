"""Writer of a run record as OpenMetrics with timestamps: the samples for a Prometheus that was not running.

    locust-otel report RECORD --format openmetrics -o run.om
    promtool tsdb create-blocks-from openmetrics run.om DATA_FOLDER

The record is read once, and each scrape has the same families and templates as a real scrape. OpenMetrics needs all
samples of a series in a row, but they come scrape by scrape: their text is kept in a temporary file.
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TextIO

from locust_otel.core.catalogue import Metric, Scope
from locust_otel.core.exposition import header, labelled, lines
from locust_otel.core.families import Family, HistogramPoint, Point, families
from locust_otel.core.snapshot import HealthSnapshot, ObjectivePoint, RunSnapshot, Snapshot, WorkerSnapshot
from locust_otel.review.record.decode import Contents, Interval
from locust_otel.review.record.reader import Cumulated, RecordStream
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Slo
from locust_otel.slo.progress import Standing
from locust_otel.slo.verdict import Result, Status
from locust_otel.wire.record import Judgement

SCOPES = frozenset(Scope) - {Scope.HEALTH}
"""A record does not have the health of the bridge itself."""

_BUFFERED = 1 << 13  # bytes of a series in memory
_HEALTH = HealthSnapshot((), {}, {}, 0, 0, None, {})
_NOT_JUDGED = Judgement(0, 0, 0.0, Status.UNDECIDED.value)
_BEFORE = Interval(
    start_s=0.0, end_s=0.0, state="spawning", elapsed_s=0.0, users={}, users_target={}, worker_states=None,
    workers_expected=None, slo=None, locust_total=None, counts={}, errors={}, user_errors={}, cpu_ratio=None,
    reasons=frozenset(),
)  # fmt: skip


def write(path: Path, out: TextIO, *, job: str | None, instance: str | None, interval_s: float | None) -> bool:
    """Write the scrapes of a recorded run, and return whether the record is complete.

    The default of `job` is `locust`, that of `instance` the address of the run's /metrics. The default of `interval_s`,
    the seconds between two scrapes, is in the SLO file, or 5.

    Raises:
        RecordError: The record cannot be read.
    """
    stream = RecordStream(path)
    contents = stream.record
    if interval_s is None:
        interval_s = float(contents.slo.scrape_interval_s) if contents.slo is not None else 5.0
    target = (job or "locust", instance or contents.instance or "127.0.0.1:9646")
    with tempfile.TemporaryFile() as file:
        spool = _Spool(file, target)
        for snapshot in _scrapes(stream, interval_s):
            time = f"{snapshot.time:.3f}"
            for family in families(snapshot, SCOPES):
                for point in family.points:
                    spool.add(family, point, time)
        for text in spool.read():
            out.write(text)
    out.write("# EOF\n")
    return contents.is_complete


@dataclass(slots=True)
class _SeriesText:
    """Text of a series: its labels, its places in the file as offset and size, and the text in memory."""

    labels: bytes
    places: list[tuple[int, int]] = field(default_factory=list)
    buffer: BytesIO = field(default_factory=BytesIO)


class _Spool:
    """Samples by series, in a file if a series has many. Each sample gets the labels `job` and `instance`."""

    def __init__(self, file: IO[bytes], target: tuple[str, str]) -> None:
        self._file = file
        self._target = target
        self._end = 0
        self._metrics: dict[Metric, dict[tuple[str, ...], _SeriesText]] = {}

    def add(self, family: Family, point: Point | HistogramPoint, time: str) -> None:
        """Add a sample."""
        of_metric = self._metrics.setdefault(family.metric, {})
        series = of_metric.get(point.labels)
        if series is None:
            names, values = (*family.label_names, "job", "instance"), (*point.labels, *self._target)
            series = of_metric[point.labels] = _SeriesText(labelled(names, values))
        text = lines(family.metric.name, series.labels, point)
        series.buffer.write(text.replace(b"\n", f" {time}\n".encode()))
        if series.buffer.tell() > _BUFFERED:
            data = series.buffer.getvalue()
            series.places.append((self._end, len(data)))
            self._end += self._file.write(data)
            series.buffer = BytesIO()

    def read(self) -> Iterator[str]:
        """Yield all samples, series by series, with a header before each metric."""
        for metric, of_metric in self._metrics.items():
            yield header(metric, is_openmetrics=True).decode()
            for series in of_metric.values():
                for offset, size in series.places:
                    self._file.seek(offset)
                    yield self._file.read(size).decode()
                yield series.buffer.getvalue().decode()


def _scrapes(stream: RecordStream, interval_s: float) -> Iterator[Snapshot]:
    """Yield a snapshot for each scrape, and one at the end of the run."""
    contents, number = stream.record, 0
    last, workers, cumulated = _BEFORE, contents.workers, Cumulated(contents)
    for interval in stream.intervals():
        while number * interval_s < interval.end_s:
            yield _snapshot(contents, last, workers, cumulated, number * interval_s)
            number += 1
        last, workers = interval, contents.workers
        cumulated.add(interval)
    yield _snapshot(contents, last, workers, cumulated, last.end_s)


def _snapshot(
    contents: Contents, last: Interval, workers: tuple[WorkerSnapshot, ...], cumulated: Cumulated, at_s: float
) -> Snapshot:
    """Return the snapshot at a time, which must not be before the end of the last interval."""
    run = RunSnapshot(
        run_id=contents.run_id,
        info=contents.info,
        state=last.state,
        active=not last.is_over,
        start_time=contents.start_time,
        elapsed_s=last.elapsed_s if last.is_over else at_s,
        users=last.users,
        users_target=last.users_target,
        requests=cumulated.snapshot(),
        marks=Counter((mark.mark, mark.kind) for mark in contents.marks if mark.time_s <= at_s),
        slo=None if contents.slo is None else _points(contents.slo, last.slo or {}),
    )
    return Snapshot(
        time=contents.start_time + at_s,
        process_start_time=contents.start_time,
        run=run,
        worker_states=last.worker_states or {},
        workers_expected=last.workers_expected,
        workers=workers,
        health=_HEALTH,
    )


def _points(slo: Slo, judged: Mapping[str, Judgement]) -> tuple[ObjectivePoint, ...]:
    """Return the objectives as the run itself judged them, with counts of 0 before that."""
    results = []
    for objective in slo.objectives:
        judgement = judged.get(objective.name, _NOT_JUDGED)
        counts = Counts(judgement.good, judgement.bad, judgement.sum_s)
        results.append(Result(objective, counts, Status(judgement.status)))
    return Standing(slo, 0.0, is_warming_up=False, burning=(), aborted=None, results=tuple(results)).points()
