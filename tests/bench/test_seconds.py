"""Work of the exporter in each second of a run with 2,000 requests, part by part, without scrapes and pushes."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from locust_otel.core.cardinality import Names
from locust_otel.core.histogram import layout
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.checkpoint import Checkpoint
from locust_otel.exporter.merged import Merged
from locust_otel.exporter.record.writer import RecordWriter, Written
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin, Session
from locust_otel.exporter.settings import resolve
from locust_otel.plugin.reporter import Reporter
from locust_otel.plugin.series import Requests
from locust_otel.slo.progress import Progress
from locust_otel.wire.report import decode
from tests.bench import slo
from tests.bench.figures import Figures
from tests.bench.sidebyside import Stopwatch
from tests.unit.tapes import first_line

REQUESTS, REPORTS = 2_000, 4
SECONDS = 10


class _Exporter:
    """An exporter of one run, with its work of each second."""

    def __init__(self, series: int, folder: Path) -> None:
        self._rng = random.Random(series)
        given = {"slo": str(slo.write(folder)), "max_request_names": series}
        settings = resolve(values_of(None, given), is_worker=False)
        assert settings.slo is not None
        thresholds_s = settings.slo.thresholds_s
        self._requests = Requests(slow_s=5.0, max_names=series, thresholds_s=thresholds_s)
        self._reporter = Reporter("run", self._requests)
        keys = [SeriesKey("GET", f"/api/v1/resources/{n:04}/items", "Shopper", "success") for n in range(series)]
        self._series = [self._requests.of(key) for key in keys]
        self._merged = Merged(layout((5.0, *thresholds_s)), 5.0, Names(series))
        self._progress = Progress(settings.slo, 1_764_000_000.25)
        self._session = Session(settings, Origin(name="host-0"), lambda *_: None)
        self._run = self._session.state.run = Run(
            run_id="run", info={}, start_time=1_764_000_000.25, started_s=0.0, settings={}, merged=self._merged,
            progress=self._progress, is_headless=True, only_summary=True,
        )  # fmt: skip
        with ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
            self.close = stack.pop_all().close
        self._checkpoint = Checkpoint([file.fileno() for file in files])
        self.work(range(series))
        self._writer = RecordWriter(folder, Written("run"))
        self._merge(self._reported())
        self._writer.begin(first_line(self._run.snapshot()))
        self.bytes = 0

    def work(self, indexes: Iterator[int] | range) -> None:
        """Make requests."""
        for index in indexes:
            series = self._series[index]
            series.pending += (self._rng.lognormvariate(4, 1), 1234)
            self._requests.dirty[series] = None

    def second(self, elapsed_s: float) -> dict[str, float]:
        """Do the work of a second; return the seconds of each part."""
        pieces = []
        for _ in range(REPORTS):
            self.work(self._rng.randrange(len(self._series)) for _ in range(REQUESTS // REPORTS))
            pieces += self._reported()
        took = {"merging four reports": _timed(lambda: self._merge(pieces))}
        took["a snapshot"] = _timed(self._session.snapshot)
        requests = self._merged.snapshot()

        def judge() -> None:
            self._progress.observe(requests, elapsed_s)
            self._progress.judge(requests, elapsed_s)

        took[f"judging {slo.OBJECTIVES} objectives"] = _timed(judge)
        taken = self._session.snapshot()

        def record() -> None:
            self._writer.add(self._writer.interval(taken, (), ()), taken)
            self._writer.file.write()

        took["recording"] = _timed(record)

        def checkpoint() -> None:
            saved = self._session.saved()
            self.bytes = len(saved)
            self._checkpoint.write(saved)

        took["a checkpoint"] = _timed(checkpoint)
        return took

    def _reported(self) -> list[bytes]:
        self._requests.tally()
        return [*self._reporter.pieces(), self._reporter.last(None)]

    def _merge(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._merged.merge("host-0", decode(piece))


def _timed(function: Callable[[], object]) -> float:
    watch = Stopwatch()
    function()
    return watch.seconds()


@pytest.mark.parametrize("series", [1_000, 10_000])
def test_a_second_of_the_exporter(figures: Figures, tmp_path: Path, series: int) -> None:
    """Print each part of the longest of ten seconds: together they must leave time for scrapes and pushes."""
    exporter = _Exporter(series, tmp_path)
    seconds = [exporter.second(float(number)) for number in range(1, SECONDS + 1)]
    exporter.close()
    with figures.judged():
        figures.at_most(
            f"a second of the exporter, {series:,} series",
            max(sum(second.values()) for second in seconds) * 1e3,
            500,
            " ms",
            f"a checkpoint has {exporter.bytes / 1e6:.1f} MB",
        )
        for part in seconds[0]:
            figures.info(f"  {part}", max(second[part] for second in seconds) * 1e3, " ms")
