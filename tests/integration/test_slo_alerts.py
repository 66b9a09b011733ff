"""From a fault in the shop to a message at a webhook, with the configurations of `deploy/`.

The tests change only ports and intervals in them; the runs are those of `locustfiles/`.
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
"""Seconds from the moment the critical factor is exceeded until the message arrives."""

BURN = "LocustSLOBudgetBurn"
SATURATED = "LocustGeneratorSaturated"
FACTOR, LONG_S, SHORT_S, MIN_REQUESTS, BUDGET = 3.0, 120, 30, 100, 0.01
"""Values of `locustfiles/slo.yaml`: its critical pair, and availability."""

_EVENTS = re.compile(r'^locust_slo_events_total\{.*slo="availability".*outcome="(good|bad)"\} (\S+)$', re.MULTILINE)


@pytest.fixture(scope="module")
def stages(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play all scenarios, three at a time."""
    backend("prometheus")
    backend("alertmanager")
    yield from Stages(tmp_path_factory.mktemp, at_once=3).play(SCENARIOS)


def prometheus_config(folder: Path, port: int, alertmanager: str) -> str:
    """Return the shipped configuration with other ports, and scrapes and rules every second."""
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
    """A run, the servers that watch it, and its counters every 0.2 s."""

    def __init__(self, process: Process, port: int, shop: ShopProcess, webhook: Webhook, servers: Servers) -> None:
        self.process = process
        self.shop = shop
        self.webhook = webhook
        self.servers = servers
        self.polls: list[Poll] = []
        self._url = f"http://127.0.0.1:{port}/metrics"

    def poll(self) -> None:
        """Read the counters every 0.2 s."""
        while True:
            try:
                counts = {outcome: float(value) for outcome, value in _EVENTS.findall(fetch(self._url))}
                self.polls.append(Poll(time.time(), counts["good"], counts["bad"]))
            except (OSError, KeyError):
                pass  # before the start of the endpoint, or of the run
            gevent.sleep(0.2)

    def wait_for_enough(self) -> None:
        """Wait until the warm-up is over and enough requests for an alert are judged."""
        self.wait(lambda: self.polls and self.polls[-1].good + self.polls[-1].bad >= MIN_REQUESTS, "enough requests")

    def wait(self, condition: Callable[[], object], what: str, timeout_s: float = 120) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.is_alive, self.process.log[-3000:]
            messages = [(message.path, message.status, message.names) for message in self.webhook.messages]
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}; messages: {messages}"
            gevent.sleep(0.1)

    def passed_at(self) -> float:
        """Return the Unix time at which the run's own ratio was above the critical factor in both windows."""
        for i, now in enumerate(self.polls):
            if now.good + now.bad >= MIN_REQUESTS and all(
                self._ratio(now, self.polls[:i], length_s) > FACTOR * BUDGET for length_s in (LONG_S, SHORT_S)
            ):
                return now.at
        raise AssertionError("the factor was never exceeded")

    def _ratio(self, now: Poll, before: list[Poll], length_s: float) -> float:
        first = next((poll for poll in before if poll.at >= now.at - length_s), now)
        total = now.good + now.bad - first.good - first.bad
        return (now.bad - first.bad) / total if total else 0.0


class Servers(NamedTuple):
    """The servers that watch a run."""

    prometheus: Prometheus
    alertmanager: Alertmanager


@contextmanager
def watched(stage: Stage, file: Path = EXAMPLES / "webshop.py", users: int = 60) -> Iterator[Watched]:
    """Run a locustfile against a shop with the example's SLO file, watched by servers with the files of `deploy/`."""
    shop, port = stage.shop(), free_port()
    with (
        Webhook() as webhook,
        Alertmanager(config=alertmanager_config(webhook.url)) as alertmanager,
        Prometheus(config=prometheus_config(stage.folder, port, alertmanager.address)) as prometheus,
    ):
        process = stage.run(
            *("-f", file, "--host", shop.url, "--headless", "--only-summary"),
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
    """Return whether a message is a page for availability."""
    return message.path == "/pages" and message.status == "firing" and (BURN, "availability") in message.objectives


def paged(stage: Stage, fault: dict[str, Any], *, until_resolved: bool) -> Outcome:
    """Break the shop and wait for a page; with `until_resolved` end the fault and wait for the resolved message."""
    with watched(stage) as run:
        run.wait_for_enough()
        run.shop.inject(**fault)
        run.wait(lambda: any(is_page(message) for message in run.webhook.messages), "a page")
        page = next(message for message in run.webhook.messages if is_page(message))
        seen = {"page": page, "passed": run.passed_at(), "failed": next(p.at for p in run.polls if p.bad)}
        if until_resolved:
            run.shop.clear_faults()
            seen["repaired"] = time.time()

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
    """Nothing happens, for three times the promised time."""
    with watched(stage) as run:
        run.wait_for_enough()
        gevent.sleep(3 * PROMISED_S)
        alerts = {alert["labels"]["alertname"] for alert in run.servers.prometheus.alerts()}
        return Outcome(log=run.process.log, more={"messages": run.webhook.messages, "alerts": alerts})


def saturated(stage: Stage) -> Outcome:
    """Users burn CPU, and a third of the requests fail, after a long time."""
    with watched(stage, LOCUSTFILES / "blocking.py", users=1) as run:

        def burns() -> list[dict[str, Any]]:
            return [alert for alert in run.servers.alertmanager.alerts() if alert["labels"]["alertname"] == BURN]

        run.wait(lambda: {alert["labels"]["sli"] for alert in burns()} >= {"success", "latency"}, "both alerts")
        run.wait(lambda: any(SATURATED in message.names for message in run.webhook.messages), "a ticket")
        run.wait(lambda: any(BURN in message.names for message in run.webhook.messages), "a page")
        gevent.sleep(5)  # time for messages that must not come
        return Outcome(log=run.process.log, more={"burns": burns(), "messages": run.webhook.messages})


SCENARIOS: tuple[Scenario, ...] = (errors, healthy, outage, saturated)


@pytest.mark.timeout(300)
@played(errors)
def test_a_fault_pages_in_time_and_is_resolved(outcome: Outcome) -> None:
    """The critical message comes at most 15 s after the run's own ratio has exceeded the factor, and a resolved one."""
    page, delay_s = outcome.more["page"], outcome.more["page"].at - outcome.more["passed"]
    resolved_s = outcome.more["resolved"].at - outcome.more["repaired"]
    print(f"errors: page {delay_s:.1f} s after the factor was exceeded; resolved {resolved_s:.1f} s after the end")
    assert 0 < delay_s <= PROMISED_S
    (alert,) = [alert for alert in page.alerts if alert["labels"]["slo"] == "availability"]
    assert alert["labels"]["severity"] == "critical"
    assert (alert["labels"]["window"], alert["labels"]["short_window"]) == ("2m", "30s")
    assert alert["annotations"]["runbook_url"].endswith("#locustslobudgetburn")
    assert SHORT_S < resolved_s <= SHORT_S + 30 + 10 + PROMISED_S  # the window, keep_firing_for, group_interval


@pytest.mark.timeout(300)
@played(outage)
def test_an_outage_pages_in_time(outcome: Outcome) -> None:
    """If every request fails, the message comes at most 15 s after the first failure."""
    delay_s = outcome.more["page"].at - outcome.more["failed"]
    print(f"outage: page {delay_s:.1f} s after the first failure")
    assert 0 < delay_s <= PROMISED_S


@pytest.mark.timeout(300)
@played(healthy)
def test_a_healthy_run_sends_no_page(outcome: Outcome) -> None:
    """The only alert is the one for planned load; on a busy machine there can be one that the generator is late."""
    assert {name for message in outcome.more["messages"] for name in message.names} <= {SATURATED}
    assert outcome.more["alerts"] - {SATURATED} == {"LocustRunActive"}


@pytest.mark.timeout(300)
@played(saturated)
def test_a_saturated_generator_suppresses_latency_alerts(outcome: Outcome) -> None:
    """There is a ticket for the generator, the alert on latencies is suppressed, and failures send a page."""
    messages = outcome.more["messages"]
    assert ("/tickets", SATURATED) in {(message.path, name) for message in messages for name in message.names}
    slis = {alert["labels"].get("sli") for message in messages for alert in message.alerts}
    assert "success" in slis
    assert not slis & {"latency", "mean"}
    burns = {(alert["labels"]["sli"], alert["labels"]["severity"]): alert["status"] for alert in outcome.more["burns"]}
    assert burns["success", "critical"]["state"] == "active"
    assert burns["latency", "critical"]["state"] == "suppressed"
    assert burns["latency", "critical"]["inhibitedBy"]
