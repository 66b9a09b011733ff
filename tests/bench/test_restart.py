"""How long the numbers are away when the exporter is killed in the middle of a run."""

from __future__ import annotations

import gzip
import os
import signal
import time
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.bench.busy import Busy
from tests.bench.figures import Figures
from tests.bench.scraper import TEXT, scrape
from tests.e2e.harness import Stage
from tests.e2e.pages import wait_until

KILLS = {1_000: 4, 10_000: 2}
"""By series. More than two within a minute would end it for good."""


@pytest.mark.timeout(400)
def test_a_killed_exporter_is_soon_back(figures: Figures, tmp_path: Path) -> None:
    """Within two seconds of kill -9 the same port serves every request that was made before it."""
    gaps: dict[int, list[float]] = {series: [] for series in KILLS}
    for series, kills in KILLS.items():
        for number in range(0, kills, 2):
            folder = tmp_path / f"{series}-{number}"
            folder.mkdir()
            with Stage(folder) as stage:
                busy = Busy(stage, "http", series=series, scraped=False)
                busy.wait_for(2 * series)
                for _ in range(2):
                    gaps[series].append(_gap_s(busy))
                busy.end()
    with figures.judged():
        figures.at_most(
            "exporter killed, until it serves every total again",
            max(max(of) for of in gaps.values()),
            2,
            " s",
            "; ".join(f"{series:,} series {', '.join(f'{gap:.2f}' for gap in of)} s" for series, of in gaps.items()),
        )


def _gap_s(busy: Busy) -> float:
    """Kill the exporter; return the seconds until a page has all that was there before."""
    exporter = busy.exporter
    assert exporter is not None
    wait_until(lambda: _requests(_page(busy.url)) > 0, "a page")
    time.sleep(1.2)  # a checkpoint is written once a second
    before = busy.seconds[-1].requests
    began = time.monotonic()
    os.kill(exporter.pid, signal.SIGKILL)
    while True:
        page = _page(busy.url)
        took = time.monotonic() - began
        if _requests(page) >= before:
            return took
        assert took < 60, "it does not come back"
        time.sleep(0.02)


def _page(url: str) -> bytes:
    """Return a page as it was sent; nothing where there is none."""
    try:
        return scrape(url, TEXT, timeout_s=5).body
    except (OSError, HTTPException):
        return b""


def _requests(page: bytes) -> float:
    """Return the requests that a page has; -1 where there is no page."""
    if not page:
        return -1
    lines = gzip.decompress(page).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(b"locust_requests_total{"))
