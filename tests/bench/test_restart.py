"""An exporter that is killed or frozen during a run: the time without numbers, and the users."""

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
"""Kills by number of series. After more than two within a minute the exporter is not replaced."""

FROZEN_S = 20.0
HOLD_BAR_MS = 5


@pytest.mark.timeout(400)
def test_a_killed_exporter_is_replaced_in_time(figures: Figures, tmp_path: Path) -> None:
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
            max(max(times) for times in gaps.values()),
            2,
            " s",
            "; ".join(
                f"{series:,} series {', '.join(f'{gap:.2f}' for gap in times)} s" for series, times in gaps.items()
            ),
        )


@pytest.mark.timeout(400)
def test_a_frozen_exporter_does_not_slow_the_load(figures: Figures, tmp_path: Path) -> None:
    """In 20 s without an answer of the exporter, users are held up as little as in the 20 s before."""
    with Stage(tmp_path) as stage:
        busy = Busy(stage, "http", series=1_000, scraped=False)
        busy.wait_for(4_000)
        exporter = busy.exporter
        assert exporter is not None
        time.sleep(FROZEN_S)
        began = time.monotonic()
        os.kill(exporter.pid, signal.SIGSTOP)
        time.sleep(FROZEN_S)
        os.kill(exporter.pid, signal.SIGCONT)
        ended = time.monotonic()
        before, frozen = ([s for s in busy.seconds if end - FROZEN_S < s.at_s < end] for end in (began, ended))
        busy.end()
    calm_s, held_s = (max(second.held_s for second in seconds) for seconds in (before, frozen))
    with figures.judged():
        figures.at_most(
            "longest time that a user is held up while the exporter is frozen",
            held_s * 1e3,
            round(calm_s * 1e3 + HOLD_BAR_MS, 1),
            " ms",
            f"before {calm_s * 1e3:.1f} ms; {FROZEN_S:g} s",
        )


def _gap_s(busy: Busy) -> float:
    """Kill the exporter; return the seconds until a page has every request from before."""
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
    """Return a page as it was sent; empty without an answer."""
    try:
        return scrape(url, TEXT, timeout_s=5).body
    except (OSError, HTTPException):
        return b""


def _requests(page: bytes) -> float:
    """Return the requests on a page; -1 without a page."""
    if not page:
        return -1
    lines = gzip.decompress(page).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(b"locust_requests_total{"))
