"""Cost of the bridge by number of series and of workers: `python -m tests.bench.scaling`.

Each number of series is a run of its own, beside one without the bridge. Workers are simulated: each makes 1,500
requests of 100 names between two reports, which is 500 a second, and one master takes the reports of 1, 4, 16 or 64 of
them, as in `test_distributed`.
"""

# First of all imports: it patches sockets and locks.
import locust  # noqa: I001

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import locust.stats

from tests.bench import test_distributed as distributed
from tests.bench.busy import Measured, play

SERIES = (100, 300, 1_000, 3_000, 10_000)
SECONDS = 20.0
WORKERS = (1, 4, 16, 64)
REPORTS, WARM_UP = 8, 4
"""Reports of each worker, and the number of first ones that are left out, since they are smaller."""


@dataclass(frozen=True, slots=True)
class BySeries:
    """Cost of a number of request series, at 2,000 requests a second with all outputs.

    Attributes:
        series: Series of requests: method, name, user class and outcome.
        cpu: Of Locust's process that is ours, as a share of a core.
        held_s: The longest time in which a user was held up.
        alone_held_s: The same without the bridge.
        rss_mib: Memory of Locust's process that is ours.
        exporter_cpu: CPU of the exporter, as a share of a core.
        exporter_rss_mib: Memory of the exporter.
        scrape_s: Median of the scrapes as text.
        scrape_worst_s: The longest.
        samples: Of a scrape.
        text_bytes: Of it as text.
        gzip_bytes: Of that as it was sent.
        protobuf_bytes: Of one as protobuf.
        push_bytes: Of an OTLP push, as it was sent.
    """

    series: int
    cpu: float
    held_s: float
    alone_held_s: float
    rss_mib: float
    exporter_cpu: float
    exporter_rss_mib: float
    scrape_s: float
    scrape_worst_s: float
    samples: int
    text_bytes: int
    gzip_bytes: int
    protobuf_bytes: int
    push_bytes: int


@dataclass(frozen=True, slots=True)
class ByWorkers:
    """Cost of a number of workers for the master, each with 500 requests a second of 100 names.

    Attributes:
        cpu: Seconds of CPU a second for our part of their reports.
        locust_cpu: The same for Locust's own part.
        bytes_per_s: Bytes a second of our part.
        locust_bytes_per_s: Bytes a second of Locust's.
    """

    workers: int
    cpu: float
    locust_cpu: float
    bytes_per_s: float
    locust_bytes_per_s: float


def by_series() -> list[BySeries]:
    """Measure all numbers of series."""
    result = []
    for series in SERIES:
        with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
            off, on = (play(Path(folder, f"run{protocol}"), protocol, series, SECONDS) for protocol in ("", "http"))
        text, protobuf = on.scrapes["text"], on.scrapes["protobuf"]
        result.append(
            BySeries(
                series=series,
                cpu=round(median(on.cpu) - median(off.cpu), 4),
                held_s=_held_s(on),
                alone_held_s=_held_s(off),
                rss_mib=round(on.looks[-1].rss - off.looks[-1].rss, 1),
                exporter_cpu=round(on.exporter_cpu, 4),
                exporter_rss_mib=round(max(look.exporter_rss for look in on.looks), 1),
                scrape_s=round(median(scrape.seconds for scrape in text), 4),
                scrape_worst_s=round(max(scrape.seconds for scrape in text), 4),
                samples=_samples(on.text),
                text_bytes=len(on.text),
                gzip_bytes=text[-1].sent,
                protobuf_bytes=protobuf[-1].sent,
                push_bytes=on.push_bytes,
            )
        )
        print(result[-1], file=sys.stderr, flush=True)
    return result


def _samples(text: bytes) -> int:
    return sum(not line.startswith(b"#") for line in text.splitlines())


def _held_s(run: Measured) -> float:
    return round(max(second.held_s for second in run.seconds), 5)


def by_workers() -> list[ByWorkers]:
    """Measure all numbers of workers."""
    reports = _reports(max(WORKERS))
    result = []
    for workers in WORKERS:
        # Small numbers several times over: one of their rounds is over in a millisecond.
        rounds = [_merged(reports, workers) for _ in range(3 if workers > 4 else 12)]
        measured = [report for batch in reports[WARM_UP:] for report in batch[:workers]]
        seconds = (REPORTS - WARM_UP) * distributed.INTERVAL_S
        result.append(
            ByWorkers(
                workers,
                round(median(cpu for cpu, _ in rounds), 6),
                round(median(cpu for _, cpu in rounds), 6),
                round(sum(len(report.ours) for report in measured) / seconds),
                round(sum(len(report.theirs) for report in measured) / seconds),
            )
        )
        print(result[-1], file=sys.stderr, flush=True)
    return result


def _reports(workers: int) -> list[list[distributed.Report]]:
    """Return the reports of so many workers, one list for each interval."""
    clock = distributed.LocustTime()
    with mock.patch.object(locust.stats, "time", clock):
        crowd = [distributed.Worker(index) for index in range(workers)]
        batches = []
        for _ in range(REPORTS):
            start, batch = clock.now, []
            for worker in crowd:
                clock.now = start
                worker.work(clock)
                batch.append(worker.report())
            batches.append(batch)
    return batches


def _merged(reports: list[list[distributed.Report]], workers: int) -> tuple[float, float]:
    """Return the master's CPU per second for our part of the reports, and for Locust's."""
    master = distributed.Master()
    with mock.patch.object(locust.stats, "time", distributed.LocustTime()):
        for batch in reports:
            for report in batch[:workers]:
                master.merge(report)
    assert master.close() == REPORTS * workers * distributed.REQUESTS
    first, seconds = WARM_UP * workers, (REPORTS - WARM_UP) * distributed.INTERVAL_S
    return sum(master.merging.ours[first:]) / seconds, sum(master.merging.theirs[first:]) / seconds


def measure() -> dict[str, Any]:
    """Measure both, for JSON."""
    return {"series": [asdict(row) for row in by_series()], "workers": [asdict(row) for row in by_workers()]}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
