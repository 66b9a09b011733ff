"""The process and a real Prometheus with rules from the same SLO file agree about each run."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.backends.servers import Prometheus, free_port
from tests.e2e.harness import BIN, CALM, Distributed, Outcome, Process, Scenario, Stage, Stages, WebUI, played
from tests.e2e.pages import wait_until
from tests.e2e.slo import CODES, tables, unless_late

pytestmark = pytest.mark.slow

SLO = """\
service: {service}
period: 60s
scrape_interval: 1s
warmup: {warmup}
min_requests: 30
objectives:
  availability: {{sli: success, target: 90%}}
  logins: {{sli: success, target: 95%, match: {{name: /api/login}}}}
  quick: {{sli: latency, target: 50%, within: 300ms}}
  mean: {{sli: mean, within: 2s}}
windows:
  - {{severity: critical, long: 8s, short: 4s, budget: 20%}}
  - {{severity: warning, long: 16s, short: 8s, budget: 30%}}
"""
WARMUP_S = 5
THRESHOLD_S = "0.3"
FEED_FAULT = "latency:added_s=0.4,route=/api/mobile/feed"
"""Makes a third of the requests of `calm.py` bad for `quick`: a burn rate of 2/3, far below each factor."""

USERS = 5
OF_RUN = "5m"
"""A window with all of a run: an instant query has no samples of a run that is over."""

AGREE = 2
"""Scrapes between the line in the log and the alert."""

PAIRS = {(name, severity) for name in ("availability", "logins") for severity in ("critical", "warning")}
"""Pairs of windows that burn when every login fails, which is a third of all requests."""

_BURNS = re.compile(r"^\[([^\]]+)\].*?: (\S+) spends its budget .* \((critical|warning) above", re.MULTILINE)


@pytest.fixture(scope="module")
def stages(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play the runs, all watched by one Prometheus with the rules of both files."""
    backend("prometheus")
    folder = tmp_path_factory.mktemp("rules")
    for service, warmup in (("shop", "0s"), ("late-shop", f"{WARMUP_S}s")):
        file = folder / f"{service}.yaml"
        file.write_text(SLO.format(service=service, warmup=warmup))
        subprocess.run([BIN / "locust-otel", "rules", file, "-o", folder / "rules"], check=True, capture_output=True)
    rules = sorted((folder / "rules").glob("*.yaml"))
    assert len(rules) == 3
    with Prometheus(rule_files=rules, slots=4 * len(SCENARIOS)) as prometheus:
        _where.update(folder=folder, prometheus=prometheus)
        yield from Stages(tmp_path_factory.mktemp, at_once=3).play(SCENARIOS)


_where: dict[str, Any] = {}
"""The folder of the SLO files, and the Prometheus of the module."""


@pytest.fixture
def prometheus(stages: Stages) -> Prometheus:
    """Give the Prometheus of the module."""
    server: Prometheus = _where["prometheus"]
    return server


class Run:
    """A run under way: shop, process and scraper.

    Args:
        start: Starts the process from its arguments.
    """

    def __init__(
        self,
        stage: Stage,
        start: Callable[[list[str]], Process],
        *more: str,
        service: str = "shop",
        fault: str = FEED_FAULT,
    ) -> None:
        self._stage = stage
        self.shop, port = stage.shop(fault), _where["prometheus"].take_slot()
        self.run_id = f"{stage.folder.name}-{time.monotonic_ns()}"
        self.process = start(
            [
                *("-f", str(CALM), "--host", self.shop.url, "-u", str(USERS), "-r", "100", "--stop-timeout", "2"),
                *("--slo", str(_where["folder"] / f"{service}.yaml"), "--prometheus-port", str(port)),
                *("--run-id", self.run_id, *more),
            ]
        )
        self.scraper = stage.scrape(port)

    def breach(self, name: str, run_id: str = "", **fault: Any) -> None:
        """Break the shop, and wait until the log and Prometheus have every pair that burns then."""
        self.shop.inject(name, **fault)
        run_id = run_id or self.run_id

        def is_complete() -> bool:
            return logged_burns(self.process.log).keys() >= PAIRS <= fired(_where["prometheus"], (run_id,)).keys()

        wait_until(is_complete, "all alerts")

    def end(self, *run_ids: str) -> Outcome:
        """Wait for the end, and return the outcome."""
        return self._stage.finished(self.process, self.scraper, run_ids=run_ids or (self.run_id,))


def _alone(stage: Stage) -> Callable[[list[str]], Process]:
    return lambda arguments: stage.run(*arguments)


def healthy(stage: Stage) -> Outcome:
    """One process, no failures."""
    return unless_late(lambda: Run(stage, _alone(stage), "--headless", "-t", "10s").end())


def _breaching(stage: Stage, start: Callable[[list[str]], Process]) -> Outcome:
    run = Run(stage, start, "--headless", "-t", "90s")
    run.scraper.wait_for(lambda page: page.by("locust_run_elapsed_seconds").get((), 0) > 8, "8 s")
    run.breach("errors", ratio=1)
    run.process.send(signal.SIGTERM)
    return run.end()


def breaching(stage: Stage) -> Outcome:
    """One process; in its middle everything begins to fail."""
    return unless_late(lambda: _breaching(stage, _alone(stage)))


def distributed(stage: Stage) -> Outcome:
    """A master and two workers; in its middle everything begins to fail."""
    return unless_late(lambda: _breaching(stage, lambda arguments: Distributed(stage, *arguments).master))


def web_ui(stage: Stage) -> Outcome:
    """Started, stopped, started again: the logins of the second run fail."""

    def play() -> Outcome:
        web = free_port()
        run = Run(stage, _alone(stage), "--web-host", "127.0.0.1", "--web-port", str(web))
        ui = WebUI(web)
        ids = (run.run_id, f"{run.run_id}-2")
        for number, current in enumerate(ids, 1):
            wanted = {current}
            ui.start(USERS)
            run.scraper.wait_for(lambda page: page.run_ids == wanted and page.requests > 120, current)  # noqa: B023
            if number == 2:
                run.breach("errors", current, ratio=1, route="/api/login")
            ui.stop()
            run.scraper.wait_for(lambda page: page.value("locust_run_active") == 0, "stopped")
            wait_until(lambda: run.process.log.count("requests: Locust") == number, "an account")  # noqa: B023
        run.process.send_to_group(signal.SIGINT)
        return run.end(*ids)

    return unless_late(play)


def late(stage: Stage) -> Outcome:
    """One process with a warm-up, in which everything fails, and after which nothing does."""

    def play() -> Outcome:
        run = Run(stage, _alone(stage), "--headless", "-t", "10s", service="late-shop", fault="errors:ratio=1")
        run.scraper.wait_for(lambda page: page.requests > 10, "failures")
        run.shop.clear_faults()
        return run.end()

    return unless_late(play)


SCENARIOS: tuple[Scenario, ...] = (breaching, distributed, web_ui, healthy, late)
ALL = played(*SCENARIOS)


def last(prometheus: Prometheus, metric: str, run_id: str, *labels: str, **matching: str) -> dict[Any, float]:
    """Return the highest values of a counter in a run, summed by labels."""
    matchers = ",".join(f'{key}="{value}"' for key, value in {"run_id": run_id, **matching}.items())
    by = f"sum by ({', '.join(labels)})"
    samples = prometheus.query(f"{by} (max_over_time({metric}{{{matchers}}}[{OF_RUN}]))")
    return {tuple(sample[label] for label in labels): value for sample, value in samples}


def verdict(prometheus: Prometheus, run_id: str) -> dict[str, str]:
    """Return the status of each objective, computed from the series in Prometheus alone."""

    def by_objective(metric: str) -> dict[str, float]:
        return {name: value for (name,), value in last(prometheus, metric, run_id, "slo").items()}

    events = last(prometheus, "locust_slo_events_total", run_id, "slo", "outcome")
    targets, least = by_objective("locust_slo_objective_ratio"), by_objective("locust_slo_min_requests")
    seconds, requests = by_objective("locust_slo_mean_seconds_total"), by_objective("locust_slo_mean_requests_total")
    bounds = by_objective("locust_slo_threshold_seconds")
    statuses = {}
    for name in least:
        if name in targets:
            total = events[name, "good"] + events[name, "bad"]
            missed = events[name, "bad"] > round(1 - targets[name], 9) * total
        else:
            total = requests[name]
            missed = total > 0 and seconds[name] / total > bounds[name]
        statuses[name] = "undecided" if total < least[name] else "missed" if missed else "met"
    return statuses


@ALL
def test_the_verdict_is_the_same(outcome: Outcome, prometheus: Prometheus) -> None:
    """The exported status, the table in the log and the exit code follow from the counters in Prometheus.

    An objective that is missed by its counts can be invalid, if the generator was late.
    """
    for run_id, table in zip(outcome.more["run_ids"], tables(outcome.log), strict=True):
        statuses = {name: row.status for name, row in table.items()}
        status = f'last_over_time(locust_slo_status{{run_id="{run_id}"}}[{OF_RUN}]) == 1'
        assert statuses == {labels["slo"]: labels["status"] for labels, _ in prometheus.query(status)}
        counted = verdict(prometheus, run_id)
        assert counted == {name: "missed" if was == "invalid" else was for name, was in statuses.items()}
        assert "invalid" not in statuses.values() or "generator saturated" in outcome.log
        events = last(prometheus, "locust_slo_events_total", run_id, "slo", "outcome")
        for name in ("availability", "logins", "quick"):
            good, bad = events[name, "good"], events[name, "bad"]
            assert (table[name].good, table[name].total) == (good, good + bad)
        ((_, requests),) = last(prometheus, "locust_slo_mean_requests_total", run_id, "slo").items()
        assert table["mean"].total == requests
        assert requests > 30
    assert outcome.code == next(code for status, code in CODES.items() if status in statuses.values())


@played(breaching, distributed, web_ui)
def test_failures_make_objectives_missed(outcome: Outcome, prometheus: Prometheus) -> None:
    """Both objectives on success are missed in the run with the failures."""
    statuses = verdict(prometheus, outcome.more["run_ids"][-1])
    assert statuses == {"availability": "missed", "logins": "missed", "quick": "met", "mean": "met"}


@played(healthy, breaching, distributed, web_ui)
def test_counters_are_those_of_the_requests(outcome: Outcome, prometheus: Prometheus) -> None:
    """Good, bad, seconds and requests are exactly the sums of the request counters and buckets."""
    for run_id in outcome.more["run_ids"]:
        events = last(prometheus, "locust_slo_events_total", run_id, "slo", "outcome")
        outcomes = last(prometheus, "locust_requests_total", run_id, "outcome")
        assert (events["availability", "good"], events["availability", "bad"]) == (
            outcomes["success",],
            outcomes["failure",],
        )
        logins = last(prometheus, "locust_requests_total", run_id, "outcome", name="/api/login")
        assert (events["logins", "good"], events["logins", "bad"]) == (logins["success",], logins["failure",])
        ((_, quick),) = last(prometheus, "locust_request_duration_seconds_bucket", run_id, le=THRESHOLD_S).items()
        ((_, measured),) = last(prometheus, "locust_request_duration_seconds_count", run_id).items()
        assert (events["quick", "good"], events["quick", "bad"]) == (quick, measured - quick)
        assert 0 < quick < measured
        ((_, sum_s),) = last(prometheus, "locust_request_duration_seconds_sum", run_id).items()
        assert last(prometheus, "locust_slo_mean_seconds_total", run_id) == {(): pytest.approx(sum_s, rel=1e-12)}
        assert last(prometheus, "locust_slo_mean_requests_total", run_id) == {(): measured}


def logged_burns(log: str) -> dict[tuple[str, str], float]:
    """Return the Unix time of the first line about each burning pair, by objective and severity."""
    burns: dict[tuple[str, str], float] = {}
    for when, name, severity in _BURNS.findall(log):
        if "Stopping the run" not in name:
            at = datetime.strptime(when.partition("]")[0], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
            burns.setdefault((name, severity), at)
    return burns


def fired(prometheus: Prometheus, run_ids: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """Return the Unix time at which each pair's alert began to fire, by objective and severity."""
    ids = "|".join(run_ids)
    query = f'ALERTS{{alertname="LocustSLOBudgetBurn",alertstate="firing",run_id=~"{ids}"}}[{OF_RUN}]'
    return {
        (series["metric"]["slo"], series["metric"]["severity"]): float(series["values"][0][0])
        for series in prometheus.api("query", query=query)["result"]
    }


@played(breaching, distributed, web_ui)
def test_burn_alerts_agree_within_two_scrapes(outcome: Outcome, prometheus: Prometheus) -> None:
    """For the same pairs, Prometheus scrapes at most twice between the line in the log and the alert."""
    run_ids = outcome.more["run_ids"]
    logged, alerts = logged_burns(outcome.log), fired(prometheus, run_ids)
    assert logged.keys() == alerts.keys() == PAIRS
    elapsed = f'locust_run_elapsed_seconds{{run_id="{run_ids[-1]}"}}[{OF_RUN}]'
    (series,) = prometheus.api("query", query=elapsed)["result"]
    scrapes = [float(at) for at, _ in series["values"]]
    between = {
        pair: sum(min(logged[pair], alerts[pair]) < at < max(logged[pair], alerts[pair]) for at in scrapes)
        for pair in PAIRS
    }
    print(f"{run_ids[0]}: scrapes between the line in the log and the alert: {between}")
    assert max(between.values()) <= AGREE, between


@played(healthy, late)
def test_without_a_burning_pair_there_is_no_alert(outcome: Outcome, prometheus: Prometheus) -> None:
    """If a third of the requests is bad for a target of 50 %, or all of them are in the warm-up, no alert fires."""
    assert logged_burns(outcome.log) == {}
    assert fired(prometheus, outcome.more["run_ids"]) == {}
    assert outcome.code == 0


@played(late)
def test_the_warm_up_is_left_out(outcome: Outcome, prometheus: Prometheus) -> None:
    """Failures are counted, none of them as bad, and fewer requests are judged than were made."""
    (run_id,) = outcome.more["run_ids"]
    events = last(prometheus, "locust_slo_events_total", run_id, "slo", "outcome")
    requests = last(prometheus, "locust_requests_total", run_id, "outcome")
    assert requests["failure",] >= 10
    assert events["availability", "bad"] == 0
    assert 30 <= events["availability", "good"] < requests["success",] + requests["failure",]


@ALL
def test_series_begin_at_zero(outcome: Outcome, prometheus: Prometheus) -> None:
    """Each objective has both outcomes on the first page of its run; with a warm-up both stay at 0 until it ends."""
    for run_id in outcome.more["run_ids"]:
        query = f'locust_slo_events_total{{run_id="{run_id}"}}[{OF_RUN}]'
        series = prometheus.api("query", query=query)["result"]
        assert {(line["metric"]["slo"], line["metric"]["outcome"]) for line in series} == {
            (name, result) for name in ("availability", "logins", "quick") for result in ("good", "bad")
        }
        elapsed = prometheus.api("query", query=f'locust_run_elapsed_seconds{{run_id="{run_id}"}}[{OF_RUN}]')["result"]
        times = {at: float(value) for at, value in elapsed[0]["values"]}
        for line in series:
            assert {at for at, _ in line["values"]} == set(times)
            if "late-shop" in outcome.log:
                early = {float(value) for at, value in line["values"] if times[at] < WARMUP_S}
                assert early == {0.0}
