"""Tests of the preflight: missing rules and servers are refused before load and fault, all at once, with the URL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from locust_otel import cli
from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday import playing, preflight
from locust_otel.gameday.alertmanager import Alertmanager
from locust_otel.gameday.plan import GameDay, alerting_rules
from locust_otel.review.prometheus import AlertRule, Prometheus, Sample
from locust_otel.slo.file import parse
from tests.unit.gameday.days import BURN, MUST, MUST_NOT, SLO, expect, slo_day, step_at

NOWHERE = "http://127.0.0.1:1"
OWN = expect(alert="CartDown", within="5s")
SLOW = expect(alert="LocustSlowRequests", within="5s")
WEBHOOK: Any = SimpleNamespace(server_port=9095, url="http://127.0.0.1:9095/")


def loaded(text: str = "shop", **labels: str) -> list[AlertRule]:
    """Return the rules of the SLO file as Prometheus lists them, of a service, with further labels."""
    rules = alerting_rules(SLO)
    return [
        AlertRule(rule["alert"], rule["labels"] | {"team": "a"} | labels, rule["expr"].replace('"shop"', f'"{text}"'))
        for rule in rules
    ]


class Rules(Prometheus):
    """A Prometheus with rules."""

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
    """An Alertmanager with a configuration."""

    def __init__(self, configuration: str) -> None:
        super().__init__("http://alertmanager:9093")
        self._configuration = configuration

    def _fetched(self, path: str) -> Any:
        return {"config": {"original": self._configuration}} if path == "status" else []


def test_an_alert_of_severity_none_cannot_be_expected() -> None:
    """An own alert whose rules all have severity `none` is refused; one other rule of it is enough."""
    silent, loud = (AlertRule("CartDown", {"severity": severity}, "up == 0") for severity in ("none", "warning"))
    planned = replace(slo_day(step_at(20, OWN)), slo=None)
    assert preflight.check(planned, Rules([silent, loud]), None, None) == ()
    with pytest.raises(ConfigurationError, match="CartDown has severity none in http://prometheus:9090") as raised:
        preflight.check(planned, Rules([silent]), None, None)
    assert raised.value.problems[0].slug == "gameday-not-counted"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer to each POST to the webhook."""

    def send(url: str, body: bytes, **_: object) -> web.Reply:
        assert (url, body) == (WEBHOOK.url, b'{"alerts": []}')
        return web.Reply(200, b"")

    monkeypatch.setattr(web, "send", send)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse each connection."""

    def send(*_: object, **__: object) -> web.Reply:
        raise web.UnreachableError(ConnectionRefusedError(111, "Connection refused"))

    monkeypatch.setattr(web, "send", send)


def problems(planned: GameDay, server: Prometheus, *others: Any) -> list[ConfigurationError]:
    """Return the problems of a preflight."""
    alertmanager, hook = others or (None, None)
    with pytest.raises(ConfigurationError) as raised:
        preflight.check(planned, server, alertmanager, hook)
    return list(raised.value.problems)


def test_all_is_there(network: None) -> None:
    """With the rules, and an Alertmanager that notifies the webhook, there are no notes."""
    rules = [*loaded(), AlertRule("CartDown", {}, "up == 0")]
    configured = Configured('receivers:\n- webhook_configs:\n  - url: "http://there:9095/x"\n')
    planned = slo_day(step_at(20, MUST, MUST_NOT, OWN, SLOW))
    assert preflight.check(planned, Rules(rules), configured, WEBHOOK) == ()
    assert preflight.check(planned, Rules(rules), None, None) == ()
    assert preflight.check(slo_day(step_at(20, MUST)), Rules(loaded(sli="of an earlier version")), None, None) == ()


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
    """Rules of another SLO file do not count; the remedy has the command."""
    (problem,) = problems(replace(slo_day(step_at(20, MUST)), slo_path=Path("x/slo.yaml")), Rules(rules))
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
    """An alert that must not fire in any severity needs the rules of all severities."""
    text = SLO.text.replace("windows: [", "windows: [{severity: warning, long: 20s, short: 8s, budget: 50%}, ")
    slo = parse(text.encode(), "slo.yaml")
    planned = replace(slo_day(step_at(20, MUST_NOT)), slo=slo)
    (problem,) = problems(planned, Rules(loaded()))
    assert "LocustSLOBudgetBurn (warning, 20s, 8s) with" in problem.found
    assert preflight.check(replace(slo_day(step_at(20, MUST)), slo=slo), Rules(loaded()), None, None) == ()


def test_without_an_slo_file_names_count() -> None:
    """Alerts of the package and of the user have different remedies."""
    planned = replace(slo_day(step_at(20, MUST, OWN, SLOW)), slo=None)
    own, ours = problems(planned, Rules([AlertRule("LocustSlowRequests", {}, "")]))
    assert own.found.endswith("has no rule for CartDown.")
    assert own.remedy.startswith("Correct the name")
    assert ours.found.endswith("has no rule for LocustSLOBudgetBurn.")
    assert "locust-otel rules FILE -o DIR" in ours.remedy


def test_a_server_that_does_not_list_its_rules() -> None:
    """This is a note; without an expectation there is none."""
    (note,) = preflight.check(slo_day(step_at(20, MUST, OWN)), Rules(None), None, None)
    assert note == (
        "http://prometheus:9090 does not list its rules: check that it has some for CartDown, LocustSLOBudgetBurn."
    )
    assert preflight.check(slo_day(step_at(20)), Rules(None), None, None) == ()


def test_all_problems_come_at_once(no_network: None) -> None:
    """Each server that does not answer has an error with its URL and the reason."""
    found = problems(slo_day(step_at(20, MUST)), Prometheus(NOWHERE), Alertmanager(NOWHERE), WEBHOOK)
    assert [(problem.where, problem.found) for problem in found] == [
        ("--prometheus", f"{NOWHERE}/api/v1/query cannot be reached: Connection refused."),
        ("--alertmanager", f"{NOWHERE}/api/v2/alerts does not answer: Connection refused."),
        ("--webhook-port", "http://127.0.0.1:9095/ does not answer: Connection refused."),
    ]


@pytest.mark.parametrize(
    ("urls", "is_note"),
    [
        ("", True), ("url: http://there:19095/", True), ("url: http://there/", True), ("webhook_url: <secret>", True),
        ("url: <secret>\n  url_file: ''", False), ("url: http://there/\n  url_file: /run/url", False),
    ],
)  # fmt: skip
def test_a_configuration_without_the_webhook(network: None, urls: str, is_note: bool) -> None:
    """A configuration without a webhook for the port is a note, unless it may hide one."""
    configured = Configured(f"route: {{receiver: a}}\nreceivers:\n- name: a\n  {urls}")
    notes = preflight.check(slo_day(step_at(20)), Rules([]), configured, WEBHOOK)
    note = "Alertmanager's configuration has no webhook for port 9095: no notification will come."
    assert notes == ((note,) if is_note else ())
    assert preflight.check(slo_day(step_at(20)), Rules([]), configured, None) == ()


def test_the_command_refuses_before_load_and_fault(
    no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 78, the errors have the URLs, and neither load nor fault was started."""
    monkeypatch.setattr(playing, "_webhook", lambda *_: SimpleNamespace(**vars(WEBHOOK), close=lambda: None))
    file = tmp_path / "day.yaml"
    file.write_text("name: x\nsteps: [{at: 0s, fault: {name: a, run: touch broken, undo: x, for: 1s}}]\n")
    servers = ["--prometheus", NOWHERE, "--alertmanager", NOWHERE, "--webhook-port", "9095"]
    assert cli.main(["gameday", str(file), "--run-id", "r", *servers]) == 78
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith(f"locust-otel: --prometheus: {NOWHERE}/api/v1/query cannot be reached: Connection refused.")
    assert second.startswith(f"locust-otel: --alertmanager: {NOWHERE}/api/v2/alerts does not answer")
    assert third.startswith("locust-otel: --webhook-port: http://127.0.0.1:9095/ does not answer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day.yaml"]
