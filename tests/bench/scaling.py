"""What the bridge costs as a function of series and of workers: `python -m tests.bench.scaling`.

Series are measured in one process each. Workers are simulated: each makes 1,500 requests of 100 names between two
reports, which is 500 a second, and one master merges the reports of 1, 4, 16 or 64 of them, as in `test_distributed`.
"""

# First of all imports: it patches sockets and locks.
import locust  # noqa: I001

import json
import subprocess
import sys
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import locust.stats

from locust_otel.core.families import families
from locust_otel.core.exposition import TextExposition
from tests.bench import test_distributed as distributed
from tests.unit import factories

SERIES = (100, 300, 1_000, 3_000, 10_000)
WORKERS = (1, 4, 16, 64)
REPORTS, WARM_UP = 8, 4
"""Reports of each worker, and those of them that are not looked at: a run's first ones are smaller."""

CHILD_S = 300


@dataclass(frozen=True, slots=True)
class BySeries:
    """What a number of request series costs the process that has them.

    Attributes:
        series: Series of requests: method, name, user class and outcome.
        samples: Lines of the exposition that Prometheus stores, those about the bridge itself among them.
        otlp_bytes: Of a push of them as exponential histograms.
        otlp_gzip_bytes: Of it compressed.
        scrape_s: The quickest of five scrapes, gzip, OpenMetrics, as another process sees it.
        stall_s: How late the loop woke a greenlet at the most, in the calmest of five scrapes.
        snapshot_s: The part of it that is done in one piece.
        slo_s: One look at four objectives, with the loop given back in between.
        slo_stall_s: How late the loop woke a greenlet meanwhile, at the most.
        rss_mib: Memory that the bridge took, SLO file and scrapes included.
    """

    series: int
    samples: int
    otlp_bytes: int
    otlp_gzip_bytes: int
    scrape_s: float
    scrape_median_s: float
    stall_s: float
    stall_median_s: float
    text_bytes: int
    gzip_bytes: int
    snapshot_s: float
    slo_s: float
    slo_stall_s: float
    rss_mib: float


@dataclass(frozen=True, slots=True)
class ByWorkers:
    """What a number of workers costs the master, each with 500 requests a second of 100 names.

    Attributes:
        cpu: Seconds of CPU a second for our part of their reports: decoding and merging.
        locust_cpu: The same for Locust's own part.
        bytes_per_s: Bytes a second of our part.
        locust_bytes_per_s: Bytes a second of Locust's.
        text_bytes: Of a scrape of the master.
        gzip_bytes: Of it compressed.
    """

    workers: int
    cpu: float
    locust_cpu: float
    bytes_per_s: float
    locust_bytes_per_s: float
    text_bytes: int
    gzip_bytes: int


def by_series() -> list[BySeries]:
    """Measure all numbers of series, each in a process of its own."""
    result = []
    for series in SERIES:
        command = [sys.executable, "-m", "tests.bench.scaling_child", str(series)]
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], check=True, stdout=subprocess.PIPE, text=True, timeout=CHILD_S
        )
        result.append(BySeries(**json.loads(done.stdout)))
        print(result[-1], file=sys.stderr, flush=True)
    return result


def by_workers() -> list[ByWorkers]:
    """Measure all numbers of workers."""
    reports = _reports(max(WORKERS))
    result = []
    for workers in WORKERS:
        # Small numbers several times over: one of their rounds is over in a millisecond.
        rounds = [_merged(reports, workers) for _ in range(3 if workers > 4 else 12)]
        ours = median(cpu for cpu, _, _ in rounds)
        theirs = median(cpu for _, cpu, _ in rounds)
        looked_at = [report for batch in reports[WARM_UP:] for report in batch[:workers]]
        seconds = (REPORTS - WARM_UP) * distributed.INTERVAL_S
        text, gzip = _exposition(rounds[0][2], workers)
        result.append(
            ByWorkers(
                workers,
                round(ours, 6),
                round(theirs, 6),
                round(sum(len(report.ours) for report in looked_at) / seconds),
                round(sum(len(report.theirs) for report in looked_at) / seconds),
                text,
                gzip,
            )
        )
        print(result[-1], file=sys.stderr, flush=True)
    return result


def _reports(workers: int) -> list[list[distributed.Report]]:
    """Return the reports of so many workers, one list for each interval."""
    time, order = distributed.LocustTime(), distributed.Master().order
    with mock.patch.object(locust.stats, "time", time):
        crowd = [distributed.Worker(index, order) for index in range(workers)]
        batches = []
        for _ in range(REPORTS):
            start, batch = time.now, []
            for worker in crowd:
                time.now = start
                worker.work(time)
                batch.append(worker.report())
            batches.append(batch)
    return batches


def _merged(reports: list[list[distributed.Report]], workers: int) -> tuple[float, float, distributed.Master]:
    """Return the master's CPU per second for our part of the reports and for Locust's, and the master."""
    master = distributed.Master()
    with mock.patch.object(locust.stats, "time", distributed.LocustTime()):
        for batch in reports:
            for report in batch[:workers]:
                master.merge(report)
    master.check(REPORTS * workers * distributed.REQUESTS)
    first, seconds = WARM_UP * workers, (REPORTS - WARM_UP) * distributed.INTERVAL_S
    merging = master.merging
    ours = sum(merging.ours[first:]) + sum(merging.decoding_ours[first:])
    theirs = sum(merging.theirs[first:]) + sum(merging.decoding_theirs[first:])
    return ours / seconds, theirs / seconds, master


def _exposition(master: distributed.Master, workers: int) -> tuple[int, int]:
    """Return the bytes of what such a master serves, and of it compressed."""
    crowd = tuple(
        factories.worker(
            f"host_{n}", lags_s=[0.0004 * 1.5**k for k in range(8)], late_s=[0.0004 * 1.5**k for k in range(8)]
        )
        for n in range(workers)
    )
    taken = factories.snapshot(
        master._run.aggregate, run_id=distributed.RUN_ID, workers=crowd, worker_states={"running": workers}
    )
    text = b"".join(TextExposition(is_openmetrics=True).render(families(taken)))
    return len(text), len(zlib.compress(text, 1))


def measure() -> dict[str, Any]:
    """Measure both, for JSON."""
    return {"series": [asdict(row) for row in by_series()], "workers": [asdict(row) for row in by_workers()]}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
