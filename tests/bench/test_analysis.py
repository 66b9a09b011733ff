"""What the analysis and the report of an hour cost."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from locust_otel.analysis.analyze import analyze
from locust_otel.analysis.finding import Pattern
from locust_otel.analysis.from_record import timeline
from locust_otel.record.reader import load
from locust_otel.report.html import page
from tests.bench.figures import Figures
from tests.bench.test_record import _hour
from tests.unit.test_analysis import saturated
from tests.unit.timelines import flat, made, stairs


def test_an_hour_is_soon_analyzed(figures: Figures, tmp_path: Path) -> None:
    """An hour's record is analyzed in five seconds, reading it included; with a growth to be fitted as well."""
    path = _hour(tmp_path)
    began = time.perf_counter()
    found = analyze(timeline(load(path)))
    took = time.perf_counter() - began
    assert found.findings
    hour = made(stairs(400, 3600, 8, 400), {"/a": saturated, "/b": saturated, "/c": flat()})
    began = time.perf_counter()
    assert analyze(hour).main.pattern is Pattern.LINEAR
    fitted = time.perf_counter() - began
    began = time.perf_counter()
    text, _ = page(path)
    drawn = time.perf_counter() - began
    assert np.isfinite(fitted)
    with figures.judged():
        figures.at_most("analysis of an hour of 50 series, reading included", took, 5, unit=" s")
        figures.at_most("analysis of an hour in which latency grows", fitted, 5, unit=" s")
        figures.at_most(
            "HTML report of an hour of 50 series", drawn, 20, unit=" s", note=f"{len(text) / 1e3:.0f} kB of HTML"
        )
