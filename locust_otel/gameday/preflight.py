"""The preflight of a game day: checks before load or fault that its servers answer and have its rules.

It refuses servers that do not answer and missing rules, all at once, and notes what it cannot check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.gameday.alertmanager import Alertmanager, Webhook
from locust_otel.gameday.mark_client import TIMEOUT_S
from locust_otel.gameday.plan import GameDay, alerting_rules, can_raise
from locust_otel.review.prometheus import AlertRule, Prometheus
from locust_otel.slo.rules import names
from locust_otel.slo.rules.recording_rules import Rule

_URL = re.compile(r'\burl(?:_file)?: *"?([^\s"]+)')
"""A URL in Alertmanager's configuration; newer versions write `<secret>` instead."""

_LABELS = ("severity", "window", "short_window")
"""Labels that tell the rules of an alert apart. Others may differ: rules of an earlier version have no `sli`."""

_Findings = Iterator[ConfigurationError | str]


def check(
    day: GameDay, server: Prometheus, alertmanager: Alertmanager | None, webhook: Webhook | None
) -> tuple[str, ...]:
    """Ask the servers of a game day, and return notes on possible problems.

    Raises:
        ConfigurationError: A server does not answer, or an expected alert has no rule; the error has all problems.
    """
    findings = [*_of_prometheus(day, server), *_of_alertmanager(alertmanager, webhook), *_of_webhook(webhook)]
    problems = [finding for finding in findings if isinstance(finding, ConfigurationError)]
    if problems:
        raise ConfigurationError.of(problems)
    return tuple(map(str, findings))


def _of_prometheus(day: GameDay, server: Prometheus) -> _Findings:
    expected = {expectation.name for expectation in day.expectations}
    try:
        server.query("vector(1)")
    except ConfigurationError as error:
        yield error
        return
    loaded = server.alert_rules() if expected else []
    if loaded is None:
        yield f"{server.url} does not list its rules: check that it has some for {_listed(expected)}."
        return
    needed = [rule for rule in alerting_rules(day.slo) if any(map(partial(can_raise, rule), day.expectations))]
    missing = expected - {rule.name for rule in loaded} - {rule["alert"] for rule in needed}
    if own := missing & day.own_alerts:
        remedy = "Correct the name, or load its rule by rule_files and reload Prometheus."
        yield _no_rule(server, _listed(own), remedy)
    own_rules = [rule for rule in loaded if rule.name in day.own_alerts]
    counted = {rule.name for rule in own_rules if names.is_counted(rule.labels)}
    if silent := {rule.name for rule in own_rules} - counted:
        found = f"{_listed(silent)} has severity none in {server.url}/api/v1/rules: it does not count as an alert."
        remedy = "Expect another alert, or give its rule another severity."
        yield ConfigurationError("--prometheus", found, remedy, slug="gameday-not-counted")
    service = "" if day.slo is None else f'slo_service="{day.slo.service}"'
    missing -= day.own_alerts
    missing |= {_described(rule) for rule in needed if not any(_is_same(rule, known, service) for known in loaded)}
    if missing:
        file = day.slo_path or "FILE"
        remedy = (
            f"Run: locust-otel rules {file} -o DIR. Name the files of DIR in rule_files, and have Prometheus read "
            "them: POST /-/reload, or SIGHUP."
        )
        yield _no_rule(server, " with ".join(filter(None, (_listed(missing), service))), remedy)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _no_rule(server: Prometheus, alerts: str, remedy: str) -> ConfigurationError:
    found = f"{server.url}/api/v1/rules has no rule for {alerts}."
    return ConfigurationError("--prometheus", found, remedy, slug="gameday-rules-missing")


def _described(rule: Rule) -> str:
    """Return an alert with the labels that tell its rules apart: `LocustSLOBudgetBurn (critical, 2m, 30s)`."""
    return f"{rule['alert']} ({', '.join(rule['labels'][key] for key in _LABELS if key in rule['labels'])})"


def _is_same(rule: Rule, loaded: AlertRule, service: str) -> bool:
    """Return whether a loaded rule is that of the SLO file: by alert, labels, and the service it selects."""
    is_of_service = service in loaded.query or service not in rule["expr"]
    has_labels = all(rule["labels"].get(key) == loaded.labels.get(key) for key in _LABELS)
    return loaded.name == rule["alert"] and has_labels and is_of_service


def _of_alertmanager(alertmanager: Alertmanager | None, webhook: Webhook | None) -> _Findings:
    if alertmanager is None:
        return
    try:
        alertmanager.alerts()
    except LocustOtelError as error:
        yield ConfigurationError("--alertmanager", str(error), "Is it running there?", slug="gameday-alertmanager")
        return
    configuration = "" if webhook is None else alertmanager.configuration()
    if webhook is None or not configuration:
        return
    may_be_ours = re.compile(rf"(?!http)|.*:{webhook.server_port}(?!\d)")  # a text that is not a URL hides one
    if not any(map(may_be_ours.match, _URL.findall(configuration))):
        yield f"Alertmanager's configuration has no webhook for port {webhook.server_port}: no notification will come."


def _of_webhook(webhook: Webhook | None) -> _Findings:
    if webhook is None:
        return
    try:
        reply = web.send(webhook.url, b'{"alerts": []}', timeout_s=TIMEOUT_S, uses_proxy=False)
        found = "" if reply.is_success else f"{webhook.url} answers {reply.status}."
    except web.UnreachableError as error:
        found = f"{webhook.url} does not answer: {error}."
    if found:
        yield ConfigurationError("--webhook-port", found, "Give another port.", slug="gameday-webhook")
