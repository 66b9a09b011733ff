"""Tests of the preflight: what is missing is refused before load or fault, all of it at once, with the URL."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from locust_otel import cli
from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday import preflight
from locust_otel.gameday.observer import Alertmanager, Notices, Webhook
from locust_otel.gameday.plan import GameDay, alerting_rules
from locust_otel.gameday.schema import ExpectShape
from locust_otel.review.prometheus import AlertRule, Prometheus, Sample
from locust_otel.slo.file import parse
from tests.unit.gameday.test_score import BURN, MUST, MUST_NOT, SLO, day, step

NOWHERE = "http://127.0.0.1:1"
OWN = ExpectShape.model_validate({"alert": "CartDown", "within": "5s"})
SLOW = ExpectShape.model_validate({"alert": "LocustSlowRequests", "within": "5s"})


def loaded(text: str = "shop", **labels: str) -> list[AlertRule]:
    """Return the rules of the SLO file as Prometheus lists them, of a service, with other labels if any."""
    rules = alerting_rules(SLO)
    return [
        AlertRule(rule["alert"], rule["labels"] | {"team": "a"} | labels, rule["expr"].replace('"shop"', f'"{text}"'))
        for rule in rules
    ]


class Rules(Prometheus):
    """Answers, and has rules."""

    def __init__(self, rules: list[AlertRule] | None) -> None:
        super().__init__("http://prometheus:9090")
        self._rules = rules

    def query(self, promql: str) -> list[Sample]:
        """Answer each query."""
        assert promql == "vector(1)"
        return [Sample({}, 1.0)]

    def alert_rules(self) -> list[AlertRule] | None:
        """Return the rules."""
        return self._rules


class Configured(Alertmanager):
    """Answers, and has a configuration."""

    def __init__(self, configuration: str) -> None:
        super().__init__("http://alertmanager:9093")
        self._configuration = configuration

    def _fetched(self, path: str) -> Any:
        return {"config": {"original": self._configuration}} if path == "status" else []


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook at a free port."""
    webhook = Webhook("0", Notices())
    yield webhook
    webhook.close()


def problems(planned: GameDay, server: Prometheus, *others: Any) -> list[ConfigurationError]:
    """Return the problems of a preflight."""
    alertmanager, hook = others or (None, None)
    with pytest.raises(ConfigurationError) as raised:
        preflight.check(planned, server, alertmanager, hook)
    return list(raised.value.problems)


def test_all_is_there(webhook: Webhook) -> None:
    """With the rules, an Alertmanager and a webhook that it notifies there is nothing to say."""
    rules = [*loaded(), AlertRule("CartDown", {}, "up == 0")]
    configured = Configured(f'receivers:\n- webhook_configs:\n  - url: "http://there:{webhook.port}/x"\n')
    planned = day(step(20, MUST, MUST_NOT, OWN, SLOW))
    assert preflight.check(planned, Rules(rules), configured, webhook) == ()
    assert preflight.check(planned, Rules(rules), None, None) == ()
    assert preflight.check(day(step(20, MUST)), Rules(loaded(sli="of an earlier version")), None, None) == ()


@pytest.mark.parametrize(
    "rules",
    [
        [], loaded("other"), loaded("shop2"), loaded(severity="warning"), loaded(window="30s"),
        loaded(short_window="1s"),
        [rule for rule in loaded() if rule.name != BURN],
    ],
    ids=["none", "of another service", "of a longer name", "severity", "window", "short window", "alert"],
)  # fmt: skip
def test_a_rule_of_the_slo_file_is_missing(rules: list[AlertRule]) -> None:
    """Rules of another file are not those of this one; the remedy has the command."""
    (problem,) = problems(replace(day(step(20, MUST)), slo_path=Path("x/slo.yaml")), Rules(rules))
    assert (problem.where, problem.slug) == ("--prometheus", "gameday-rules-missing")
    assert problem.found == (
        "http://prometheus:9090/api/v1/rules has no rule for LocustSLOBudgetBurn (critical, 10s, 4s) with "
        'slo_service="shop".'
    )
    assert problem.remedy == (
        "Run: locust-otel rules x/slo.yaml -o DIR. Name the files of DIR in rule_files, and have Prometheus read them: "
        "POST /-/reload, or SIGHUP."
    )


def test_each_rule_that_may_raise_it_is_needed() -> None:
    """An alert that must stay quiet in any severity would stay so without the rules of one."""
    text = SLO.text.replace("windows: [", "windows: [{severity: warning, long: 20s, short: 8s, budget: 50%}, ")
    slo = parse(text.encode(), "slo.yaml")
    planned = replace(day(step(20, MUST_NOT)), slo=slo)
    (problem,) = problems(planned, Rules(loaded()))
    assert "LocustSLOBudgetBurn (warning, 20s, 8s) with" in problem.found
    assert preflight.check(replace(day(step(20, MUST)), slo=slo), Rules(loaded()), None, None) == ()


def test_without_an_slo_file_the_names_are_looked_for() -> None:
    """Alerts of ours and of the user are refused apart, since the remedies differ."""
    planned = replace(day(step(20, MUST, OWN, SLOW)), slo=None)
    own, ours = problems(planned, Rules([AlertRule("LocustSlowRequests", {}, "")]))
    assert own.found.endswith("has no rule for CartDown.")
    assert own.remedy.startswith("Correct the name")
    assert ours.found.endswith("has no rule for LocustSLOBudgetBurn.")
    assert "locust-otel rules FILE -o DIR" in ours.remedy


def test_a_server_that_does_not_say_its_rules() -> None:
    """It is a note; where no alert is expected, nothing is."""
    (note,) = preflight.check(day(step(20, MUST, OWN)), Rules(None), None, None)
    said = "http://prometheus:9090 does not say which rules it has"
    assert note == f"{said}: check that there are some for CartDown, LocustSLOBudgetBurn."
    assert preflight.check(day(step(20)), Rules(None), None, None) == ()


def test_all_problems_come_at_once(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each server that does not answer is named with the URL that was tried, and the reason."""
    monkeypatch.setattr(Webhook, "url", f"{NOWHERE}/")
    found = problems(day(step(20, MUST)), Prometheus(NOWHERE), Alertmanager(NOWHERE), webhook)
    assert [(problem.where, problem.found) for problem in found] == [
        ("--prometheus", f"{NOWHERE}/api/v1/query cannot be reached: Connection refused."),
        ("--alertmanager", f"{NOWHERE}/api/v2/alerts gives no answer: Connection refused."),
        ("--webhook-port", f"{NOWHERE}/ gives no answer: Connection refused."),
    ]


@pytest.mark.parametrize(
    ("urls", "is_note"),
    [
        ("", True), ("url: http://there:19095/", True), ("url: http://there/", True), ("webhook_url: <secret>", True),
        ("url: <secret>\n  url_file: ''", False), ("url: http://there/\n  url_file: /run/url", False),
    ],
)  # fmt: skip
def test_nothing_is_sent_to_the_webhook(webhook: Webhook, urls: str, is_note: bool) -> None:
    """A configuration that names no webhook with our port is a note, unless it may hide one."""
    configured = Configured(
        f"route: {{receiver: a}}\nreceivers:\n- name: a\n  {urls.replace('19095', f'1{webhook.port}')}"
    )
    notes = preflight.check(day(step(20)), Rules([]), configured, webhook)
    said = f"Alertmanager's configuration names no webhook at port {webhook.port}: no notification will come here."
    assert notes == ((said,) if is_note else ())
    assert preflight.check(day(step(20)), Rules([]), configured, None) == ()


def test_the_command_refuses_before_load_and_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 78, with the URLs, and nothing was started or broken."""
    file = tmp_path / "day.yaml"
    file.write_text("name: x\nsteps: [{at: 0s, fault: {name: a, run: touch broken, undo: x, for: 1s}}]\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    servers = ["--prometheus", NOWHERE, "--alertmanager", NOWHERE, "--webhook-port", str(port)]
    assert cli.main(["gameday", str(file), "--run-id", "r", *servers]) == 78
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"locust-otel: --prometheus: {NOWHERE}/api/v1/query cannot be reached: Connection refused.")
    assert second.startswith(f"locust-otel: --alertmanager: {NOWHERE}/api/v2/alerts gives no answer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day.yaml"]
