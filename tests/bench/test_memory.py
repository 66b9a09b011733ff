"""Neither Locust's process nor the exporter takes more memory as a run goes on. `test_busy` has how much they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.busy import Busy
from tests.bench.figures import Figures
from tests.e2e.harness import Stage

WARM, MILLION = 200_000, 1_000_000
BATCH = 10
"""Requests of a task: ten times those of `test_busy`, or a million of them would take eight minutes."""

BAR_MIB = 2


@pytest.mark.timeout(400)
def test_memory_is_flat_over_a_million_requests(figures: Figures, tmp_path: Path) -> None:
    """From the first 200,000 requests to the millionth each process grows by 2 MiB at most."""
    with Stage(tmp_path) as stage:
        busy = Busy(stage, "http", batch=BATCH, forgets=True)
        busy.wait_for(WARM)
        warm = busy.look()
        busy.wait_for(MILLION)
        late = busy.look()
        busy.end()
    with figures.judged():
        for what, before, after in (
            ("Locust's process", warm.rss, late.rss),
            ("the exporter", warm.exporter_rss, late.exporter_rss),
        ):
            figures.at_most(
                f"memory of {what} from request 200,000 to 1,000,000",
                after - before,
                BAR_MIB,
                " MiB",
                f"resident {before:.1f} MiB, then {after:.1f} MiB; 1,000 series",
            )
