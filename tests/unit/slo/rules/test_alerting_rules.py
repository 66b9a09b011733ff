"""Tests of the alerting rules: which alerts a file has, and their links; tests/rules checks when they fire."""

from __future__ import annotations

import pytest

from locust_otel.slo.file import parse
from locust_otel.slo.rules import names
from locust_otel.slo.rules.alerting_rules import Links, run_alerts, slo_alerts
from tests.unit.dashboard_lint import KNOWN, metrics

SUCCESS, MEAN = "a: {sli: success, target: 99%}", "m: {sli: mean, within: 1s}"
LATENCY = "l: {sli: latency, target: 90%, within: 1s}"
LINKS = Links("https://runbooks", "https://grafana/d")
BOTH = '{{ if eq $labels.slo "a" }}success{{ else }}latency{{ end }}'


@pytest.mark.parametrize(
    ("objectives", "alerts", "sli"),
    [
        ([SUCCESS], [names.BUDGET_BURN, names.BUDGET_BURN, names.BUDGET_EXHAUSTED, names.NO_DATA], "success"),
        ([LATENCY], [names.BUDGET_BURN, names.BUDGET_BURN, names.BUDGET_EXHAUSTED, names.NO_DATA], "latency"),
        ([LATENCY, SUCCESS], [names.BUDGET_BURN, names.BUDGET_BURN, names.BUDGET_EXHAUSTED, names.NO_DATA], BOTH),
        ([MEAN], [names.MEAN_HIGH, names.NO_DATA], "mean"),
    ],
)
def test_alerts_of_objectives(objectives: list[str], alerts: list[str], sli: str) -> None:
    """A file has the alerts of its SLIs, one for each pair of windows, and the label by which Alertmanager inhibits."""
    slo = parse(f"service: shop\nobjectives: {{{', '.join(objectives)}}}\n".encode(), "slo.yaml")
    rules = list(slo_alerts(slo, LINKS))
    assert [rule["alert"] for rule in rules] == alerts
    assert {rule["labels"]["sli"] for rule in rules if rule["alert"] != names.NO_DATA} == {sli}


def test_expressions_and_links() -> None:
    """Every series of an alert exists, and each alert has its texts and links, with variables that are labels."""
    slo = parse(f"service: shop\nobjectives: {{{SUCCESS}, {MEAN}}}\n".encode(), "slo.yaml")
    rules = [*slo_alerts(slo, LINKS), *run_alerts(slo, LINKS)]
    for rule in rules:
        assert metrics(rule["expr"]) <= set(KNOWN), rule["alert"]
        annotations = rule["annotations"]
        assert annotations["runbook_url"] == f"https://runbooks#{rule['alert'].lower()}"
        assert annotations["dashboard_url"].startswith("https://grafana/d/locust-otel-")
        assert annotations["summary"].endswith(".")
        assert annotations["description"].endswith(".")
    (exhausted,) = (rule for rule in rules if rule["alert"] == names.BUDGET_EXHAUSTED)
    assert exhausted["annotations"]["dashboard_url"].partition("?")[2] == (
        "var-run_id={{ $labels.run_id | urlquery }}&var-slo={{ $labels.slo | urlquery }}"
    )


def test_windows_grow_with_the_scrape_interval() -> None:
    """No window of the alerts of any run has fewer than four scrapes."""
    text = f"service: shop\nscrape_interval: 30s\nobjectives: {{{SUCCESS}}}\n"
    rules = {rule["alert"]: rule for rule in run_alerts(parse(text.encode(), "slo.yaml"), LINKS)}
    assert "[2m]" in rules[names.FAILURES_SPIKE]["expr"]
    assert "[4m]" in rules[names.SLOW_REQUESTS]["expr"]
    assert rules[names.TELEMETRY_ABSENT]["for"] == "1m30s"
