"""When the alerts other than the burn rate fire, and when not, with the rules of a run of half an hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from locust_otel.slo.rules import names
from tests.rules.scenarios import MEAN, OBJECTIVE, Run, Scenario

_NONE: list[dict[str, str]] = []
_CALM: Any = {"good": 100.0, "bad": 0.0}
_OTHER: Any = {"instance": "127.0.0.1:9647"}


def _links(alert: str, dashboard: str) -> dict[str, str]:
    return {"runbook_url": f"{names.RUNBOOKS}#{alert.lower()}", "dashboard_url": f"http://localhost:3000/d/{dashboard}"}


def _pushed(run: Run, minutes: int) -> Run:
    for _ in range(minutes):
        run.go(5, **_CALM).silent(55, marked=False)
    return run


class _Alert:
    """One alert, as scenarios need it."""

    def __init__(self, name: str, severity: str, labels: dict[str, str] | None = None) -> None:
        self.name = name
        self._labels = {"severity": severity, **(labels or {})}

    def of(self, run_id: str = "a") -> list[dict[str, str]]:
        """Return the labels of the alert of a run."""
        return [{"run_id": run_id, **self._labels}]

    def scenario(
        self,
        name: str,
        *runs: Run,
        fires: dict[int, list[dict[str, str]]],
        texts: Sequence[str] = (),
        dashboard: str = "",
    ) -> Scenario:
        """Return a scenario; `texts` are summary and description."""
        annotations = None
        if texts:
            annotations = {"summary": texts[0], "description": texts[1], **_links(self.name, dashboard)}
        return Scenario(name, self.name, runs, fires, annotations=annotations)

    def of_one(self, seconds: int, **changes: float) -> Scenario:
        """Return a scenario of two runs, of which only the second has these changes."""
        runs = (Run("a").go(seconds, **_CALM), Run("b", **_OTHER).go(seconds, **{**_CALM, **changes}))
        return self.scenario("of one run, not of the other", *runs, fires={seconds: self.of("b")})


def budget_burn_annotations() -> Iterator[Scenario]:
    """Yield a scenario with the texts of the alert on burn rates."""
    labels = {"run_id": "a", **OBJECTIVE, "severity": "critical", "sli": "success", "window": "2m"}
    labels["short_window"] = "30s"
    yield Scenario(
        "its texts",
        names.BUDGET_BURN,
        [Run(warmup_s=0).go(600, **_CALM).go(120, good=95, bad=5)],
        {720: [labels]},
        where={"severity": "critical"},
        annotations={
            "summary": "availability of webshop burns its error budget.",
            "description": "In run a the burn rate of availability is 5 over the last 2m. It is above the limit of 3 "
            "over the last 30s too. A burn rate of 3 spends 20 % of the budget for 30 min in 2m.",
            **_links(names.BUDGET_BURN, "locust-otel-slo?var-run_id=a&var-slo=availability"),
        },
    )


def budget_exhausted() -> Iterator[Scenario]:
    """Yield scenarios in which the whole budget of the period is spent, or not."""
    alert = _Alert(names.BUDGET_EXHAUSTED, "critical", {**OBJECTIVE, "sli": "success"})
    scenario = alert.scenario
    # 10 % of the requests bad burn at 10: the budget of 1800 s is gone after 180 s.
    yield scenario(
        "bad requests spend it",
        Run(warmup_s=0).go(400, good=90, bad=10),
        fires={150: _NONE, 175: _NONE, 190: alert.of(), 400: alert.of()},
    )
    yield scenario(
        "its texts",
        Run(warmup_s=0).go(380, good=90, bad=10),
        fires={370: alert.of()},  # 360 s and the warm-up of the file, 10 s
        texts=(
            "availability of webshop has spent its error budget.",
            "Run a has spent the error budget of availability for 30 min: -100% of it is left.",
        ),
        dashboard="locust-otel-slo?var-run_id=a&var-slo=availability",
    )
    yield scenario(
        "to the last request, at the end of the period",
        Run(warmup_s=0).go(1900, good=99, bad=1),
        fires={1800: _NONE, 1810: alert.of(), 1900: alert.of()},
    )
    yield scenario("half of it is spent", Run(warmup_s=0).go(1900, good=199, bad=1), fires={1810: _NONE, 1900: _NONE})
    yield scenario("no requests", Run().go(600), fires={300: _NONE, 600: _NONE})
    yield scenario(
        "too few requests",
        Run(warmup_s=0).go(1000, good=0, bad=99 / 1000).go(5, bad=0).go(5, bad=1 / 5).go(5, bad=0),
        fires={900: _NONE, 1000: _NONE, 1005: _NONE, 1015: alert.of()},
    )
    yield scenario(
        "requests of the warm-up are not in it",
        Run(warmup_s=60).go(60, good=0, bad=100).go(300, **_CALM),
        fires={60: _NONE, 65: _NONE, 360: _NONE},
    )
    yield scenario(
        "the end of the run",
        Run(warmup_s=0).go(400, good=90, bad=10).stop(100),
        fires={400: alert.of(), 425: alert.of(), 440: _NONE, 500: _NONE},
    )
    yield scenario(
        "the target vanishes",
        Run(warmup_s=0).go(400, good=90, bad=10).silent(100),
        fires={400: alert.of(), 440: _NONE, 500: _NONE},
    )
    yield scenario(
        "of one run, not of the other",
        Run("a", warmup_s=0).go(400, **_CALM),
        Run("b", warmup_s=0, **_OTHER).go(400, good=90, bad=10),
        fires={400: alert.of("b")},
    )


def mean_high() -> Iterator[Scenario]:
    """Yield scenarios in which requests take too long on average, or not."""
    alert = _Alert(names.MEAN_HIGH, "warning", {**MEAN, "sli": "mean"})
    scenario = alert.scenario
    yield scenario(
        "slow in both windows",
        Run(warmup_s=0).go(300, **_CALM).go(120, mean=0.75),
        fires={300: _NONE, 420: alert.of()},
        texts=(
            "The mean response time of webshop is too high.",
            "Requests of run a took 750ms on average over the last 2m. That is longer than latency-mean allows, and so "
            "is the average over the last 30s.",
        ),
        dashboard="locust-otel-slo?var-run_id=a&var-slo=latency-mean",
    )
    yield scenario("exactly the threshold", Run().go(300, mean=0.5, **_CALM), fires={60: _NONE, 300: _NONE})
    yield scenario("a little more", Run().go(300, mean=0.501, **_CALM), fires={300: alert.of()})
    yield scenario(
        "the threshold comes from its series", Run().go(300, mean=0.75, threshold=1, **_CALM), fires={300: _NONE}
    )
    yield scenario("no requests", Run().go(300), fires={300: _NONE})
    yield scenario(
        "too few requests",
        Run(warmup_s=0).go(5, good=99 / 5, mean=2).go(25, good=0).go(5, good=1 / 5).go(5, good=0),
        fires={30: _NONE, 35: alert.of()},
    )
    yield scenario(
        "only the short window", Run().go(300, **_CALM).go(30, mean=1), fires={315: _NONE, 325: _NONE, 330: _NONE}
    )
    yield scenario(
        "only the long window, so it has cleared",
        Run().go(300, **_CALM).go(60, mean=3).go(70, mean=0.1),
        fires={360: alert.of(), 430: _NONE},
    )
    yield scenario(
        "the end of the run",
        Run().go(300, mean=3, **_CALM).stop(100),
        fires={300: alert.of(), 325: alert.of(), 340: _NONE},
    )
    yield scenario("the target vanishes", Run().go(300, mean=3, **_CALM).silent(100), fires={340: _NONE, 400: _NONE})
    yield scenario(
        "means of two processes are not averaged",
        Run().go(300, good=198, mean=0.1),
        Run(**_OTHER).go(300, good=2, mean=3),
        fires={300: _NONE},
    )
    yield alert.of_one(300, mean=3)


def no_data() -> Iterator[Scenario]:
    """Yield scenarios with users whose requests are not judged, or with none."""
    both = _Alert(names.NO_DATA, "warning", OBJECTIVE).of() + _Alert(names.NO_DATA, "warning", MEAN).of()
    alert = _Alert(names.NO_DATA, "warning", OBJECTIVE)
    scenario = alert.scenario
    # 130 s: the warm-up of 10 s, and the long window.
    yield scenario("from the start", Run().go(300), fires={60: _NONE, 130: _NONE, 135: both, 300: both})
    yield scenario(
        "its texts",
        Run().go(300),
        fires={300: both},
        texts=(
            "No request is judged for {slo} of webshop.",
            "Run a has users, but {slo} has judged none of their requests for 2m.",
        ),
        dashboard="locust-otel-slo?var-run_id=a&var-slo={slo}",
    )
    yield scenario("after a while", Run().go(300, **_CALM).go(150, good=0), fires={410: _NONE, 430: both, 450: both})
    yield scenario("one request a minute", Run().go(600, good=1 / 60), fires={300: _NONE, 600: _NONE})
    yield scenario("no users", Run().go(600, users=0, users_target=0), fires={300: _NONE, 600: _NONE})
    yield scenario("the end of the run", Run().go(300, **_CALM).stop(300), fires={400: _NONE, 450: _NONE, 600: _NONE})
    yield scenario(
        "stopped, though users linger", Run().go(300, **_CALM).go(300, good=0, active=0), fires={450: _NONE, 600: _NONE}
    )
    yield scenario(
        "a long warm-up is not over for some seconds",
        Run(warmup_s=10).go(10, **_CALM).go(130, good=50),
        fires={130: _NONE, 140: _NONE},
    )
    yield scenario("the target vanishes", Run().go(200).silent(300), fires={200: both, 205: _NONE, 300: _NONE})
    yield scenario(
        "of one run, not of the other", Run("a").go(300, **_CALM), Run("b", **_OTHER).go(300), fires={
            300: [{**labels, "run_id": "b"} for labels in both]
        }
    )  # fmt: skip
    yield scenario(
        "the second run in one process has just begun",
        Run("a").go(300, **_CALM).stop(5).silent(300),
        Run("a-2", start_s=310).go(100),
        fires={320: _NONE, 410: _NONE},
    )


def slow_requests() -> Iterator[Scenario]:
    """Yield scenarios in which more than one request in a hundred is slow, or not."""
    alert = _Alert(names.SLOW_REQUESTS, "warning")
    scenario = alert.scenario
    yield scenario(
        "two of a hundred",
        Run().go(300, slow=2, **_CALM),
        fires={300: alert.of()},
        texts=(
            "Requests of run a are slow.",
            "2% of the requests in the last 2m took longer than --slow-request. Locust's log lists some of them.",
        ),
        dashboard="locust-otel-live?var-run_id=a",
    )
    yield scenario("one of a hundred", Run().go(300, slow=1, **_CALM), fires={100: _NONE, 300: _NONE})
    yield scenario("none", Run().go(300, **_CALM), fires={300: _NONE})
    yield scenario("no requests", Run().go(300), fires={300: _NONE})
    yield scenario("few requests", Run().go(300, good=0.8, slow=0.4), fires={300: _NONE})
    yield scenario("a hundred requests are enough", Run().go(300, good=100 / 120, slow=0.4), fires={300: alert.of()})
    yield scenario(
        "it is over", Run().go(300, slow=2, **_CALM).go(300, slow=0), fires={300: alert.of(), 460: _NONE, 600: _NONE}
    )
    yield scenario(
        "the end of the run", Run().go(300, slow=2, **_CALM).stop(100), fires={320: alert.of(), 340: _NONE, 400: _NONE}
    )
    yield scenario("the target vanishes", Run().go(300, slow=2, **_CALM).silent(100), fires={340: _NONE, 400: _NONE})
    yield scenario(
        "ratios of two processes are not averaged",
        Run().go(300, good=1000),
        Run(**_OTHER).go(300, good=1, slow=1),
        fires={300: _NONE},
    )
    yield alert.of_one(300, slow=5)


def failures_spike() -> Iterator[Scenario]:
    """Yield scenarios in which requests begin to fail, or not."""
    alert = _Alert(names.FAILURES_SPIKE, "warning")
    scenario = alert.scenario
    yield scenario(
        "after ten calm minutes",
        Run().go(600, **_CALM).go(60, good=50, bad=50),
        fires={600: _NONE, 630: alert.of(), 660: alert.of()},
    )
    yield scenario(
        "its texts",
        Run().go(5, good=50, bad=50).go(595, **_CALM).go(120, good=50, bad=50),
        fires={720: alert.of()},
        texts=(
            "Requests of run a have begun to fail.",
            "50% of the requests failed in the last 1m, more than 5 times the share in the 10m before.",
        ),
        dashboard="locust-otel-live?var-run_id=a",
    )
    yield scenario("from the start", Run().go(60, good=50, bad=50), fires={30: alert.of(), 60: alert.of()})
    yield scenario(
        "as often as ever", Run().go(900, good=90, bad=10), fires={300: _NONE, 600: _NONE, 660: _NONE, 900: _NONE}
    )
    yield scenario(
        "four times as often as ever", Run().go(600, good=98, bad=2).go(60, good=92, bad=8), fires={660: _NONE}
    )
    yield scenario(
        "six times as often as ever", Run().go(600, good=98, bad=2).go(60, good=87, bad=13), fires={660: alert.of()}
    )
    yield scenario("five of a hundred", Run().go(600, **_CALM).go(120, good=95, bad=5), fires={660: _NONE, 720: _NONE})
    yield scenario("few failures", Run().go(600, good=0.1).go(60, good=0.1, bad=0.15), fires={655: _NONE, 660: _NONE})
    yield scenario("no requests", Run().go(600), fires={600: _NONE})
    yield scenario(
        "it is over",
        Run().go(600, **_CALM).go(60, good=50, bad=50).go(300, **_CALM),
        fires={660: alert.of(), 755: _NONE, 960: _NONE},
    )
    yield scenario(
        "the end of the run",
        Run().go(600, **_CALM).go(60, good=50, bad=50).stop(100),
        fires={685: alert.of(), 700: _NONE},
    )
    yield scenario(
        "the target vanishes",
        Run().go(600, **_CALM).go(60, good=50, bad=50).silent(100),
        fires={700: _NONE, 760: _NONE},
    )
    yield scenario(
        "ratios of two processes are not averaged",
        Run().go(600, **_CALM).go(60, good=1000),
        Run(**_OTHER).go(600, good=1).go(60, bad=1),
        fires={660: _NONE},
    )
    yield scenario(
        "of one run, not of the other",
        Run("a").go(660, **_CALM),
        Run("b", **_OTHER).go(600, **_CALM).go(60, good=50, bad=50),
        fires={660: alert.of("b")},
    )


def generator_saturated() -> Iterator[Scenario]:
    """Yield scenarios in which the load generator is too slow, or not."""
    alert = _Alert(names.GENERATOR_SATURATED, "warning")
    scenario = alert.scenario
    yield scenario(
        "not valid",
        Run().go(60, **_CALM).go(30, valid=0),
        fires={60: _NONE, 65: alert.of(), 90: alert.of()},
        texts=(
            "The load generator of run a is too slow.",
            "A process that generates load has no CPU left, or its event loop is late. The latencies that it measures "
            "are too long. Alertmanager suppresses alerts on latencies and means meanwhile, but no alerts on failures.",
        ),
        dashboard="locust-otel-generator?var-run_id=a",
    )
    yield scenario("valid", Run().go(300, **_CALM), fires={300: _NONE})
    yield scenario("no requests", Run().go(300), fires={300: _NONE})
    yield scenario(
        "kept up again: late measurements are still in the short window of a page",
        Run().go(60, valid=0, **_CALM).go(300, valid=1),
        fires={60: alert.of(), 90: alert.of(), 115: alert.of(), 130: _NONE, 360: _NONE},
    )
    yield scenario(
        "the end of the run", Run().go(60, valid=0).stop(200), fires={60: alert.of(), 130: _NONE, 260: _NONE}
    )
    yield scenario("the target vanishes", Run().go(60, valid=0).silent(200), fires={130: _NONE, 260: _NONE})
    yield alert.of_one(60, valid=0)
    yield scenario("one process of two", Run().go(60), Run(**_OTHER).go(60, valid=0), fires={60: alert.of()})
    yield scenario("workers missing, the others keep up", Run().go(60).go(60, missing=1), fires={90: _NONE, 120: _NONE})
    yield scenario("workers missing, and another is slow", Run().go(60, missing=1, valid=0), fires={60: alert.of()})


def worker_missing() -> Iterator[Scenario]:
    """Yield scenarios in which a worker no longer answers, or not."""
    alert = _Alert(names.WORKER_MISSING, "warning")
    scenario = alert.scenario
    yield scenario(
        "one of them, for 10 s",
        Run().go(60, **_CALM).go(60, missing=1),
        fires={60: _NONE, 65: _NONE, 70: _NONE, 75: alert.of(), 120: alert.of()},
        texts=(
            "Run a has lost workers.",
            "1 workers no longer answer the master. Their requests since the last report are not counted, and the load "
            "is smaller than planned.",
        ),
        dashboard="locust-otel-generator?var-run_id=a",
    )
    yield scenario(
        "late once", Run().go(60).go(5, missing=1).go(60, missing=0), fires={65: _NONE, 75: _NONE, 125: _NONE}
    )
    yield scenario("it leaves in good order", Run().go(60, users=10).go(60, users=5), fires={70: _NONE, 120: _NONE})
    yield scenario(
        "the end of the run", Run().go(60, missing=1).stop(60), fires={60: alert.of(), 65: _NONE, 120: _NONE}
    )
    yield scenario("the target vanishes", Run().go(60, missing=1).silent(60), fires={65: _NONE, 120: _NONE})
    yield scenario("it is back", Run().go(60, missing=1).go(60, missing=0), fires={60: alert.of(), 65: _NONE})
    yield alert.of_one(60, missing=2)


def users_below_target() -> Iterator[Scenario]:
    """Yield scenarios with fewer users than the target, or not."""
    alert = _Alert(names.USERS_BELOW_TARGET, "warning")
    scenario = alert.scenario
    yield scenario(
        "four of five, for 30 s",
        Run().go(60).go(60, users=8),
        fires={60: _NONE, 65: _NONE, 90: _NONE, 95: alert.of(), 120: alert.of()},
        texts=(
            "Run a has fewer users than its target.",
            "Only 80% of the target number of users are running, although spawning is over.",
        ),
        dashboard="locust-otel-live?var-run_id=a",
    )
    yield scenario("nine of ten", Run().go(120, users=9), fires={60: _NONE, 120: _NONE})
    yield scenario("they are being spawned", Run().go(300, running=0, users=3), fires={60: _NONE, 300: _NONE})
    yield scenario("the target is 0", Run().go(120, users=0, users_target=0), fires={120: _NONE})
    yield scenario(
        "a worker leaves and the others take over",
        Run().go(60).go(20, users=5).go(60, users=10),
        fires={80: _NONE, 95: _NONE, 140: _NONE},
    )
    yield scenario("the end of the run", Run().go(60, users=5).stop(60), fires={60: alert.of(), 65: _NONE, 120: _NONE})
    yield scenario(
        "stopped, without the last report of the runner",
        Run().go(60).go(60, active=0, users=0),
        fires={95: _NONE, 120: _NONE},
    )
    yield scenario("the target vanishes", Run().go(60, users=5).silent(60), fires={65: _NONE, 120: _NONE})
    yield scenario("they are back", Run().go(60, users=5).go(60, users=10), fires={60: alert.of(), 65: _NONE})
    yield scenario(
        "ratios of two processes are not averaged",
        Run().go(60, users=100, users_target=100),
        Run(**_OTHER).go(60, users=0, users_target=1),
        fires={60: _NONE},
    )
    yield alert.of_one(60, users=5)


def telemetry_absent() -> Iterator[Scenario]:
    """Yield scenarios in which a run sends no data before its end, or does."""
    alert = _Alert(names.TELEMETRY_ABSENT, "warning")
    scenario = alert.scenario
    yield scenario(
        "the process dies",
        Run().go(60, **_CALM).silent(400),
        fires={60: _NONE, 65: _NONE, 75: _NONE, 80: alert.of(), 300: alert.of()},
        texts=(
            "Run a no longer sends data.",
            "The run was active when its last sample came. The process has died, or it cannot be reached.",
        ),
        dashboard="locust-otel-live?var-run_id=a",
    )
    yield scenario("after a while it ends", Run().go(60, **_CALM).silent(1200), fires={1000: _NONE})
    yield scenario(
        "pushes stop: nothing marks the series as stale",
        Run().go(300, **_CALM).silent(700, marked=False),
        fires={300: _NONE, 315: _NONE, 480: alert.of(), 540: alert.of()},
    )
    yield scenario("pushes come once a minute", _pushed(Run(), 10), fires={300: _NONE, 355: _NONE, 595: _NONE})
    yield scenario("it is active", Run().go(300, **_CALM), fires={300: _NONE})
    yield scenario("two scrapes fail", Run().go(60).silent(10).go(60), fires={70: _NONE, 80: _NONE, 130: _NONE})
    yield scenario("it is back", Run().go(60).silent(60).go(60), fires={115: alert.of(), 125: _NONE, 180: _NONE})
    yield scenario("the end of the run", Run().go(60).stop(10).silent(400), fires={70: _NONE, 90: _NONE, 300: _NONE})
    yield scenario("no run was active", Run().go(60, active=0).silent(400), fires={90: _NONE, 300: _NONE})
    yield scenario(
        "stopped and started again between two scrapes",
        Run("a").go(60, **_CALM).silent(200),
        Run("a-2", start_s=65).go(195, **_CALM),
        fires={80: _NONE, 90: _NONE, 200: _NONE},
    )
    yield scenario(
        "of one run, not of the other",
        Run("a").go(300, **_CALM),
        Run("b", **_OTHER).go(60).silent(240),
        fires={100: alert.of("b")},
    )
    yield scenario(
        "one of two jobs loses it",
        Run().go(300, **_CALM),
        Run(job="again").go(60).silent(240),
        fires={100: _NONE, 300: _NONE},
    )


def export_failing() -> Iterator[Scenario]:
    """Yield scenarios in which all exports fail, or not."""
    labels = {"exporter": "otlp", "job": "locust", "instance": "127.0.0.1:9646", "severity": "warning"}
    alert, fires = _Alert(names.EXPORT_FAILING, "warning"), [labels]
    scenario = alert.scenario
    yield scenario(
        "the collector is dead",
        Run().go(300, exported=0.2).go(120, exported=0, unexported=0.1),
        fires={300: _NONE, 330: _NONE, 420: fires},
        texts=(
            "Exports of 127.0.0.1:9646 by otlp fail.",
            "12 exports failed in the last 2m, and none succeeded in the last 1m.",
        ),
        dashboard="locust-otel-generator",
    )
    yield scenario("it was never there", Run().go(120, unexported=0.2), fires={10: _NONE, 60: fires, 120: fires})
    yield scenario("all get through", Run().go(300, exported=0.2), fires={300: _NONE})
    yield scenario("some do", Run().go(300, exported=0.2, unexported=0.2), fires={120: _NONE, 300: _NONE})
    yield scenario("there are no exports", Run().go(300), fires={300: _NONE})
    yield scenario(
        "one failed a minute before the end",
        Run().go(300, exported=0.2).go(5, exported=0, unexported=0.2).go(5, exported=0.2, unexported=0).silent(300),
        fires={310: _NONE, 370: _NONE, 400: _NONE, 420: _NONE, 440: _NONE},
    )
    yield scenario(
        "for some seconds",
        Run().go(300, exported=0.2).go(60, exported=0, unexported=0.2).go(60, exported=0.2, unexported=0),
        fires={360: _NONE, 420: _NONE},
    )
    yield scenario(
        "it is back",
        Run().go(300, unexported=0.2).go(60, exported=0.2, unexported=0),
        fires={300: fires, 310: _NONE, 360: _NONE},
    )
    yield scenario(
        "of one process, not of the other",
        Run(**_OTHER).go(300, exported=0.2),
        Run().go(300, unexported=0.2),
        fires={300: fires},
    )


def series_folded() -> Iterator[Scenario]:
    """Yield scenarios in which requests are counted under _OTHER, or not."""
    labels = {"job": "locust", "instance": "127.0.0.1:9646", "severity": "info"}
    alert, fires = _Alert(names.SERIES_FOLDED, "info"), [labels]
    scenario = alert.scenario
    yield scenario(
        "some are",
        Run().go(60).go(60, folded=1),
        fires={60: _NONE, 65: fires, 120: fires},
        texts=(
            "Requests of 127.0.0.1:9646 are counted under the name _OTHER.",
            "60 requests have names beyond --max-request-names. If names contain ids, give `name=` to the client's "
            "calls. If not, raise the limit.",
        ),
        dashboard="locust-otel-generator",
    )
    yield scenario("none are", Run().go(300, **_CALM), fires={300: _NONE})
    yield scenario("the target vanishes", Run().go(60, folded=1).silent(60), fires={60: fires, 65: _NONE})
    yield scenario("of one process, not of the other", Run(**_OTHER).go(60), Run().go(60, folded=1), fires={60: fires})


def run_active() -> Iterator[Scenario]:
    """Yield scenarios in which a run is active, or not."""
    alert = _Alert(names.RUN_ACTIVE, "none")
    scenario = alert.scenario
    yield scenario(
        "it is active",
        Run().go(60),
        fires={0: alert.of(), 60: alert.of()},
        texts=("Load test a is running.", "Lets Alertmanager suppress pages during planned load."),
        dashboard="locust-otel-live?var-run_id=a",
    )
    yield scenario("the end of the run", Run().go(60).stop(60), fires={65: _NONE, 120: _NONE})
    yield scenario("the target vanishes", Run().go(60).silent(60), fires={65: _NONE})
    yield scenario("two of them", Run("a").go(60), Run("b", **_OTHER).go(60), fires={60: alert.of("a") + alert.of("b")})
    yield scenario("scraped by two jobs", Run().go(60), Run(job="again").go(60), fires={60: alert.of()})


ALL = (
    budget_burn_annotations, budget_exhausted, mean_high, no_data, slow_requests, failures_spike, generator_saturated,
    worker_missing, users_below_target, telemetry_absent, export_failing, series_folded, run_active
)  # fmt: skip
