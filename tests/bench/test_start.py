"""How much later the first request of a run is made because of the bridge."""

from __future__ import annotations

from pathlib import Path

from tests.bench.busy import Busy
from tests.bench.figures import Figures
from tests.e2e.harness import Stage

ROUNDS = 5


def test_a_run_starts_no_later(figures: Figures, tmp_path: Path) -> None:
    """From the start of `locust` to its first request it takes half a second more at most, with everything on."""
    took: dict[str, list[float]] = {"": [], "http": []}
    for number in range(-1, ROUNDS):  # the first is for the caches
        for protocol, of in took.items():
            folder = tmp_path / f"{number}{protocol}"
            folder.mkdir()
            with Stage(folder) as stage:
                busy = Busy(stage, protocol, series=100, scraped=False)
                seconds = busy.first_request_s()
                if number >= 0:
                    of.append(seconds)
    alone, bridged = took.values()
    with figures.judged():
        figures.at_most(
            "first request of a run later because of us",
            max(on - off for on, off in zip(bridged, alone, strict=True)),
            0.5,
            " s",
            f"worst {max(bridged):.2f} s, without {max(alone):.2f} s",
        )
