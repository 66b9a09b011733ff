"""When `LocustSLOBudgetBurn` fires, for any pair of windows of a shipped SLO file."""

from __future__ import annotations

from collections.abc import Iterator

from locust_otel.slo.objectives import Window, span
from locust_otel.slo.rules.names import BUDGET_BURN
from tests.rules.scenarios import OBJECTIVE, SLOS, Run, Scenario

_BUDGET = 0.01


class Pair:
    """A pair of windows, with numbers for tests.

    Attributes:
        limit: Share of bad requests at which the pair begins to burn.
    """

    def __init__(self, period: str, pair: Window) -> None:
        self.period = period
        self.long_s, self.short_s = int(pair.long_s), int(pair.short_s)
        # Just fine enough for the short window: windows of days have many samples.
        self.step_s = max(int(SLOS[period].scrape_interval_s), self.short_s // 6)
        self.limit = float(pair.factor(SLOS[period].period_s)) * _BUDGET
        windows = {"window": span(pair.long_s), "short_window": span(pair.short_s)}
        self.labels = {"severity": pair.severity, "sli": "success", **windows}

    def fired(self, run_id: str = "a") -> dict[str, str]:
        """Return the labels of the alert."""
        return {"run_id": run_id, **OBJECTIVE, **self.labels}

    def run(self, run_id: str = "a", **labels: str) -> Run:
        """Return a run that has just begun, without requests."""
        return Run(run_id, interval_s=self.step_s, warmup_s=0, **labels)  # type: ignore[arg-type]

    def scenario(self, name: str, *runs: Run, fires: dict[int, list[dict[str, str]]]) -> Scenario:
        """Return a scenario of this pair alone."""
        return Scenario(
            name,
            BUDGET_BURN,
            runs,
            fires,
            where={"window": self.labels["window"], "severity": self.labels["severity"]},
            period=self.period,
            interval_s=self.step_s,
        )


def mix(bad: float) -> dict[str, float]:
    """Return 200 requests per second, of which a share is bad."""
    return {"good": 200 * (1 - bad), "bad": 200 * bad}


def every_pair() -> Iterator[Pair]:
    """Yield all pairs of all periods."""
    for period, slo in SLOS.items():
        for window in slo.windows:
            yield Pair(period, window)


def of_pair(pair: Pair) -> Iterator[Scenario]:
    """Yield scenarios for each pair: it fires if both windows are above its factor, and only then."""
    calm, long_s, short_s, step_s = mix(0), pair.long_s, pair.short_s, pair.step_s
    burns, none = [pair.fired()], list[dict[str, str]]()
    over = 2 * long_s
    yield pair.scenario(
        "above its factor in both windows",
        pair.run().go(long_s, **calm).go(long_s, **mix(1.2 * pair.limit)),
        fires={long_s: none, over: burns},
    )
    yield pair.scenario(
        "exactly at its factor", pair.run().go(over, **mix(pair.limit)), fires={short_s: none, long_s: none, over: none}
    )
    yield pair.scenario(
        "a little above its factor from the start", pair.run().go(over, **mix(1.01 * pair.limit)), fires={over: burns}
    )
    yield pair.scenario(
        "only the short window burns",
        pair.run().go(over, **calm).go(short_s, **mix(1.5 * pair.limit)),
        fires={over + short_s: none},
    )
    # Long enough for the long window to burn after the short window and keep_firing_for have ended.
    ended = over + long_s // 2
    quiet = 2 * short_s + 2 * step_s
    yield pair.scenario(
        "only the long window burns, so it has cleared",
        pair.run().go(over, **calm).go(long_s // 2, **mix(6 * pair.limit)).go(quiet, **calm),
        fires={ended: burns, ended + short_s // 2: burns, ended + quiet: none},
    )


def of_the_page(pair: Pair) -> Iterator[Scenario]:
    """Yield the other scenarios, for the pair of 2 minutes and 30 seconds and the objective of 99 %."""
    calm, outage, none = mix(0), mix(1), list[dict[str, str]]()
    burns, run = [pair.fired()], pair.run
    yield pair.scenario("a run without requests", run().go(600), fires={5: none, 300: none, 600: none})
    yield pair.scenario("a run without failures", run().go(600, **calm), fires={300: none, 600: none})
    yield pair.scenario(
        "all requests fail in the warm-up and none afterwards",
        Run(warmup_s=60).go(60, **outage).go(120, **calm),
        fires={30: none, 60: none, 65: none, 90: none, 180: none},
    )
    yield pair.scenario(
        "an outage from the start fires as soon as there are enough requests",
        run().go(5, bad=99 / 5).go(25, bad=0).go(5, bad=1 / 5).go(5, bad=0),
        fires={10: none, 30: none, 35: burns},
    )
    yield pair.scenario(
        "the required number of requests comes from its series",
        run().go(30, **mix(0.5), min_requests=1_000_000).go(5, min_requests=100),
        fires={30: none, 35: burns},
    )
    yield pair.scenario(
        "the budget comes from its series, a smaller objective",
        run().go(300, **mix(0.2), objective=0.9),
        fires={300: none},
    )
    yield pair.scenario(
        "the budget comes from its series, a larger objective",
        run().go(300, **mix(0.005), objective=0.999),
        fires={300: burns},
    )
    yield pair.scenario(
        "the end of the run", run().go(300, **outage).stop(120), fires={300: burns, 320: burns, 340: none, 420: none}
    )
    yield pair.scenario(
        "the target vanishes", run().go(300, **outage).silent(300), fires={300: burns, 320: burns, 340: none, 600: none}
    )
    yield pair.scenario(
        "one scrape fails during an outage",
        run().go(300, **outage).silent(5).go(60, **outage),
        fires={300: burns, 305: burns, 310: burns, 365: burns},
    )
    yield pair.scenario(
        "another run burns",
        run("a").go(300, **calm),
        run("b", instance="127.0.0.1:9647").go(300, **outage),
        fires={300: [pair.fired("b")]},
    )
    yield pair.scenario(
        "stopped and started again: the second run has a budget of its own",
        run("a").go(300, **outage).stop(5).silent(300),
        Run("a-2", start_s=310, warmup_s=0).go(295, **calm),
        fires={300: burns, 345: none, 400: none, 600: none},
    )
    yield pair.scenario(
        "two processes are one run: ratios are not averaged",
        run().go(300, good=198, bad=2),
        run(instance="127.0.0.1:9647").go(300, bad=2),  # all of few; on average 50 %, together 2 %
        fires={300: none},
    )
    yield pair.scenario(
        "two processes are one run: the sum burns",
        run().go(300, good=96, bad=4),
        run(instance="127.0.0.1:9647").go(300, good=97, bad=3),
        fires={300: burns},
    )
    yield pair.scenario(
        "scraped by two jobs", run().go(300, **outage), run(job="again").go(300, **outage), fires={300: burns}
    )
    yield pair.scenario(
        "one job of two loses it",
        run().go(300, **outage).stop(60),
        run(job="again").go(300, **outage).silent(60),
        fires={300: burns, 360: none},
    )
    yield pair.scenario(
        "pushed, with labels of the sender",
        run(service_name="shop", telemetry_sdk_language="python").go(300, **outage),
        fires={300: burns},
    )
    yield pair.scenario(
        "the process begins again with the same run id",
        run().go(300, **calm).restart().go(300, **calm),
        fires={300: none, 305: none, 330: none, 600: none},
    )
    yield pair.scenario(
        "another service burns", run().go(300, **calm), run(service="other").go(300, **outage), fires={300: none}
    )
