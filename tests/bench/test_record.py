"""What the run record costs: the stall of an interval, bytes on disk, and the time to read them again."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import gevent

import locust_otel
from locust_otel.core.snapshot import SeriesKey
from locust_otel.plugin.series import Aggregate
from locust_otel.review.record.reader import load
from tests.bench import load as bench_load
from tests.bench.figures import Figures
from tests.bench.sidebyside import Stopwatch
from tests.bench.test_scrape import BAR_MS, FAILING, NAMES, PENDING, Ticker
from tests.unit.factories import record
from tests.unit.tapes import Tape

HOUR_S = 3600
SERIES = 50


def test_an_interval_does_not_stall_the_loop(figures: Figures, tmp_path: Path) -> None:
    """No user waits longer than 10 ms for an interval in which each of 1,000 series had requests."""
    environment = bench_load.environment()
    runner = environment.create_local_runner()
    bridge = locust_otel.attach(environment, prometheus_port="off", max_request_names=NAMES, run_record=str(tmp_path))
    environment.events.test_start.fire(environment=environment)
    endpoints = bench_load.endpoints(NAMES)

    def request(count: int, seed: int, failing: int) -> None:
        def task() -> None:
            for event in bench_load.rotation(endpoints, count, seed=seed, failing=failing):
                environment.events.request.fire(**event)

        bench_load.in_user(task)

    request(2 * FAILING * NAMES, 1, FAILING)
    recording = bridge._recording
    assert recording is not None
    assert recording._writer is not None
    assert recording._run is not None
    recording.stop()  # what it does by itself is done here, to be measured
    recording._record(recording._writer, recording._run)
    ticker, stalls, durations, sizes = Ticker(), [], [], []
    for number in range(10):
        request(PENDING, number, 0)
        request(PENDING, number, 1)  # both outcomes of each name
        gevent.sleep(0.02)  # the ticker wakes late from those requests
        ticker.longest_s, watch = 0.0, Stopwatch()
        assert recording._writer.path is not None
        before = recording._writer.path.stat().st_size
        recording._record(recording._writer, recording._run)
        durations.append(watch.seconds())
        stalls.append(ticker.longest_s)
        sizes.append(recording._writer.path.stat().st_size - before)
    ticker.stop()
    bridge.close()
    runner.quit()

    read = load(next(tmp_path.glob("*.gz")))
    assert len(read.intervals[-2].counts) == 2 * NAMES
    with figures.judged():
        figures.at_most(
            "stall by an interval of the run record, 1,000 busy series",
            min(stalls) * 1e3,
            BAR_MS,
            unit=" ms",
            note=f"median {median(stalls) * 1e3:.1f} ms, of {min(durations) * 1e3:.0f} ms an interval of "
            f"{median(sizes) / 1e3:.0f} kB",
        )


def _hour(folder: Path) -> Path:
    """Record an hour of 50 series, ten requests each a second."""
    rng = random.Random(7)
    keys = [SeriesKey("GET", f"/api/v1/resources/{n:04}", "Shopper", "success") for n in range(SERIES)]
    medians = [10 * 60 ** rng.random() for _ in keys]
    tape = Tape(folder, Aggregate(slow_s=5.0, max_names=100))
    for second in range(1, HOUR_S + 1):
        for key, median_ms in zip(keys, medians, strict=True):
            record(tape.aggregate, key, [median_ms * rng.lognormvariate(0, 0.5) for _ in range(10)], 1234)
        tape.interval(float(second))
        del tape.taken[:-1]
    tape.end()
    return tape.path


def test_an_hour_is_small_and_soon_read(figures: Figures, tmp_path: Path) -> None:
    """An hour of 50 busy series is read in two seconds, and its back-fill needs little memory."""
    path = _hour(tmp_path)
    size = path.stat().st_size
    timings = []
    for _ in range(6):
        watch, began = Stopwatch(), time.perf_counter()
        read = load(path)
        timings.append(min(watch.seconds(), time.perf_counter() - began))
    assert read.requests().total == HOUR_S * SERIES * 10
    code = (
        "import resource, sys; from locust_otel.cli import main; "
        "assert main(sys.argv[1:]) == 0; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = ["report", str(path), "--format", "openmetrics", "-o", str(tmp_path / "run.om")]
    began = time.perf_counter()
    peak = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True).stdout
    took = time.perf_counter() - began
    with figures.judged():
        figures.at_most("reading the record of an hour of 50 series", min(timings), 2, unit=" s")
        figures.at_most(
            "run record, bytes a busy series and hour (10 requests a second)", size / SERIES / 1e3, 150, unit=" kB"
        )
        figures.at_most(
            "memory of its back-fill",
            int(peak) / 1024,
            256,
            unit=" MiB",
            note=f"{took:.0f} s, {(tmp_path / 'run.om').stat().st_size / 1e6:.0f} MB of samples every 5 s",
        )
