"""A real Locust process under the load of `locustfiles/busy.py`, alone or with the bridge and all its outputs.

The outputs are `/metrics` with two scrapers, text and protobuf, once a second each; OTLP to a sink; an SLO file of four
objectives; a run record. Sink and scrapers are processes of their own.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.backends.servers import free_port
from tests.bench import slo
from tests.bench.scraper import PROTOBUF, TEXT, scrape
from tests.e2e.harness import Process, Stage
from tests.e2e.pages import wait_until
from tests.faults.bench import wait_for

HERE = Path(__file__).parent
MIB = 1024**2
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
"""Seconds of each measured run."""

USERS, WAIT_S = 200, 0.1
"""2,000 requests a second."""

CPU_S = 5
"""Seconds over which the CPU is measured: all periodic work happens in them."""

_ACCOUNT = re.compile(r"requests: Locust ([\d,]+) · recorded ([\d,]+) .*OTLP ([\d,]+|never)")


class Second(NamedTuple):
    """One second of a Locust process.

    Attributes:
        at_s: Its end on the monotonic clock.
        cpu_s: CPU seconds of the process so far.
        requests: Requests so far.
        held_s: The longest time in which a user waited while the process did something else.
        calm_s: The same outside full garbage collections.
        late_s: The longest time in which a user waited, with the time in which the process had no CPU.
        full_s: Seconds of each full garbage collection.
    """

    at_s: float
    cpu_s: float
    requests: int
    held_s: float
    calm_s: float
    late_s: float
    full_s: list[float]


class Scraped(NamedTuple):
    """A scrape: its seconds, and its bytes as sent."""

    seconds: float
    sent: int


class Look(NamedTuple):
    """Both processes at one moment: memory in MiB, open files, CPU seconds; 0 where there is no exporter."""

    at_s: float
    rss: float
    files: int
    exporter_rss: float
    exporter_cpu_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of some seconds of a process.

    Attributes:
        seconds: The measured seconds.
        looks: Memory, files and CPU at the end of each second.
        scrapes: Scrapes by format.
        text: The last page.
        push_bytes: Bytes of the largest push.
        is_whole: Whether the last push, which has two seconds, has arrived.
        collection_s: Seconds of a full garbage collection at the end.
    """

    seconds: list[Second]
    looks: list[Look]
    scrapes: dict[str, list[Scraped]]
    text: bytes
    push_bytes: int
    is_whole: bool
    collection_s: float

    @property
    def cpu(self) -> list[float]:
        """CPU of the requests of one second, as a share of a core, for each few seconds."""
        marks = self.seconds[:: min(CPU_S, max(len(self.seconds) - 1, 1))]
        return [
            (after.cpu_s - before.cpu_s) / (after.requests - before.requests) * USERS / WAIT_S
            for before, after in pairwise(marks)
        ]

    @property
    def per_second(self) -> float:
        """Requests a second."""
        first, last = self.seconds[0], self.seconds[-1]
        return (last.requests - first.requests) / (last.at_s - first.at_s)

    @property
    def exporter_cpu(self) -> float:
        """Share of a core."""
        first, last = self.looks[0], self.looks[-1]
        return (last.exporter_cpu_s - first.exporter_cpu_s) / (last.at_s - first.at_s)

    @property
    def full_s(self) -> list[float]:
        """Seconds of each full garbage collection."""
        return [took for second in self.seconds for took in second.full_s]


class Busy:
    """A busy Locust process.

    Args:
        stage: Stage of its processes.
        protocol: `http` or `grpc`, the protocol of pushes; empty for Locust without the bridge.
        series: Request series.
        users: Simulated users.
        wait_s: Seconds that each of them waits between two tasks.
        batch: Requests of a task.
        scraped: Whether there are scrapers.
        forgets: Whether Locust's counts of each second, which grow with a run, are cut back.
        flags: Further flags of Locust.
    """

    def __init__(
        self,
        stage: Stage,
        protocol: str = "",
        *,
        series: int = 1_000,
        users: int = USERS,
        wait_s: float = WAIT_S,
        batch: int = 1,
        scraped: bool = True,
        forgets: bool = False,
        flags: tuple[str, ...] = (),
    ) -> None:
        self._file = stage.folder / "figures.jsonl"
        port, sink_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}/metrics" if protocol else ""
        env = {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parents[1]), os.environ.get("PYTHONPATH")))),
            "PYTHONHASHSEED": "0",
            "BRIDGED": protocol,
            "SERIES": str(series),
            "USERS": str(users),
            "WAIT_S": str(wait_s),
            "BATCH": str(batch),
            "FIGURES": str(self._file),
            **({"FORGET": "1"} if forgets else {}),
        }
        self._sink: Process | None = None
        self._scrapers: dict[str, Process] = {}
        if protocol:
            self._sink = stage.start("python", HERE / "sink.py", protocol, str(sink_port), name="sink")
            wait_for(sink_port)
            flags += (
                *("--prometheus-port", str(port), "--prometheus-linger", "off", "--max-request-names", str(series)),
                *("--otlp-endpoint", f"http://127.0.0.1:{sink_port}"),
                *("--otlp-protocol", "grpc" if protocol == "grpc" else "http/protobuf"),
                *("--slo", str(slo.write(stage.folder)), "--run-record", str(stage.folder / "records")),
            )
            if scraped:
                self._scrapers = {
                    name: stage.start("python", HERE / "scraper.py", self.url, accept, name=name)
                    for name, accept in (("text", TEXT), ("protobuf", PROTOBUF))
                }
        self.is_whole = False
        self.started_s = time.monotonic()
        self.locust = stage.start(
            *("locust", "-f", HERE / "locustfiles" / "busy.py", "--headless", "--only-summary"),
            *("-u", str(users + 1), "-r", "100000", *flags),
            name="locust",
            env=env,
        )
        self._process = psutil.Process(self.locust.pid)
        self._records = stage.folder / "records"

    @property
    def lines(self) -> list[str]:
        """Complete lines of its figures."""
        text = self._file.read_text() if self._file.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    @property
    def seconds(self) -> list[Second]:
        """Its seconds so far."""
        return [Second(*json.loads(line)) for line in self.lines if line.startswith("[")]

    def first_request_s(self) -> float:
        """Return the seconds from its start to its first request."""
        wait_until(lambda: self.lines or not self.locust.is_alive, "a first request")
        assert self.lines, self.locust.log[-3000:]
        return float(self.lines[0]) - self.started_s

    def wait_for(self, requests: int) -> None:
        """Wait until it has made so many requests."""

        def has_made() -> bool:
            assert self.locust.is_alive, self.locust.log[-3000:]
            seconds = self.seconds
            return bool(seconds) and seconds[-1].requests >= requests

        wait_until(has_made, f"{requests:,} requests", 900)

    @property
    def exporter(self) -> psutil.Process | None:
        """The exporter beside it; None without one."""
        return next(iter(self._process.children()), None)

    @property
    def record_bytes(self) -> int:
        """Bytes of the run record so far."""
        return sum(path.stat().st_size for path in self._records.iterdir())

    def scrapes(self) -> dict[str, list[Scraped]]:
        """Return the scrapes so far, by format."""
        return {
            name: [Scraped(float(seconds), int(sent)) for seconds, sent in map(str.split, _lines(scraper.log))]
            for name, scraper in self._scrapers.items()
        }

    def look(self) -> Look:
        """Measure both processes now."""
        exporter, exporter_rss, exporter_cpu_s = self.exporter, 0.0, 0.0
        if exporter is not None:
            times = exporter.cpu_times()
            exporter_rss, exporter_cpu_s = exporter.memory_info().rss / MIB, times.user + times.system
        process = self._process
        return Look(time.monotonic(), process.memory_info().rss / MIB, process.num_fds(), exporter_rss, exporter_cpu_s)

    def measure(self, seconds: float = SECONDS) -> Measured:
        """Measure it for so many seconds from now on, and end it.

        Raises:
            AssertionError: Its counts differ from Locust's, or there was a traceback.
        """
        self.wait_for(1)
        began, looks, before = time.monotonic(), [self.look()], self.scrapes()
        while time.monotonic() < began + seconds:
            time.sleep(1)
            looks.append(self.look())
        measured = [second for second in self.seconds if began <= second.at_s]
        scrapes = {name: scrapes[len(before[name]) :] for name, scrapes in self.scrapes().items()}
        text = gzip.decompress(scrape(self.url, TEXT).body) if self.url else b""
        collection_s = self.end()
        lines = _lines(self._sink.log) if self._sink is not None else ()
        pushes = [int(line) for line in lines if line.isdigit()]  # without its lines about closed connections
        return Measured(measured, looks, scrapes, text, max(pushes, default=0), self.is_whole, collection_s)

    def end(self) -> float:
        """End it; return the seconds of a full garbage collection.

        Raises:
            AssertionError: The account of its requests is not complete.
        """
        self.locust.send(signal.SIGTERM)
        self.locust.wait()
        log = self.locust.log
        assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
        if self.url:
            account = _ACCOUNT.search(log)
            assert account is not None, log[-3000:]
            locust, recorded, pushed = account.groups()
            assert locust == recorded, account[0]
            self.is_whole = pushed == recorded
        return float([line for line in self.lines if not line.startswith("[")][-1])


def _lines(log: str) -> list[str]:
    return log[: log.rfind("\n") + 1].splitlines()


def play(folder: Path, protocol: str, series: int, seconds: float = SECONDS) -> Measured:
    """Measure some seconds of a Locust process."""
    folder.mkdir()
    with Stage(folder) as stage:
        return Busy(stage, protocol, series=series).measure(seconds)
