"""Memory of Locust's process and of the exporter does not grow during a run. `test_busy` has its amount."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.bench.busy import Busy, Look
from tests.bench.figures import Figures
from tests.e2e.harness import Stage

WARM, MILLION = 200_000, 1_000_000
BATCH = 10
"""Requests of a task: ten times those of `test_busy`, with which a million would take eight minutes."""

BAR_MIB = 2


def _looks(folder: Path, protocol: str) -> list[list[Look]]:
    """Return figures of the process after 200,000 requests and after a million."""
    folder.mkdir()
    with Stage(folder) as stage:
        busy = Busy(stage, protocol, batch=BATCH, forgets=True)
        looks = []
        for requests in (WARM, MILLION):
            busy.wait_for(requests)
            looks.append([busy.look()])
            for _ in range(4):
                time.sleep(0.5)
                looks[-1].append(busy.look())
        busy.end()
    return looks


@pytest.mark.timeout(600)
def test_memory_is_flat_over_a_million_requests(figures: Figures, tmp_path: Path) -> None:
    """From the first 200,000 requests to the millionth each process grows by 2 MiB at most, beyond what Locust does."""
    alone, bridged = (_looks(tmp_path / f"run{protocol}", protocol) for protocol in ("", "http"))
    rss = [[max(look.rss for look in looks) for looks in run] for run in (alone, bridged)]
    added = [on - off for off, on in zip(*rss, strict=True)]
    exporter = [max(look.exporter_rss for look in looks) for looks in bridged]
    with figures.judged():
        for what, (warm, late), note in (
            ("Locust's process that is ours", added, f"; {rss[1][1]:.1f} MiB, without {rss[0][1]:.1f} MiB"),
            ("the exporter", exporter, "; 1,000 series"),
        ):
            figures.at_most(
                f"memory of {what}, from request 200,000 to 1,000,000",
                late - warm,
                BAR_MIB,
                " MiB",
                f"{warm:.1f} MiB, then {late:.1f} MiB{note}",
            )
