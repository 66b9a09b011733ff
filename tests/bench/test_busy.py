"""Cost of the bridge with all outputs for Locust's process: CPU, delay, memory.

Every figure is of whole processes, the load without the bridge and with it in turn. The time in which a user is held up
is the worst of all minutes, full garbage collections included; CPU is the median over periods of five seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import pytest

from tests.bench.busy import SECONDS, Busy, Measured, play
from tests.bench.figures import Figures
from tests.e2e.harness import Stage

CPU_BARS = {100: 1, 1_000: 2, 10_000: 6}
HOLD_BAR_MS = 5
LOCUST_BAR_MIB, EXPORTER_BAR_MIB = 16, 96
ROUNDS = 2
PROTOCOLS = ("http", "grpc")


@pytest.mark.timeout(ROUNDS * 3 * (SECONDS + 90))
@pytest.mark.parametrize("series", CPU_BARS)
def test_users_do_not_feel_the_bridge(figures: Figures, tmp_path: Path, series: int) -> None:
    """At 2,000 requests a second our part is a small share of a core, and holds up no user for more than 5 ms."""
    runs: dict[str, list[Measured]] = {name: [] for name in ("", *PROTOCOLS)}
    for number in range(ROUNDS):
        for protocol, results in runs.items():
            results.append(play(tmp_path / f"{number}{protocol}", protocol, series))
    off = runs.pop("")

    with figures.judged():
        for protocol, on in runs.items():
            _judge_time(figures, series, protocol, on, off)
        _judge_memory(figures, series, list(runs.values()), off)
        every = [run for results in runs.values() for run in results]
        whole = sum(run.is_whole for run in every)
        figures.info("  runs whose last OTLP push, within 2 s, has arrived", whole, "", f"of {len(every)}")
        for name in every[0].scrapes:
            took = [scrape.seconds for run in every for scrape in run.scrapes[name]]
            figures.info(f"  longest scrape, {name}, one a second", max(took) * 1e3, " ms", f"of {len(took)}")


def _judge_time(figures: Figures, series: int, protocol: str, on: list[Measured], off: list[Measured]) -> None:
    with_, without = (median(share for run in side for share in run.cpu) * 100 for side in (on, off))
    pairs = [(median(a.cpu) - median(b.cpu)) * 100 for a, b in zip(on, off, strict=True)]
    where = f"{series:,} series, OTLP over {protocol}"
    figures.at_most(
        f"CPU of Locust's process that is ours, {where}",
        with_ - without,
        CPU_BARS[series],
        " %",
        f"{with_:.1f} %, without {without:.1f} %; pairs {', '.join(f'{pair:.1f} %' for pair in pairs)}; requests/s "
        f"{min(run.per_second for run in on):,.0f}, without {min(run.per_second for run in off):,.0f}",
    )
    held, held_off = (_longest_ms(side, lambda run: (second.held_s for second in run.seconds)) for side in (on, off))
    figures.at_most(
        f"  longest time that a user was held up, {where}",
        held,
        round(held_off + HOLD_BAR_MS, 1),
        " ms",
        f"without {held_off:.1f} ms; {_longest_ms(on, lambda run: (second.late_s for second in run.seconds)):.1f} ms "
        "with what Locust's process had no part in",
    )
    calm, calm_off = (_longest_ms(side, lambda run: (second.calm_s for second in run.seconds)) for side in (on, off))
    figures.at_most(
        f"  the same outside full garbage collections, {where}",
        calm,
        round(calm_off + HOLD_BAR_MS, 1),
        " ms",
        f"without {calm_off:.1f} ms",
    )
    full, full_off = (_longest_ms(side, lambda run: (*run.full_s, run.collection_s)) for side in (on, off))
    counts = [sum(len(run.full_s) for run in side) for side in (on, off)]
    figures.info("  longest full collection", full, " ms", f"{counts[0]}; without {full_off:.1f} ms, {counts[1]}")


def _judge_memory(figures: Figures, series: int, on: list[list[Measured]], off: list[Measured]) -> None:
    added = max(a.looks[-1].rss - b.looks[-1].rss for results in on for a, b in zip(results, off, strict=True))
    every = [run for results in on for run in results]
    exporter = max(look.exporter_rss for run in every for look in run.looks)
    note = f"without {max(run.looks[-1].rss for run in off):.0f} MiB"
    cpu = f"{max(run.exporter_cpu for run in every):.1%} of a core"
    if series == 1_000:
        figures.at_most("  memory of Locust's process that is ours, 1,000 series", added, LOCUST_BAR_MIB, " MiB", note)
        figures.at_most("  memory of the exporter, 1,000 series", exporter, EXPORTER_BAR_MIB, " MiB", cpu)
    else:
        figures.info("  memory of Locust's process that is ours", added, " MiB", note)
        figures.info("  memory of the exporter", exporter, " MiB", cpu)


def _longest_ms(runs: list[Measured], values: Callable[[Measured], Iterable[float]]) -> float:
    return max((value for run in runs for value in values(run)), default=0.0) * 1e3


@pytest.mark.parametrize("series", [1_000, 10_000])
def test_full_collections_are_shorter(figures: Figures, tmp_path: Path, series: int) -> None:
    """Print the time of a full garbage collection of Locust: alone, with the bridge, and without the freeze."""
    took: dict[str, list[float]] = {"without us": [], "with us": [], "with us, --no-gc-freeze": []}
    for number in range(ROUNDS):
        for name, times in took.items():
            folder = tmp_path / f"{number}{name}"
            folder.mkdir()
            flags = ("--no-gc-freeze",) if "freeze" in name else ()
            with Stage(folder) as stage:
                busy = Busy(stage, "" if "without" in name else "http", series=series, flags=flags)
                busy.wait_for(2 * series)
                times.append(busy.end() * 1e3)
    for name, times in took.items():
        figures.info(
            f"full collection of Locust, {series:,} series, {name}", max(times), " ms", f"best {min(times):.1f} ms"
        )
