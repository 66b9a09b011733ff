"""Requests that a saturated Locust process makes with the bridge, without it, and with `locust --otel`.

Real requests of `FastHttpUser` without a pause against a server on this machine, which is quicker than Locust. Each
round is a process of its own, and the contestants take turns; the figure is the median over the pairs of neighbours.
Rates are by the clock of `sidebyside`, which does not count the time in which another process has our CPU; a pair in
which Locust waited for the server is left out. The requests for each second of the process's CPU are printed too: a
slow server does not change them, and a busy machine hardly.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest

from tests.backends.servers import free_port
from tests.bench.figures import Figures
from tests.bench.scraper import OPENMETRICS
from tests.e2e.harness import Stage
from tests.faults.bench import wait_for

TOP = Path(__file__).parents[2]
HERE = Path(__file__).parent
ROUNDS, ROUND_S = 8, 3.0
USERS = 20
BAR = 0.99
SATURATED = 0.9
"""Least CPU of the process, as a share of the time in which it had a CPU, for a valid rate."""

METRICS = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


@dataclass(frozen=True, slots=True)
class Round:
    """Rates of a process.

    Attributes:
        per_second: Requests a second.
        per_cpu_second: Requests for each second of CPU.
        busy: CPU as a share of the time in which it had a CPU.
    """

    per_second: float
    per_cpu_second: float
    busy: float


def _round(folder: Path, name: str) -> Round:
    """Play one round.

    Raises:
        AssertionError: Locust failed.
    """
    folder.mkdir()
    file, target, sink, port = folder / "figures.json", free_port(), free_port(), free_port()
    with Stage(folder) as stage:
        stage.start("python", TOP / "tests" / "faults" / "target.py", str(target), name="target")
        env = {"PYTHONPATH": os.pathsep.join((str(TOP), os.environ.get("PYTHONPATH", ""))), "FIGURES": str(file)}
        command: list[str | Path] = ["locust"]
        if name == "bridge":
            command = ["locust-otel", "run", "--prometheus-port", str(port), "--prometheus-linger", "off"]
            stage.start("python", HERE / "scraper.py", f"http://127.0.0.1:{port}/metrics", OPENMETRICS, name="scraper")
        if name == "--otel":
            command = ["locust", "--otel"]
            stage.start("python", HERE / "sink.py", "http", str(sink), name="sink")
            env |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            }
        wait_for(target)
        options: list[str | Path] = ["--headless", "-u", str(USERS), "-r", str(USERS), "--only-summary"]
        locust = stage.start(
            *(*command, *options, "-f", HERE / "locustfiles" / "saturated.py", "--host", f"http://127.0.0.1:{target}"),
            name="locust",
            env=env | {"ROUND_S": str(ROUND_S)},
        )
        assert locust.wait() == 0, locust.log[-3000:]
        assert ("OpenTelemetry enabled" in locust.log) == (name == "--otel")
    figures = json.loads(file.read_text())
    assert figures["failures"] == 0
    requests = figures["requests"]
    return Round(requests / figures["seconds"], requests / figures["cpu_s"], figures["cpu_s"] / figures["seconds"])


@pytest.mark.timeout(600)
def test_a_saturated_run_gets_as_much_done(figures: Figures, tmp_path: Path) -> None:
    """With the bridge on and scraped, a saturated process makes at least 99 % of the requests."""
    missing = [name for name in METRICS if not find_spec(name)]
    rounds: dict[str, list[Round]] = {name: [] for name in ("off", "bridge", *([] if missing else ["--otel"]))}
    names = list(rounds)
    for number in range(ROUNDS):
        for name in names:
            rounds[name].append(_round(tmp_path / f"{number}{name}", name))
        names.append(names.pop(0))

    with figures.judged():
        _judge(figures, rounds, "bridge", "requests/s of a saturated FastHttpUser run, on over off")
        if missing:
            figures.skipped("  locust --otel over off", f"not installed: {', '.join(missing)}")
        else:
            _judge(figures, rounds, "--otel", "  locust --otel over off")


def _judge(figures: Figures, rounds: dict[str, list[Round]], name: str, what: str) -> None:
    """Add the figures of one contestant; only ours has a bar."""
    pairs = list(zip(rounds[name], rounds["off"], strict=True))
    saturated = [(on, off) for on, off in pairs if min(on.busy, off.busy) >= SATURATED]
    if saturated:
        ratios = [on.per_second / off.per_second for on, off in saturated]
        note = f"{len(saturated)} pairs, {_range(ratios)}; off {median(off.per_second for _, off in saturated):,.0f}/s"
        _add(figures, name, what, ratios, note)
    else:
        busiest = max(played.busy for side in rounds.values() for played in side)
        figures.skipped(what, f"too busy a machine: Locust waited for the server, and worked {busiest:.0%} at most")
    ratios = [on.per_cpu_second / off.per_cpu_second for on, off in pairs]
    note = f"pairs {_range(ratios)}; off {median(off.per_cpu_second for _, off in pairs):,.0f}"
    _add(figures, name, "  by the process's CPU", ratios, note)


def _add(figures: Figures, name: str, what: str, ratios: list[float], note: str) -> None:
    if name == "bridge":
        figures.at_least(what, median(ratios), BAR, note=note)
    else:
        figures.info(what, median(ratios), note=f"{note}; metrics only, Locust traces no FastHttpUser")


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"
