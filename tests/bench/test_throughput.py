"""How many requests a saturated Locust process gets done with the bridge on, against off, and with `locust --otel`.

Real requests of `FastHttpUser` without a pause against a server on this machine, which is quicker than Locust is. Each
round is a process of its own, and the contestants take turns. Rates are by the clock of `sidebyside`, which stands
still while another process has our CPU; the best round of each contestant is believed, of those in which Locust did not
wait for the server. By CPU the same is told: the requests for each second of CPU of the process, to which a slow server
does nothing, and a busy machine less.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import gevent
import pytest

from tests.backends.servers import free_port
from tests.bench.figures import Figures
from tests.bench.scraper import OPENMETRICS, scrape
from tests.bench.test_scrape import _sink

TOP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCUSTFILE = Path(__file__).parent / "locustfiles" / "saturated.py"
ROUNDS, ROUND_S = 8, 3.0
USERS = 20
SCRAPE_S = 2.0
BAR = 0.98
SATURATED = 0.9
"""Share of the time, in which it could, that the process must have worked for its rate to be believed."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a process got done.

    Attributes:
        per_second: Requests a second.
        per_cpu_second: Requests for each second of CPU.
        busy: Share of the time, less that in which another process had its CPU, in which it worked.
    """

    per_second: float
    per_cpu_second: float
    busy: float


@contextmanager
def _target() -> Iterator[str]:
    """Give the URL of a server that answers everything at once."""
    port = free_port()
    with subprocess.Popen([sys.executable, TOP / "tests" / "faults" / "target.py", str(port)]) as process:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the server does not come up"
                gevent.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def _scraping(port: int) -> None:
    """Scrape until killed."""
    while True:
        gevent.sleep(SCRAPE_S)
        try:
            scrape(f"http://127.0.0.1:{port}/metrics", OPENMETRICS)
        except OSError:  # it is not there yet, or not any more
            continue


def _round(command: list[str | Path], target: str, folder: Path, **environment: str) -> Round:
    """Play one round.

    Raises:
        AssertionError: Locust failed, or was not saturated.
    """
    told = folder / "told.json"
    told.unlink(missing_ok=True)
    options = ["--headless", "-u", str(USERS), "-r", str(USERS), "--only-summary", "--host", target]
    done = subprocess.run(
        [*command, *options, "-f", LOCUSTFILE],
        env={**os.environ, "PYTHONPATH": str(TOP), "TOLD": str(told), "ROUND_S": str(ROUND_S), **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    if "--otel" in command:
        assert "OpenTelemetry enabled" in done.stderr
    figures = json.loads(told.read_text())
    assert figures["failures"] == 0
    requests = figures["requests"]
    return Round(requests / figures["seconds"], requests / figures["cpu_s"], figures["cpu_s"] / figures["seconds"])


@pytest.mark.timeout(600)
def test_a_saturated_run_gets_as_much_done(figures: Figures, tmp_path: Path) -> None:
    """With the bridge on and scraped, a process that does all it can makes at least 98 % of the requests."""
    missing = [name for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http") if not find_spec(name)]
    port = free_port()
    bridged: list[str | Path] = [
        BIN / "locust-otel",
        "run",
        "--prometheus-port",
        str(port),
        "--prometheus-linger",
        "off",
    ]
    commands: dict[str, list[str | Path]] = {"off": [BIN / "locust"], "bridge": bridged}
    if not missing:
        commands["--otel"] = [BIN / "locust", "--otel"]
    rounds: dict[str, list[Round]] = {name: [] for name in commands}
    names = list(commands)
    with _target() as target, _sink() as sink:
        otel = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": str(int(SCRAPE_S * 1000)),
        }
        for _ in range(ROUNDS):
            for name in names:
                scraping = gevent.spawn(_scraping, port) if name == "bridge" else None
                rounds[name].append(_round(commands[name], target, tmp_path, **(otel if name == "--otel" else {})))
                if scraping is not None:
                    scraping.kill()
            names.append(names.pop(0))

    with figures.judged():
        _judge(figures, rounds, "bridge", "requests/s of a saturated FastHttpUser run, on over off")
        if missing:
            figures.skipped("  locust --otel over off", f"not installed: {', '.join(missing)}")
        else:
            _judge(figures, rounds, "--otel", "  locust --otel over off")


def _judge(figures: Figures, rounds: dict[str, list[Round]], name: str, what: str) -> None:
    """Add the figures of one contestant; only ours has a bar."""
    cpu = {name: max(each.per_cpu_second for each in of) for name, of in rounds.items()}
    pairs = [mine.per_cpu_second / off.per_cpu_second for mine, off in zip(rounds[name], rounds["off"], strict=True)]
    best = {
        name: max((each.per_second for each in of if each.busy >= SATURATED), default=None)
        for name, of in rounds.items()
    }
    mine, off = best[name], best["off"]
    note = (
        f"{cpu[name]:,.0f}, off {cpu['off']:,.0f}; pair by pair {min(pairs):.2f} to {max(pairs):.2f}, "
        f"median {median(pairs):.2f}"
    )
    if mine is None or off is None:
        busiest = max(each.busy for of in rounds.values() for each in of)
        figures.skipped(
            what, f"the machine was too busy: Locust waited for the server, and worked {busiest:.0%} at most"
        )
    elif name == "bridge":
        figures.at_least(what, mine / off, BAR, note=f"{mine:,.0f}/s, off {off:,.0f}/s")
    else:
        figures.told(what, mine / off, note=f"{mine:,.0f}/s; metrics only, Locust traces no FastHttpUser")
    if name == "bridge":
        figures.at_least("  by the process's CPU", cpu[name] / cpu["off"], BAR, note=note)
    else:
        figures.told("  by the process's CPU", cpu[name] / cpu["off"], note=note)
