"""Cost of the analysis and the report of an hour."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Pattern
from locust_otel.review.analysis.readers import from_record as timeline
from locust_otel.review.record.reader import load
from locust_otel.review.report.rendering import page
from locust_otel.review.report.summary import analyzed, summary
from tests.bench.figures import Figures
from tests.unit.timelines import flat, made, saturated, stairs


def test_analysis_of_an_hour(figures: Figures, hour: Path) -> None:
    """The record of an hour is read and analyzed in 5 s of CPU, also if its latency grows."""
    began = time.process_time()
    analysis = analyze(timeline(load(hour)))
    took = time.process_time() - began
    assert analysis.findings
    growing = made(stairs(400, 3600, 8, 400), {"/a": saturated, "/b": saturated, "/c": flat()})
    began = time.process_time()
    assert analyze(growing).main.pattern is Pattern.LINEAR
    fitted = time.process_time() - began
    began = time.process_time()
    record = load(hour)
    text = page(summary(record), analyzed(record), None)
    drawn = time.process_time() - began
    assert np.isfinite(fitted)
    with figures.judged():
        figures.at_most("analysis of an hour of 50 series, reading included, processor", took, 5, unit=" s")
        figures.at_most("analysis of an hour in which latency grows, processor", fitted, 5, unit=" s")
        figures.at_most(
            "HTML report of an hour of 50 series, processor",
            drawn,
            20,
            unit=" s",
            note=f"{len(text) / 1e3:.0f} kB of HTML",
        )
