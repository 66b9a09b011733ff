"""From a fault in the shop to a message at a webhook, with the configurations that are shipped in `deploy/`.

Only ports and intervals are changed in them, and the runs are those of `locustfiles/`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pytest
import yaml

from locust_otel.demo.shop import ShopProcess
from tests.backends.servers import Alertmanager, Prometheus, free_port
from tests.e2e.harness import EXAMPLES, LOCUSTFILES, Outcome, Process, Scenario, Stage, Stages, played
from tests.e2e.pages import fetch
from tests.integration.webhook import Message, Webhook

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMISED_S = 15.0
"""Seconds from the moment the critical factor is passed until the message is there."""

BURN = "LocustSLOBudgetBurn"
SATURATED = "LocustGeneratorSaturated"
FACTOR, LONG_S, SHORT_S, MIN_REQUESTS, BUDGET = 3.0, 120, 30, 100, 0.01
"""What `locustfiles/slo.yaml` says of its critical pair, and of availability."""

_EVENTS = re.compile(r'^locust_slo_events_total\{.*slo="availability".*outcome="(good|bad)"\} (\S+)$', re.MULTILINE)


@pytest.fixture(scope="module")
def stages(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play all scenarios, three at a time: each mostly waits."""
    backend("prometheus")
    backend("alertmanager")
    yield from Stages(tmp_path_factory.mktemp, at_once=3).play(SCENARIOS)


@pytest.fixture
def outcome(request: pytest.FixtureRequest, stages: Stages) -> Outcome:
    """Give the outcome of the scenario that this test is about."""
    return stages.of(request.param)


def prometheus_config(folder: Path, port: int, alertmanager: str) -> str:
    """Return the shipped configuration with other ports, and scrapes and rules each second."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    (pattern,) = config["rule_files"]
    rules = list((DEPLOY / "prometheus").glob(pattern))
    assert len(rules) == 2
    for file in rules:
        content = yaml.safe_load(file.read_text())
        for group in content["groups"]:
            group["interval"] = "1s"
        (folder / file.name).write_text(yaml.safe_dump(content))
    config["rule_files"] = [str(folder / "locust*.yaml")]
    return yaml.safe_dump(config)


def alertmanager_config(url: str) -> str:
    """Return the shipped configuration with the port of this webhook."""
    text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    assert text.count("http://127.0.0.1:9095/") == 2
    return text.replace("http://127.0.0.1:9095/", f"{url}/")


class Poll(NamedTuple):
    """The counters of availability at one moment; Unix time."""

    at: float
    good: float
    bad: float


class Watched:
    """A run, what watches it, and its counters as they were each 0.2 s."""

    def __init__(self, process: Process, port: int, shop: ShopProcess, webhook: Webhook, servers: Servers) -> None:
        self.process = process
        self.shop = shop
        self.webhook = webhook
        self.servers = servers
        self.polls: list[Poll] = []
        self._url = f"http://127.0.0.1:{port}/metrics"

    def poll(self) -> None:
        """Read the counters again and again."""
        while True:
            try:
                counts = {outcome: float(value) for outcome, value in _EVENTS.findall(fetch(self._url))}
                self.polls.append(Poll(time.time(), counts["good"], counts["bad"]))
            except (OSError, KeyError):
                pass  # not there yet, or no run yet
            gevent.sleep(0.2)

    def wait_for_enough(self) -> None:
        """Return when the warm-up is over and so many requests are judged that an alert could be."""
        self.wait(lambda: self.polls and self.polls[-1].good + self.polls[-1].bad >= MIN_REQUESTS, "enough requests")

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = 120) -> None:
        """Return when the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.is_alive, self.process.log[-3000:]
            told = [(message.path, message.status, message.names) for message in self.webhook.messages]
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}; told: {told}"
            gevent.sleep(0.1)

    def passed_at(self) -> float:
        """Return when the run's own ratio was above the critical factor in both windows."""
        for i, now in enumerate(self.polls):
            if now.good + now.bad >= MIN_REQUESTS and all(
                self._ratio(now, self.polls[:i], length_s) > FACTOR * BUDGET for length_s in (LONG_S, SHORT_S)
            ):
                return now.at
        raise AssertionError("the factor was never passed")

    def _ratio(self, now: Poll, before: list[Poll], length_s: float) -> float:
        first = next((poll for poll in before if poll.at >= now.at - length_s), now)
        total = now.good + now.bad - first.good - first.bad
        return (now.bad - first.bad) / total if total else 0.0


class Servers(NamedTuple):
    """What watches a run."""

    prometheus: Prometheus
    alertmanager: Alertmanager


@contextmanager
def watched(stage: Stage, file: Path = EXAMPLES / "webshop.py", users: int = 60) -> Iterator[Watched]:
    """Run a locustfile against a shop with the example's SLO file, and have it watched as `deploy/` has it."""
    shop, port = stage.shop(), free_port()
    with (
        Webhook() as webhook,
        Alertmanager(config=alertmanager_config(webhook.url)) as alertmanager,
        Prometheus(config=prometheus_config(stage.folder, port, alertmanager.address)) as prometheus,
    ):
        process = stage.start(
            *("locust-otel", "run", "-f", file, "--host", shop.url, "--headless", "--only-summary"),
            *("-u", str(users), "-r", "20", "-t", "10m", "--slo", EXAMPLES / "slo.yaml"),
            *("--prometheus-port", str(port)),
            env={"TEST_BURN": "1"},
        )
        run = Watched(process, port, shop, webhook, Servers(prometheus, alertmanager))
        poller = gevent.spawn(run.poll)
        try:
            yield run
        finally:
            poller.kill()
            process.end()


def is_page(message: Message) -> bool:
    """Return whether somebody is paged for availability."""
    return message.path == "/pages" and message.status == "firing" and (BURN, "availability") in message.objectives


def paged(stage: Stage, fault: dict[str, Any], *, until_resolved: bool) -> Outcome:
    """Break the shop, wait for the message, and, where asked for, mend it and wait for the other."""
    with watched(stage) as run:
        run.wait_for_enough()
        run.shop.inject(**fault)
        run.wait(lambda: any(is_page(message) for message in run.webhook.messages), "a page")
        page = next(message for message in run.webhook.messages if is_page(message))
        seen = {"page": page, "passed": run.passed_at(), "failed": next(p.at for p in run.polls if p.bad)}
        if until_resolved:
            run.shop.clear_faults()
            seen["mended"] = time.time()

            def resolved() -> list[Message]:
                return [m for m in run.webhook.messages if m.resolves(BURN, "availability")]

            run.wait(resolved, "resolved", 150)
            seen["resolved"] = resolved()[0]
        return Outcome(log=run.process.log, more=seen)


def errors(stage: Stage) -> Outcome:
    """A tenth of the requests fail, and later none."""
    return paged(stage, {"name": "errors", "ratio": 0.1}, until_resolved=True)


def outage(stage: Stage) -> Outcome:
    """Every connection is closed without an answer."""
    return paged(stage, {"name": "refuse", "ratio": 1}, until_resolved=False)


def healthy(stage: Stage) -> Outcome:
    """Nothing happens, for longer than it takes to be told of what does."""
    with watched(stage) as run:
        run.wait_for_enough()
        gevent.sleep(3 * PROMISED_S)
        alerts = run.servers.prometheus.alerts()
        return Outcome(log=run.process.log, more={"messages": run.webhook.messages, "alerts": alerts})


def saturated(stage: Stage) -> Outcome:
    """Users burn CPU, and a third of the requests fail, after a long time."""
    with watched(stage, LOCUSTFILES / "blocking.py", users=1) as run:

        def burns() -> list[dict[str, Any]]:
            found = run.servers.alertmanager.alerts()
            return [one for one in found if one["labels"]["alertname"] == BURN]

        run.wait(lambda: {one["labels"]["sli"] for one in burns()} >= {"success", "latency"}, "both alerts")
        run.wait(lambda: any(SATURATED in message.names for message in run.webhook.messages), "a ticket")
        run.wait(lambda: any(BURN in message.names for message in run.webhook.messages), "a page")
        gevent.sleep(5)  # for what should not come
        return Outcome(log=run.process.log, more={"burns": burns(), "messages": run.webhook.messages})


SCENARIOS: tuple[Scenario, ...] = (errors, healthy, outage, saturated)


@pytest.mark.timeout(300)
@played(errors)
def test_a_fault_pages_in_time_and_its_end_is_told(outcome: Outcome) -> None:
    """The critical message comes within 15 s after the run's own ratio has passed the factor, and a resolved one."""
    page, delay_s = outcome.more["page"], outcome.more["page"].at - outcome.more["passed"]
    resolved_s = outcome.more["resolved"].at - outcome.more["mended"]
    print(f"errors: page {delay_s:.1f} s after the factor was passed; resolved {resolved_s:.1f} s after the end")
    assert 0 < delay_s <= PROMISED_S
    (alert,) = [one for one in page.alerts if one["labels"]["slo"] == "availability"]
    assert alert["labels"]["severity"] == "critical"
    assert (alert["labels"]["window"], alert["labels"]["short_window"]) == ("2m", "30s")
    assert alert["annotations"]["runbook_url"].endswith("#locustslobudgetburn")
    assert SHORT_S < resolved_s <= SHORT_S + 30 + 10 + PROMISED_S  # the window, keep_firing_for, group_interval


@pytest.mark.timeout(300)
@played(outage)
def test_an_outage_pages_in_time(outcome: Outcome) -> None:
    """Where nothing works any more the message comes within 15 s of the first failure."""
    delay_s = outcome.more["page"].at - outcome.more["failed"]
    print(f"outage: page {delay_s:.1f} s after the first failure")
    assert 0 < delay_s <= PROMISED_S


@pytest.mark.timeout(300)
@played(healthy)
def test_a_healthy_run_disturbs_nobody(outcome: Outcome) -> None:
    """Neither pages nor tickets: the only alert is the one that says that load is planned."""
    assert outcome.more["messages"] == []
    assert [alert["labels"]["alertname"] for alert in outcome.more["alerts"]] == ["LocustRunActive"]


@pytest.mark.timeout(300)
@played(saturated)
def test_a_saturated_generator_is_told_instead_of_latencies(outcome: Outcome) -> None:
    """The ticket names the generator, and the alert on latencies is suppressed; failures page all the same."""
    messages = outcome.more["messages"]
    assert ("/tickets", SATURATED) in {(message.path, name) for message in messages for name in message.names}
    told = {alert["labels"].get("sli") for message in messages for alert in message.alerts}
    assert "success" in told
    assert not told & {"latency", "mean"}
    burns = {(one["labels"]["sli"], one["labels"]["severity"]): one["status"] for one in outcome.more["burns"]}
    assert burns["success", "critical"]["state"] == "active"
    assert burns["latency", "critical"]["state"] == "suppressed"
    assert burns["latency", "critical"]["inhibitedBy"]
