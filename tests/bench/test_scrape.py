"""Time of a scrape during a run, each after a second of load, so that there are new values."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from tests.bench.busy import MIB, Busy
from tests.bench.figures import Figures
from tests.bench.scraper import OPENMETRICS, PROTOBUF, TEXT, scrape
from tests.e2e.harness import Stage

BARS_S = {1_000: 0.1, 10_000: 1.0}
SCRAPES = 10
FORMATS = {"text": TEXT, "OpenMetrics": OPENMETRICS, "protobuf": PROTOBUF}


@pytest.mark.parametrize("series", BARS_S)
def test_a_scrape_is_short(figures: Figures, tmp_path: Path, series: int) -> None:
    """The longest of ten scrapes in each format, measured by the scraper, with gzip."""
    took: dict[str, list[float]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    with Stage(tmp_path) as stage:
        busy = Busy(stage, "http", series=series, scraped=False)
        busy.wait_for(4 * series)
        for name, accept in FORMATS.items():
            scrapes = []
            for _ in range(SCRAPES + 1):
                time.sleep(1)
                scrapes.append(scrape(busy.url, accept))
            first, *others = scrapes
            figures.info(f"first scrape of {series:,} series, {name}", first.seconds, " s")
            took[name] = [other.seconds for other in others]
            sizes[name] = len(gzip.decompress(first.body)), len(first.body)
        busy.end()
    with figures.judged():
        for name, times in took.items():
            whole, sent = sizes[name]
            assert whole > series * 150
            figures.at_most(
                f"scrape of {series:,} series, {name}",
                max(times),
                BARS_S[series],
                " s",
                f"best {min(times) * 1e3:.0f} ms; {whole / MIB:.1f} MiB, sent as {sent / MIB:.2f} MiB",
            )
