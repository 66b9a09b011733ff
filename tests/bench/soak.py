"""Ten minutes, a million requests, a thousand series: `python -m tests.bench.soak [--minutes 10]`.

Two Locust processes fire the same synthetic events side by side, through Locust's event hook and from greenlets of its
users: one is Locust alone, the other has the bridge with everything on, an SLO file of four objectives and the run
record, and is scraped every five seconds. What the
bridge takes is the difference of the two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from statistics import mean, median
from typing import Any

import psutil

from tests.bench.scraper import OPENMETRICS, scrape

MIB = 1024**2
REQUESTS_A_MINUTE = 100_000
USERS = 100
LOOK_S, SCRAPE_S = 30.0, 5.0
FIRST_S = 60.0
"""Seconds after which it is judged whether anything grows: by then each series is there."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of both processes at one moment.

    Attributes:
        at_s: Seconds since the start.
        requests: Requests that Locust had counted.
        rss: Resident memory with the bridge, MiB.
        alone_rss: That of Locust alone, MiB.
        files: Open files with the bridge.
        alone_files: Those of Locust alone.
        greenlets: Living greenlets with the bridge.
        alone_greenlets: Those of Locust alone.
        scrape_s: Median duration of a scrape since the look before.
        scrape_worst_s: The longest.
        text_bytes: Of an exposition.
        gzip_bytes: Of it as it was sent.
        record_bytes: Of the run record on disk.
        cpu_s: CPU used so far with the bridge.
        alone_cpu_s: That of Locust alone.
    """

    at_s: float
    requests: int
    rss: float
    alone_rss: float
    files: int
    alone_files: int
    greenlets: int
    alone_greenlets: int
    scrape_s: float
    scrape_worst_s: float
    text_bytes: int
    gzip_bytes: int
    record_bytes: int
    cpu_s: float
    alone_cpu_s: float

    @property
    def added_rss(self) -> float:
        """Memory that the bridge takes, MiB."""
        return self.rss - self.alone_rss


@dataclass(frozen=True, slots=True)
class Trend:
    """How one figure went on after the first minute.

    Attributes:
        first: Mean of the first three looks.
        last: Mean of the last three.
        per_10_min: Slope of the straight line through all, by least squares.
        bar: What `per_10_min` must not exceed.
    """

    what: str
    unit: str
    first: float
    last: float
    per_10_min: float
    bar: float

    @property
    def is_flat(self) -> bool:
        """Whether it stays below the bar."""
        return self.per_10_min <= self.bar


class _Child:
    def __init__(self, what: str, users: int, total: int, seconds: float, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.soak_child", what, *map(str, (users, total, seconds, folder))],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.process = psutil.Process(self._process.pid)

    def url(self) -> str:
        return self._read()

    def ask(self, line: str = "look") -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._read())
        return told

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> dict[str, Any]:
        """Let it end; return its last words."""
        told = self.ask("end")
        self._process.wait(60)
        return told

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)


@dataclass(frozen=True, slots=True)
class Soak:
    """What was seen of a soak.

    Attributes:
        looks: One every half minute.
        scrapes: Scrapes that were tried.
        failed: Those that failed.
        requests: What Locust counted, what the bridge recorded.
    """

    users: int
    series: int
    looks: list[Look]
    scrapes: int
    failed: int
    requests: int
    recorded: int


def play(minutes: float, users: int = USERS, look_s: float = LOOK_S) -> Soak:
    """Play it; return what was seen.

    Raises:
        AssertionError: A request is missing somewhere.
    """
    total, seconds = int(REQUESTS_A_MINUTE * minutes), minutes * 60
    looks: list[Look] = []
    scrapes = failed = 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        bridged, alone = (_Child(what, users, total, seconds, Path(folder)) for what in ("bridged", "alone"))
        try:
            url = bridged.url()
            alone.url()
            began = time.monotonic() + 1
            durations: list[float] = []
            sizes = (0, 0)
            while (now := time.monotonic()) < began + seconds + SCRAPE_S:
                time.sleep(max(began + (scrapes + 1) * SCRAPE_S - now, 0))
                scrapes += 1
                started = time.perf_counter()
                try:
                    sizes = scrape(url, OPENMETRICS)
                    durations.append(time.perf_counter() - started)
                except (OSError, HTTPException) as error:  # on a machine that is far too busy for this
                    print(f"a scrape failed: {error!r}", file=sys.stderr)
                    failed += 1
                if scrapes % (look_s / SCRAPE_S) == 0 and durations:
                    looks.append(_look(bridged, alone, time.monotonic() - began, durations, sizes))
                    print(looks[-1], file=sys.stderr, flush=True)
                    durations.clear()
            told, told_alone = bridged.end(), alone.end()
        finally:
            bridged.stop()
            alone.stop()
    assert told["recorded"] == told["requests"] == told_alone["requests"] == total, (told, told_alone)
    assert told["unreconciled"] == told["errors"] == 0, told
    return Soak(users, told["series"], looks, scrapes, failed, told["requests"], told["recorded"])


def _look(bridged: _Child, alone: _Child, at_s: float, durations: list[float], sizes: tuple[int, int]) -> Look:
    memory = [child.process.memory_info().rss / MIB for child in (bridged, alone)]
    files = [child.process.num_fds() for child in (bridged, alone)]
    told, told_alone = bridged.ask(), alone.ask()
    return Look(
        at_s=round(at_s, 1),
        requests=told["requests"],
        rss=round(memory[0], 2),
        alone_rss=round(memory[1], 2),
        files=files[0],
        alone_files=files[1],
        greenlets=told["greenlets"],
        alone_greenlets=told_alone["greenlets"],
        scrape_s=round(median(durations), 4),
        scrape_worst_s=round(max(durations), 4),
        text_bytes=sizes[0],
        gzip_bytes=sizes[1],
        record_bytes=told["record_bytes"],
        cpu_s=round(told["cpu_s"], 3),
        alone_cpu_s=round(told_alone["cpu_s"], 3),
    )


def trends(looks: list[Look]) -> list[Trend]:
    """Return how each figure went on, and whether it is flat."""
    judged = [look for look in looks if look.at_s >= FIRST_S]

    def trend(what: str, unit: str, bar: float, of: Callable[[Look], float]) -> Trend:
        values = [of(look) for look in judged]
        slope = _slope([look.at_s for look in judged], values) * 600
        return Trend(what, unit, mean(values[:3]), mean(values[-3:]), slope, bar)

    first = judged[0]
    return [
        trend("memory that the bridge adds", "MiB", 2, lambda look: look.added_rss),
        trend("open files that it adds", "", 0.5, lambda look: look.files - look.alone_files),
        trend("greenlets that it adds", "", 0.5, lambda look: look.greenlets - look.alone_greenlets),
        trend("a scrape takes", "ms", 0.2 * first.scrape_s * 1e3, lambda look: look.scrape_s * 1e3),
        trend("bytes of a scrape", "kB", 0.1 * first.text_bytes / 1e3, lambda look: look.text_bytes / 1e3),
        trend("bytes of a scrape, gzip", "kB", 0.2 * first.gzip_bytes / 1e3, lambda look: look.gzip_bytes / 1e3),
    ]


def _slope(xs: list[float], ys: list[float]) -> float:
    """Return the slope of the straight line through these points, by least squares."""
    middle_x, middle_y = mean(xs), mean(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0


def main() -> int:
    """Play, print what was seen as JSON; return 1 where something is not flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    soak = play(parser.parse_args().minutes)
    print(json.dumps(asdict(soak), indent=1))
    growing = [trend for trend in trends(soak.looks) if not trend.is_flat]
    for trend in growing:
        print(f"{trend.what}: {trend.per_10_min:+.2f} {trend.unit} in ten minutes", file=sys.stderr)
    return bool(growing)


if __name__ == "__main__":
    sys.exit(main())
