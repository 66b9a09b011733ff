"""Cost of the run record: bytes on disk, and the time to read it. `test_seconds` has the time to write it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from locust_otel.review.record.reader import load
from tests.bench.conftest import HOUR_S, SERIES
from tests.bench.figures import Figures
from tests.bench.sidebyside import Stopwatch


def test_the_record_of_an_hour(figures: Figures, tmp_path: Path, hour: Path) -> None:
    """An hour of 50 busy series is read in two seconds, and its back-fill needs little memory."""
    size = hour.stat().st_size
    timings = []
    for _ in range(6):
        watch = Stopwatch()
        read = load(hour)
        timings.append(watch.seconds())
    assert read.requests().total == HOUR_S * SERIES * 10
    code = (
        "import resource, sys; from locust_otel.cli import main; "
        "assert main(sys.argv[1:]) == 0; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = ["report", str(hour), "--format", "openmetrics", "-o", str(tmp_path / "run.om")]
    began = time.perf_counter()
    peak = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True).stdout
    took = time.perf_counter() - began
    with figures.judged():
        figures.at_most("reading the record of an hour of 50 series", max(timings), 2, unit=" s")
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
