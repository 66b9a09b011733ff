"""Verdicts while the generator is late: an objective that is met is never missed, and a missed one is never met.

Runs of 40 s, ten at a time; for 5 s of each, Locust's process is stopped for four fifths of the time, as if other
processes used all cores. `BENCH_RUNS=20` makes 20 of each kind.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.bench.figures import Figures
from tests.e2e.harness import CALM, Process, Stage

RUNS = int(os.environ.get("BENCH_RUNS", "4"))
AT_A_TIME = 10
SECONDS = 40
SLO = """
service: shop
period: 1m
min_requests: 20
scrape_interval: 1s
objectives:
  availability: {sli: success, target: 99%}
  latency: {sli: latency, target: 95%, within: 2s}
  mean: {sli: mean, within: 1s}
"""
KINDS = {"met": (), "slow": ("latency:added_s=2.2",), "failing": ("errors:ratio=0.05",)}


@pytest.mark.timeout(SECONDS * RUNS + 300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_late_generator_changes_no_verdict(figures: Figures, tmp_path: Path, kind: str) -> None:
    """Met objectives give 0 and a warning; missed ones 3 or 5, never 0."""
    logs: list[str] = []
    codes: list[int] = []
    with Stage(tmp_path) as stage:
        (tmp_path / "slo.yaml").write_text(SLO)
        shop = stage.shop(*KINDS[kind])
        while len(codes) < RUNS:
            several = [_start(stage, shop.url) for _ in range(min(AT_A_TIME, RUNS - len(codes)))]
            time.sleep(SECONDS / 2)
            _hold_up(several)
            codes += [process.wait(SECONDS + 60) for process in several]
            logs += [process.log for process in several]
    late = sum("generator saturated" in log for log in logs)
    note = f"exit codes {', '.join(f'{codes.count(code)} x {code}' for code in sorted(set(codes)))}; {late} were late"
    with figures.judged():
        if kind == "met":
            figures.at_most(f"of {RUNS} runs that met, not ended with 0", sum(map(bool, codes)), 0, "", note)
        else:
            figures.at_most(f"of {RUNS} {kind} runs, ended with 0", codes.count(0), 0, "", note)
    assert late == RUNS or kind != "met", logs[0][-3000:]


def _hold_up(processes: list[Process]) -> None:
    for _ in range(10):
        for number, seconds in ((signal.SIGSTOP, 0.4), (signal.SIGCONT, 0.1)):
            for process in processes:
                process.send(number)
            time.sleep(seconds)


def _start(stage: Stage, url: str) -> Process:
    return stage.run(
        *("-f", CALM, "--host", url, "-u", "2", "-r", "2", "-t", f"{SECONDS}s", "--headless"),
        *("--only-summary", "--slo", stage.folder / "slo.yaml", "--prometheus-port", "off"),
    )
