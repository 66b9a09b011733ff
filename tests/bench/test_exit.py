"""Time from SIGTERM to the end of a run, with an SLO file, with an endpoint without scrapers, and without both."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.backends.servers import free_port
from tests.bench.figures import Figures
from tests.e2e.harness import CALM, Stage, load
from tests.e2e.slo import write_slo

ROUNDS = 3
BAR_S = 1.0


def test_the_end_is_not_delayed(figures: Figures, tmp_path: Path) -> None:
    """An SLO file, and an endpoint that was never scraped, delay the end by 1 s at most."""
    names = ("neither", "SLO file", "endpoint")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS):
        for name in names:
            folder = tmp_path / f"{number} {name}"
            folder.mkdir()
            with Stage(folder) as stage:
                flags = ["--slo", str(write_slo(folder))] if name == "SLO file" else []
                port = str(free_port()) if name == "endpoint" else "off"
                arguments = load(stage.shop().url, file=CALM, users=5, run_time="60s")
                process = stage.run(*arguments, "--prometheus-port", port, *flags)
                process.wait_for_log("All users spawned")
                time.sleep(2)
                sent = time.time()
                process.send(signal.SIGTERM)
                process.wait()
                seconds[name].append(process.ended - sent)
    neither, *others = (seconds[name] for name in names)
    with figures.judged():
        for name, times in zip(names[1:], others, strict=True):
            later = max(after - before for after, before in zip(times, neither, strict=True))
            figures.at_most(f"end of a run later with: {name}", later, BAR_S, " s", f"without {max(neither):.2f} s")
