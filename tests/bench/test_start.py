"""Delay of the first request of a run because of the bridge."""

from __future__ import annotations

from pathlib import Path

from tests.bench.busy import Busy
from tests.bench.figures import Figures
from tests.e2e.harness import Stage

ROUNDS = 5


def test_a_run_starts_no_later(figures: Figures, tmp_path: Path) -> None:
    """With all outputs, the time from the start of `locust` to its first request is at most 0.5 s longer."""
    took: dict[str, list[float]] = {"": [], "http": []}
    for number in range(-1, ROUNDS):  # the first is for the caches
        for protocol, times in took.items():
            folder = tmp_path / f"{number}{protocol}"
            folder.mkdir()
            with Stage(folder) as stage:
                busy = Busy(stage, protocol, series=100, scraped=False)
                seconds = busy.first_request_s()
                if number >= 0:
                    times.append(seconds)
    alone, bridged = took.values()
    with figures.judged():
        figures.at_most(
            "first request of a run later because of us",
            max(on - off for on, off in zip(bridged, alone, strict=True)),
            0.5,
            " s",
            f"worst {max(bridged):.2f} s, without {max(alone):.2f} s",
        )
