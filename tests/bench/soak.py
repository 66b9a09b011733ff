"""Ten minutes, a million requests, a thousand series: `python -m tests.bench.soak [--minutes 10]`.

Two Locust processes make the same synthetic requests side by side: one is Locust alone, the other has the bridge with
everything on and is scraped every second. What the bridge takes of Locust's process is the difference of the two; the
exporter is a third process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from tests.bench.busy import Busy
from tests.e2e.harness import Stage

REQUESTS_PER_S = 1_700
USERS = 170
LOOK_S = 30.0
FIRST_S = 60.0
"""Seconds after which growth is judged: every series exists by then."""


@dataclass(frozen=True, slots=True)
class Look:
    """Figures of the three processes at one moment.

    Attributes:
        at_s: Seconds since the start.
        requests: Requests that Locust had counted with the bridge.
        rss: Resident memory of Locust's process with the bridge, MiB.
        alone_rss: That of Locust alone, MiB.
        exporter_rss: That of the exporter, MiB.
        files: Open files of Locust's process with the bridge.
        alone_files: Those of Locust alone.
        scrape_s: Median duration of a scrape since the look before.
        scrape_worst_s: The longest.
        gzip_bytes: Of a scrape as text, as it was sent.
        record_bytes: Of the run record on disk.
        cpu_s: CPU used so far with the bridge.
        alone_cpu_s: That of Locust alone.
        exporter_cpu_s: That of the exporter.
        held_s: The longest time since the look before in which a user was held up, with the bridge.
        alone_held_s: The same in Locust alone.
    """

    at_s: float
    requests: int
    rss: float
    alone_rss: float
    exporter_rss: float
    files: int
    alone_files: int
    scrape_s: float
    scrape_worst_s: float
    gzip_bytes: int
    record_bytes: int
    cpu_s: float
    alone_cpu_s: float
    exporter_cpu_s: float
    held_s: float
    alone_held_s: float

    @property
    def added_rss(self) -> float:
        """Memory that the bridge takes of Locust's process, MiB."""
        return self.rss - self.alone_rss


@dataclass(frozen=True, slots=True)
class Trend:
    """Course of one figure after the first minute.

    Attributes:
        first: Mean of the first three looks.
        last: Mean of the last three.
        per_10_min: Slope of the straight line through all, by least squares.
        bar: Limit of `per_10_min`.
    """

    what: str
    unit: str
    first: float
    last: float
    per_10_min: float
    bar: float

    @property
    def is_flat(self) -> bool:
        """True if the slope is not above the bar."""
        return self.per_10_min <= self.bar


@dataclass(frozen=True, slots=True)
class Soak:
    """Figures of a soak.

    Attributes:
        looks: Figures of every half minute.
    """

    users: int
    series: int
    looks: list[Look]


def play(minutes: float, users: int = USERS, look_s: float = LOOK_S, series: int = 1_000) -> Soak:
    """Play it and return its figures.

    Raises:
        AssertionError: A request is missing somewhere.
    """
    looks: list[Look] = []
    wait_s = users / REQUESTS_PER_S
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folders = [Path(name, what) for what in ("bridged", "alone")]
        for folder in folders:
            folder.mkdir()
        with Stage(folders[0]) as stage, Stage(folders[1]) as quiet:
            bridged = Busy(stage, "http", series=series, users=users, wait_s=wait_s, forgets=True)
            alone = Busy(quiet, series=series, users=users, wait_s=wait_s, forgets=True)
            for process in (bridged, alone):
                process.wait_for(1)
            began = time.monotonic()
            while time.monotonic() < began + minutes * 60:
                time.sleep(max(began + (len(looks) + 1) * look_s - time.monotonic(), 0))
                looks.append(_look(bridged, alone, began, look_s))
                print(looks[-1], file=sys.stderr, flush=True)
            bridged.end()
            alone.end()
    return Soak(users, series, looks)


def _look(bridged: Busy, alone: Busy, began: float, look_s: float) -> Look:
    look, look_alone = bridged.look(), alone.look()
    seconds, seconds_alone = (process.seconds[-int(look_s) :] for process in (bridged, alone))
    scrapes = bridged.scrapes()["text"][-int(look_s) :]
    return Look(
        at_s=round(time.monotonic() - began, 1),
        requests=seconds[-1].requests,
        rss=round(look.rss, 2),
        alone_rss=round(look_alone.rss, 2),
        exporter_rss=round(look.exporter_rss, 2),
        files=look.files,
        alone_files=look_alone.files,
        scrape_s=round(median(scrape.seconds for scrape in scrapes), 4),
        scrape_worst_s=round(max(scrape.seconds for scrape in scrapes), 4),
        gzip_bytes=scrapes[-1].sent,
        record_bytes=bridged.record_bytes,
        cpu_s=round(seconds[-1].cpu_s, 3),
        alone_cpu_s=round(seconds_alone[-1].cpu_s, 3),
        exporter_cpu_s=round(look.exporter_cpu_s, 2),
        held_s=round(max(second.held_s for second in seconds), 4),
        alone_held_s=round(max(second.held_s for second in seconds_alone), 4),
    )


def trends(looks: list[Look]) -> list[Trend]:
    """Return the course of each figure."""
    judged = [look for look in looks if look.at_s >= FIRST_S]

    def trend(what: str, unit: str, bar: float, figure: Callable[[Look], float]) -> Trend:
        values = [figure(look) for look in judged]
        slope = _slope([look.at_s for look in judged], values) * 600
        return Trend(what, unit, mean(values[:3]), mean(values[-3:]), slope, bar)

    first = judged[0]
    return [
        trend("memory that the bridge adds", "MiB", 2, lambda look: look.added_rss),
        trend("memory of the exporter", "MiB", 2, lambda look: look.exporter_rss),
        trend("open files that it adds", "", 0.5, lambda look: look.files - look.alone_files),
        trend("a scrape takes", "ms", 0.2 * first.scrape_s * 1e3, lambda look: look.scrape_s * 1e3),
        trend("bytes of a scrape, gzip", "kB", 0.2 * first.gzip_bytes / 1e3, lambda look: look.gzip_bytes / 1e3),
    ]


def _slope(xs: list[float], ys: list[float]) -> float:
    """Return the slope of the straight line through these points, by least squares."""
    middle_x, middle_y = mean(xs), mean(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0


def main() -> int:
    """Play, print the figures as JSON; return 1 if one is not flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    soak: Any = play(parser.parse_args().minutes)
    print(json.dumps(asdict(soak), indent=1))
    growing = [trend for trend in trends(soak.looks) if not trend.is_flat]
    for trend in growing:
        print(f"{trend.what}: {trend.per_10_min:+.2f} {trend.unit} in ten minutes", file=sys.stderr)
    return bool(growing)


if __name__ == "__main__":
    sys.exit(main())
