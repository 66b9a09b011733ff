"""Run records for tests, written interval by interval without a run."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import RequestsSnapshot, RunSnapshot, SeriesKey, Snapshot
from locust_otel.exporter.record.writer import RecordWriter, Written, verdict_on
from locust_otel.slo import validity
from locust_otel.slo.objectives import Slo
from locust_otel.slo.progress import Progress
from locust_otel.wire.record import EndLine, Mark, RecordedEvent, RunLine, SloFile
from tests.unit.factories import Load, health, record, snapshot

HOME = SeriesKey("GET", "/", "Shopper", "success")
FAILED = SeriesKey("GET", "/", "Shopper", "failure")

SLO_TEXT = """
service: shop
period: 1m
scrape_interval: 1s
warmup: 2s
min_requests: 5
objectives:
  works: {sli: success, target: 90%}
  fast:  {sli: latency, target: 90%, within: 300ms}
  mean:  {sli: mean, within: 100ms}
"""


def first_line(run: RunSnapshot, slo: SloFile | None = None) -> RunLine:
    """Return the first line of the record of a run."""
    requests = run.requests
    return RunLine(
        run_id=run.run_id,
        start_time=run.start_time,
        info=dict(run.info),
        settings={"slow_request_s": requests.slow_s},
        versions={"version": "0.1.0"},
        instance="127.0.0.1:9700",
        slow_s=requests.slow_s,
        thresholds_s=list(requests.layout.classic_bounds),
        bounds=list(requests.layout.bounds),
        lag_bounds=list(layout().bounds),
        slo=slo,
    )


class Tape:
    """Run and its record.

    Attributes:
        aggregate: The requests of the run.
        progress: Its objectives; None without an SLO file.
        sizes: Size of the file after each flush.
        taken: Snapshot at the end of each interval.
    """

    def __init__(self, folder: Path, aggregate: Load, slo: Slo | None = None, **changes: Any) -> None:
        self.aggregate = aggregate
        self.progress = Progress(slo, 1_764_000_000.25) if slo is not None else None
        self.changes = changes
        self.taken: list[Snapshot] = []
        run = self.snapshot(0.0).run
        assert run is not None
        self.writer = RecordWriter(folder, Written(run.run_id))
        self.writer.begin(first_line(run, None if slo is None else SloFile(slo.source, slo.text)))
        self.writer.file.write()
        self.sizes = [self.path.stat().st_size]

    @property
    def path(self) -> Path:
        """Path of the record."""
        return Path(self.writer.written.stored.path)

    def snapshot(self, elapsed_s: float, **changes: Any) -> Snapshot:
        """Return a snapshot of the run."""
        if self.progress is not None:
            changes["slo"] = self.progress.judge(self.aggregate.snapshot(), elapsed_s).points()
        taken = snapshot(self.aggregate, **{"elapsed_s": elapsed_s, **self.changes, **changes})
        return replace(taken, health=health(unreconciled=0))

    def interval(
        self, end_s: float, *, marks: tuple[Mark, ...] = (), events: tuple[RecordedEvent, ...] = (), **changes: Any
    ) -> None:
        """Record an interval, and judge the objectives."""
        is_warm = False
        if self.progress is not None:
            is_cold = self.progress.is_warming_up
            now = self.snapshot(end_s, **changes)
            load = validity.Load.of(now)
            self.progress.observe(self.aggregate.snapshot(), end_s, invalid=now.invalid_reasons, load=load)
            is_warm = is_cold and not self.progress.is_warming_up
        taken = self.snapshot(end_s, **changes)
        self.writer.add(self.writer.interval(taken, marks, events, is_warm=is_warm), taken)
        self.taken.append(taken)
        self.writer.file.write()
        self.sizes.append(self.path.stat().st_size)

    def end(self, state: str = "stopped") -> None:
        """Record the end of the run."""
        last = self.taken[-1].run
        assert last is not None
        standing = None if self.progress is None else self.progress.judge(self.aggregate.snapshot(), last.elapsed_s)
        total, verdict = self.aggregate.total(), None if standing is None else list(map(verdict_on, standing.results))
        self.writer.end(EndLine(self.writer.written.end_s, state, total, total, is_aborted=False, verdict=verdict))
        self.writer.file.close()


def small(folder: Path, slo: Slo | None = None) -> Tape:
    """Return a complete record of four seconds and a few requests."""
    tape = Tape(folder, Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,)), slo)
    for second in range(1, 5):
        record(tape.aggregate, HOME, [10.5 * second, 250, 400 * second], 7)
        if second > 1:
            record(tape.aggregate, FAILED, [1.25])
            tape.aggregate.count_error("GET", "/", "500")
        tape.interval(second + 0.25)
    tape.end()
    return tape


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a complete record."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def packed(path: Path, entries: list[dict[str, Any]]) -> Path:
    """Write lines as a record, and return its path."""
    path.write_bytes(gzip.compress("".join(f"{json.dumps(entry)}\n" for entry in entries).encode()))
    return path


def facts(requests: RequestsSnapshot) -> dict[SeriesKey, tuple[Any, ...]]:
    """Return the numbers of each series with requests."""
    return {
        s.key: (dict(s.counts), s.measured, s.unmeasured, s.sum_s, s.body_bytes) for s in requests.series if s.total
    }
