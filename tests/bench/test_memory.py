"""How much memory the bridge takes, in processes of their own, and that it takes no more as the run goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from tests.bench.figures import Figures
from tests.bench.scraper import OPENMETRICS, TEXT, scrape

MIB = 1024**2
SCRAPES = 10
"""Scrapes in each format before each look."""

PAIRS = 2
"""Pairs of processes; what the allocator keeps for later differs, and the closest pair is believed."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process in MiB: resident, and what it shares with no other."""

    resident: float
    own: float


class Child:
    """A load test in a process of its own."""

    def __init__(self, what: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.memory_child", what],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def memory(self) -> Memory:
        """Wait until it is ready, scrape it where it can be, and return its memory."""
        url = _pipe(self._process.stdout).readline().rstrip("\n")
        if url:
            for accept in (TEXT, OPENMETRICS) * SCRAPES:
                assert scrape(url, accept).expanded > 0
        info = psutil.Process(self._process.pid).memory_full_info()
        return Memory(info.rss / MIB, info.uss / MIB)

    def go_on(self) -> None:
        """Let it go on."""
        stdin = _pipe(self._process.stdin)
        stdin.write("\n")
        stdin.flush()

    def stop(self) -> None:
        """Let it end."""
        self._process.communicate("\n" * 2, timeout=30)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def _child(what: str) -> Iterator[Child]:
    child = Child(what)
    yield child
    child.stop()


def test_memory_at_a_thousand_series(figures: Figures) -> None:
    """With 1,000 series, scraped in both formats, a process is at most 32 MiB larger than without."""
    pairs = []
    for _ in range(PAIRS):
        with _child("alone") as alone, _child("bridged") as bridged:
            pairs.append((alone.memory(), bridged.memory()))
    without, with_bridge = min(pairs, key=lambda pair: pair[1].resident - pair[0].resident)

    with figures.judged():
        figures.at_most(
            "memory at 1,000 series, above Locust alone",
            with_bridge.resident - without.resident,
            32,
            unit=" MiB",
            note=f"resident {with_bridge.resident:.0f} MiB, alone {without.resident:.0f} MiB; "
            f"unshared {with_bridge.own - without.own:.1f} MiB more",
        )


def test_memory_is_flat_over_a_million_requests(figures: Figures) -> None:
    """From the first 200,000 requests to the millionth a process grows by 2 MiB at most."""
    with _child("million") as child:
        warm = child.memory()
        child.go_on()
        late = child.memory()

    with figures.judged():
        figures.at_most(
            "memory from request 200,000 to 1,000,000",
            max(late.resident - warm.resident, late.own - warm.own),
            2,
            unit=" MiB",
            note=f"resident {warm.resident:.1f} MiB, then {late.resident:.1f} MiB",
        )
