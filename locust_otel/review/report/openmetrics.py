"""From a run record to OpenMetrics with timestamps: what a Prometheus would have scraped, for one that was not there.

    locust-otel report RECORD --format openmetrics -o run.om
    promtool tsdb create-blocks-from openmetrics run.om DATA_FOLDER

The record is read once, and each scrape goes through the same families and templates as a real one. OpenMetrics wants
all samples of a series side by side, while they come scrape by scrape: their text waits in a temporary file meanwhile.
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TextIO

from locust_otel.core.catalogue import Metric, Scope
from locust_otel.core.exposition import filled, header, template
from locust_otel.core.families import Family, HistogramPoint, Point, families
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import HealthSnapshot, ObjectivePoint, RunSnapshot, Snapshot, WorkerSnapshot
from locust_otel.review.record.decode import Contents
from locust_otel.review.record.reader import Cumulated, RecordStream
from locust_otel.slo.objectives import Slo
from locust_otel.wire.record import Interval, Judgement, WorkerReading

SCOPES = frozenset(Scope) - {Scope.HEALTH}
"""The health of the bridge itself is no part of a record."""

DEFAULT_JOB = "locust"
DEFAULT_INSTANCE = "127.0.0.1:9646"
DEFAULT_INTERVAL_S = 5.0

_BUFFERED = 1 << 13  # characters of a series that wait in memory
_HEALTH = HealthSnapshot((), {}, {}, 0, 0, None, {})


def write(path: Path, out: TextIO, *, job: str | None, instance: str | None, interval_s: float | None) -> bool:
    """Write what scrapes of a recorded run would have given.

    Args:
        path: The record.
        out: Where to write.
        job: Label; None for `locust`.
        instance: Label; None for the address at which the run served its metrics.
        interval_s: Seconds between two scrapes; None for the SLO file's, or 5 s.

    Returns:
        Whether the record is complete.

    Raises:
        RecordError: The record cannot be read.
    """
    stream = RecordStream(path)
    contents = stream.contents
    if interval_s is None:
        interval_s = float(contents.slo.scrape_interval_s) if contents.slo is not None else DEFAULT_INTERVAL_S
    target = (job or DEFAULT_JOB, instance or contents.instance or DEFAULT_INSTANCE)
    with tempfile.TemporaryFile() as file:
        spool = _Spool(file)
        templates: dict[tuple[Metric, tuple[str, ...]], str] = {}
        for taken in _scrapes(stream, interval_s):
            when = f" {taken.time:.3f}\n"
            for family in families(taken, SCOPES):
                labelled = replace(family, label_names=(*family.label_names, "job", "instance"))
                for point in family.points:
                    key = (family.metric, point.labels)
                    if key not in templates:
                        templates[key] = template(labelled, _with_labels(point, target))
                    spool.add(family, point.labels, filled(templates[key], point).replace("\n", when))
        for text in spool.read():
            out.write(text)
    out.write("# EOF\n")
    return stream.is_complete


def _with_labels(point: Point | HistogramPoint, more: tuple[str, ...]) -> Point | HistogramPoint:
    return replace(point, labels=(*point.labels, *more))


class _Spool:
    """Texts by series, in a file as soon as they are many."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0
        self._metrics: dict[Metric, dict[tuple[str, ...], _Texts]] = {}

    def add(self, family: Family, labels: tuple[str, ...], text: str) -> None:
        """Add the text of one scrape to a series."""
        of_metric = self._metrics.setdefault(family.metric, {})
        texts = of_metric.get(labels)
        if texts is None:
            texts = of_metric[labels] = _Texts([], [], 0)
        texts.waiting.append(text)
        texts.size += len(text)
        if texts.size > _BUFFERED:
            data = "".join(texts.waiting).encode("utf-8", "replace")
            texts.places.append((self._end, len(data)))
            self._end += self._file.write(data)
            texts.waiting.clear()
            texts.size = 0

    def read(self) -> Iterator[str]:
        """Yield all texts, series by series, with a header before each metric."""
        for metric, of_metric in self._metrics.items():
            yield header(metric, is_openmetrics=True)
            for texts in of_metric.values():
                yield from map(self._at, texts.places)
                yield "".join(texts.waiting)

    def _at(self, place: tuple[int, int]) -> str:
        offset, size = place
        self._file.seek(offset)
        return self._file.read(size).decode()


@dataclass(slots=True)
class _Texts:
    places: list[tuple[int, int]]  # offset and size in the file
    waiting: list[str]
    size: int


def _scrapes(stream: RecordStream, interval_s: float) -> Iterator[Snapshot]:
    """Yield how the run stood at each scrape, and at its end."""
    replay, number = _Replay(stream.contents), 0
    for interval in stream.intervals():
        while number * interval_s < interval.end_s:
            yield replay.snapshot(number * interval_s)
            number += 1
        replay.add(interval)
    yield replay.snapshot(replay.end_s)


class _Replay:
    """A run that goes on once more, interval by interval.

    Attributes:
        end_s: Seconds since its start at which the last interval ended.
    """

    def __init__(self, contents: Contents) -> None:
        self.end_s = 0.0
        self._contents = contents
        self._cumulated = Cumulated(contents)
        self._last: Interval | None = None
        self._lags: dict[str, tuple[array[int], float]] = {}

    def add(self, interval: Interval) -> None:
        """Go on to the end of an interval."""
        self._cumulated.add(interval)
        self._last, self.end_s = interval, interval.end_s
        for worker in interval.workers:
            counts, sum_s = self._lags.get(worker.worker) or (layout().empty(), 0.0)
            counts = counts[:]
            for index, count in worker.lag_counts.items():
                counts[index] += count
            self._lags[worker.worker] = (counts, sum_s + worker.lag_sum_s)

    def snapshot(self, at_s: float) -> Snapshot:
        """Return how the run stood at a moment, after what was added and before what was not."""
        last, contents = self._last, self._contents
        marks: dict[tuple[str, str], int] = {}
        for time_s, mark, kind in contents.marks:
            if time_s <= at_s:
                marks[mark, kind] = marks.get((mark, kind), 0) + 1
        stopped = last is not None and last.state in {"stopped", "lost"}
        run = RunSnapshot(
            run_id=contents.run_id,
            info=contents.info,
            state=last.state if last is not None else "spawning",
            active=not stopped,
            start_time=contents.start_time,
            elapsed_s=last.elapsed_s if last is not None and stopped else at_s,
            users=last.users if last is not None else {},
            users_target=last.users_target if last is not None else {},
            requests=self._cumulated.snapshot(),
            marks=marks,
            slo=_judged(contents.slo, last) if contents.slo is not None else None,
        )
        return Snapshot(
            time=contents.start_time + at_s,
            process_start_time=contents.start_time,
            run=run,
            worker_states=(last.worker_states or {}) if last is not None else {},
            workers_expected=last.workers_expected if last is not None else None,
            workers=tuple(map(self._worker, last.workers)) if last is not None else (),
            health=_HEALTH,
        )

    def _worker(self, reading: WorkerReading) -> WorkerSnapshot:
        counts, sum_s = self._lags[reading.worker]
        return WorkerSnapshot(
            worker=reading.worker,
            cpu_ratio=reading.cpu_ratio,
            memory_bytes=reading.memory_bytes,
            users=reading.users,
            lag_layout=layout(),
            lag_counts=counts,
            lag_sum_s=sum_s,
            reasons=reading.reasons,
        )


def _judged(slo: Slo, interval: Interval | None) -> tuple[ObjectivePoint, ...]:
    """Return the objectives as the run itself had judged them at the end of an interval."""
    judged = (interval.slo if interval is not None else None) or {}
    points = []
    for objective in slo.objectives:
        good, bad, sum_s, status = judged.get(objective.name, Judgement(0, 0, 0.0, "undecided"))
        points.append(
            ObjectivePoint(
                name=objective.name,
                service=slo.service,
                target=None if objective.target is None else float(objective.target),
                within_s=None if objective.within_s is None else float(objective.within_s),
                min_requests=slo.min_requests,
                good=good,
                bad=bad,
                sum_s=sum_s,
                status=status,
            )
        )
    return tuple(points)
