"""The process and a real Prometheus, with rules from the same SLO file, say the same of each run."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from locust_otel.demo.shop import ShopProcess
from tests.backends.servers import Prometheus, free_port
from tests.e2e.harness import BIN, CALM, Distributed, Outcome, Process, Scenario, Stage, Stages, WebUI, played
from tests.e2e.pages import Scraper
from tests.e2e.slo import LOGIN_FAULT, tables, unless_saturated

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
"""Makes a third of the requests of `calm.py` bad for `quick`: a burn rate of 2/3, far from any factor."""

USERS = 5
OF_RUN = "5m"
"""A window in which all of a run is: of one that is over, an instant query would be empty."""

AGREE_S = 2.0
"""Two scrapes."""

_BURNS = re.compile(r"^\[([^\]]+)\].*?: (\S+) spends its budget .* \((critical|warning) above", re.MULTILINE)
_CODES = {"met": 0, "missed": 3, "undecided": 4}


@pytest.fixture(scope="module")
def stages(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play the runs, all watched by one Prometheus with the rules of both files."""
    import subprocess

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
"""Where the SLO files are, and the Prometheus of the module."""


@pytest.fixture
def outcome(request: pytest.FixtureRequest, stages: Stages) -> Outcome:
    """Give the outcome of the run that this test is about."""
    return stages.of(request.param)


@pytest.fixture
def prometheus(stages: Stages) -> Prometheus:
    """Give the Prometheus of the module."""
    found: Prometheus = _where["prometheus"]
    return found


def arguments(shop: ShopProcess, port: int, run_id: str, service: str = "shop") -> list[str]:
    """Return what all runs are started with."""
    return [
        *("-f", str(CALM), "--host", shop.url, "-u", str(USERS), "-r", "100", "--stop-timeout", "2"),
        *("--slo", str(_where["folder"] / f"{service}.yaml"), "--prometheus-port", str(port), "--run-id", run_id),
    ]


def ended(process: Process, scraper: Scraper, *run_ids: str) -> Outcome:
    """Wait for the end and gather what there is to see."""
    code = process.wait()
    scraper.wait_until_gone()
    return Outcome(code=code, log=process.log, metrics=scraper.last, more={"run_ids": run_ids})


def _id(stage: Stage) -> str:
    return f"{stage.folder.name}-{time.monotonic_ns()}"


def healthy(stage: Stage) -> Outcome:
    """One process, no failures."""

    def play() -> Outcome:
        shop, port, run_id = stage.shop(FEED_FAULT), _where["prometheus"].take_slot(), _id(stage)
        run = ["locust-otel", "run", *arguments(shop, port, run_id), "--headless", "-t", "10s"]
        return ended(stage.start(*run), stage.scrape(port), run_id)

    return unless_saturated(play)


def breaching(stage: Stage) -> Outcome:
    """One process; in its middle everything begins to fail."""

    def play() -> Outcome:
        shop, port, run_id = stage.shop(FEED_FAULT), _where["prometheus"].take_slot(), _id(stage)
        process = stage.start("locust-otel", "run", *arguments(shop, port, run_id), "--headless", "-t", "18s")
        scraper = stage.scrape(port)
        scraper.wait_for(lambda page: page.by("locust_run_elapsed_seconds").get((), 0) > 8, "8 s")
        shop.inject("errors", ratio=1)
        return ended(process, scraper, run_id)

    return unless_saturated(play)


def distributed(stage: Stage) -> Outcome:
    """A master and two workers; in its middle everything begins to fail."""

    def play() -> Outcome:
        shop, port, run_id = stage.shop(FEED_FAULT), _where["prometheus"].take_slot(), _id(stage)
        both = Distributed(stage, *arguments(shop, port, run_id), "--headless", "-t", "20s")
        scraper = stage.scrape(port)
        scraper.wait_for(lambda page: page.by("locust_run_elapsed_seconds").get((), 0) > 8, "8 s")
        shop.inject("errors", ratio=1)
        return ended(both.master, scraper, run_id)

    return unless_saturated(play)


def web_ui(stage: Stage) -> Outcome:
    """Started, stopped, started again: the logins of the second run fail."""

    def play() -> Outcome:
        shop, port, run_id = stage.shop(FEED_FAULT), _where["prometheus"].take_slot(), _id(stage)
        web = free_port()
        process = stage.start(
            *("locust-otel", "run", *arguments(shop, port, run_id)),
            *("--web-host", "127.0.0.1", "--web-port", str(web)),
        )
        scraper, ui = stage.scrape(port), WebUI(web)
        ids = (run_id, f"{run_id}-2")
        for number, current in enumerate(ids, 1):
            ui.start(USERS)
            wanted = {current}
            scraper.wait_for(lambda page: page.run_ids == wanted and page.requests > 120, current)  # noqa: B023
            ui.stop()
            scraper.wait_for(lambda page: page.value("locust_run_active") == 0, "stopped")
            process.wait_for_log(f"requests: Locust {scraper.last.requests:,}")
            assert process.log.count("requests: Locust") == number
            shop.inject(LOGIN_FAULT.partition(":")[0], ratio=1, route="/api/login")
        process.send_to_group(signal.SIGINT)
        return ended(process, scraper, *ids)

    return unless_saturated(play)


def late(stage: Stage) -> Outcome:
    """One process with a warm-up, in which everything fails, and after which nothing does."""

    def play() -> Outcome:
        shop, port, run_id = stage.shop("errors:ratio=1"), _where["prometheus"].take_slot(), _id(stage)
        process = stage.start(
            *("locust-otel", "run", *arguments(shop, port, run_id, "late-shop"), "--headless", "-t", "10s")
        )
        scraper = stage.scrape(port)
        scraper.wait_for(lambda page: page.requests > 10, "failures")
        shop.clear_faults()
        return ended(process, scraper, run_id)

    return unless_saturated(play)


SCENARIOS: tuple[Scenario, ...] = (breaching, distributed, web_ui, healthy, late)
ALL = played(*SCENARIOS)


def last(prometheus: Prometheus, metric: str, run_id: str, *labels: str, **matching: str) -> dict[Any, float]:
    """Return the highest values of a counter in a run, summed by labels."""
    matchers = ",".join(f'{key}="{value}"' for key, value in {"run_id": run_id, **matching}.items())
    by = f"sum by ({', '.join(labels)})"
    found = prometheus.query(f"{by} (max_over_time({metric}{{{matchers}}}[{OF_RUN}]))")
    return {tuple(sample[label] for label in labels): value for sample, value in found}


def verdict(prometheus: Prometheus, run_id: str) -> dict[str, str]:
    """Judge a run by what Prometheus has, and by nothing else."""

    def of(metric: str) -> dict[str, float]:
        return {name: value for (name,), value in last(prometheus, metric, run_id, "slo").items()}

    events = last(prometheus, "locust_slo_events_total", run_id, "slo", "outcome")
    targets, least = of("locust_slo_objective_ratio"), of("locust_slo_min_requests")
    seconds, requests = of("locust_slo_mean_seconds_total"), of("locust_slo_mean_requests_total")
    bounds = of("locust_slo_threshold_seconds")
    found = {}
    for name in least:
        if name in targets:
            total = events[name, "good"] + events[name, "bad"]
            missed = events[name, "bad"] > round(1 - targets[name], 9) * total
        else:
            total = requests[name]
            missed = total > 0 and seconds[name] / total > bounds[name]
        found[name] = "undecided" if total < least[name] else "missed" if missed else "met"
    return found


def code_of(statuses: dict[str, str]) -> int:
    """Return the exit code that these ask for."""
    codes = {_CODES[status] for status in statuses.values()}
    return 3 if 3 in codes else 4 if 4 in codes else 0


@ALL
def test_the_verdict_is_the_same(outcome: Outcome, prometheus: Prometheus) -> None:
    """From Prometheus alone follow the exported status, the table in the log and the exit code."""
    written = tables(outcome.log)
    assert len(written) == len(outcome.more["run_ids"])
    for run_id, table in zip(outcome.more["run_ids"], written, strict=True):
        found = verdict(prometheus, run_id)
        assert found == {name: row.status for name, row in table.items()}
        status = f'last_over_time(locust_slo_status{{run_id="{run_id}"}}[{OF_RUN}]) == 1'
        assert found == {labels["slo"]: labels["status"] for labels, _ in prometheus.query(status)}
        events = last(prometheus, "locust_slo_events_total", run_id, "slo", "outcome")
        for name in ("availability", "logins", "quick"):
            good, bad = events[name, "good"], events[name, "bad"]
            assert (table[name].good, table[name].total) == (good, good + bad)
        ((_, requests),) = last(prometheus, "locust_slo_mean_requests_total", run_id, "slo").items()
        assert table["mean"].total == requests
        assert requests > 30
    assert outcome.code == code_of(found), outcome.log[-2000:]


@played(breaching, distributed, web_ui)
def test_what_is_broken_is_missed(outcome: Outcome, prometheus: Prometheus) -> None:
    """The failures make both objectives on success missed, in the run that has them."""
    found = verdict(prometheus, outcome.more["run_ids"][-1])
    assert found == {"availability": "missed", "logins": "missed", "quick": "met", "mean": "met"}
    assert outcome.code == 3


@played(healthy, breaching, distributed, web_ui)
def test_counters_are_those_of_the_requests(outcome: Outcome, prometheus: Prometheus) -> None:
    """Good, bad, seconds and requests are, to the unit, what the request counters and buckets add up to."""
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


def logged_burns(log: str) -> dict[tuple[str, str], list[float]]:
    """Return when the log told that a pair burns, by objective and severity; Unix times."""
    found: dict[tuple[str, str], list[float]] = {}
    for when, name, severity in _BURNS.findall(log):
        if "Stopping the run" not in name:
            at = datetime.strptime(when.partition("]")[0], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
            found.setdefault((name, severity), []).append(at)
    return found


def fired(prometheus: Prometheus, run_ids: tuple[str, ...]) -> dict[tuple[str, str], list[float]]:
    """Return when each pair's alert began to fire, by objective and severity; the time of the evaluation."""
    ids = "|".join(run_ids)
    query = f'ALERTS{{alertname="LocustSLOBudgetBurn",alertstate="firing",run_id=~"{ids}"}}[{OF_RUN}]'
    found: dict[tuple[str, str], list[float]] = {}
    for series in prometheus.api("query", query=query)["result"]:
        key = (series["metric"]["slo"], series["metric"]["severity"])
        found.setdefault(key, []).append(float(series["values"][0][0]))
    return found


@played(breaching, distributed, web_ui)
def test_burn_alerts_agree_within_two_scrapes(outcome: Outcome, prometheus: Prometheus) -> None:
    """The line in the log and the alert in Prometheus come within two scrapes, for the same pairs."""
    logged, alerts = logged_burns(outcome.log), fired(prometheus, outcome.more["run_ids"])
    apart = {key: round(logged[key][0] - alerts[key][0], 2) for key in logged.keys() & alerts.keys()}
    print(f"{outcome.more['run_ids'][0]}: the log before (-) or after the alert, in seconds: {apart}")
    assert logged.keys() == alerts.keys()
    assert logged.keys() >= {("availability", "critical"), ("logins", "critical")}
    assert all(abs(seconds) <= AGREE_S for seconds in apart.values()), apart


@played(healthy, late)
def test_where_nothing_burns_neither_says_so(outcome: Outcome, prometheus: Prometheus) -> None:
    """A third of the requests bad for an objective of 50 %, or all of them before the end of the warm-up: no alert."""
    assert logged_burns(outcome.log) == {}
    assert fired(prometheus, outcome.more["run_ids"]) == {}
    assert outcome.code == 0


@played(late)
def test_the_warm_up_is_left_out(outcome: Outcome, prometheus: Prometheus) -> None:
    """Failures were counted, none of them is bad, and what is judged is less than all there was."""
    (run_id,) = outcome.more["run_ids"]
    events = last(prometheus, "locust_slo_events_total", run_id, "slo", "outcome")
    requests = last(prometheus, "locust_requests_total", run_id, "outcome")
    assert requests["failure",] >= 10
    assert events["availability", "bad"] == 0
    assert 30 <= events["availability", "good"] < requests["success",] + requests["failure",]


@ALL
def test_series_are_there_at_zero_from_the_start(outcome: Outcome, prometheus: Prometheus) -> None:
    """Each objective has both outcomes on the first page of its run; with a warm-up both stay at 0 until it ends."""
    for run_id in outcome.more["run_ids"]:
        query = f'locust_slo_events_total{{run_id="{run_id}"}}[{OF_RUN}]'
        series = prometheus.api("query", query=query)["result"]
        assert {(one["metric"]["slo"], one["metric"]["outcome"]) for one in series} == {
            (name, outcome_) for name in ("availability", "logins", "quick") for outcome_ in ("good", "bad")
        }
        elapsed = prometheus.api("query", query=f'locust_run_elapsed_seconds{{run_id="{run_id}"}}[{OF_RUN}]')["result"]
        times = {at: float(value) for at, value in elapsed[0]["values"]}
        for one in series:
            assert {at for at, _ in one["values"]} == set(times)
            if outcome.log.count("late-shop"):
                early = [float(value) for at, value in one["values"] if times[at] < WARMUP_S]
                assert early == [0.0] * len(early)
                assert len(early) >= 3
