"""Tests of the times at which each alert fires, and at which it must not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from locust_otel.slo.rules import names
from tests.rules import alert_scenarios
from tests.rules.burn_scenarios import every_pair, of_pair, of_the_page
from tests.rules.scenarios import SHIPPED, Scenario, failed, rules_of

PAGE = next(every_pair())
SCENARIOS = [
    *(scenario for pair in every_pair() for scenario in of_pair(pair)),
    *of_the_page(PAGE),
    *(scenario for scenarios in alert_scenarios.ALL for scenario in scenarios()),
]


# One call of promtool for all scenarios of an alert with the same interval.
BATCHES: dict[str, list[Scenario]] = {}
for _scenario in SCENARIOS:
    BATCHES.setdefault(f"{_scenario.period}-{_scenario.alert}-{_scenario.interval_s}s", []).append(_scenario)


@pytest.mark.parametrize("batch", BATCHES)
def test_alert(batch: str, tmp_path: Path) -> None:
    """An alert fires when it must, with its labels, and only then."""
    scenarios = BATCHES[batch]
    complaints = failed(scenarios, rules_of(scenarios[0].period, scenarios[0].alert), tmp_path)
    assert not complaints, complaints


def test_every_alert_has_scenarios() -> None:
    """Each alert has a scenario in which it fires, one with its texts, and two in which it is silent at some time."""
    rules = [
        rule["alert"]
        for path in SHIPPED["30m"].glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert len(set(rules)) == 13
    for alert in set(rules):
        scenarios = [scenario for scenario in SCENARIOS if scenario.alert == alert]
        assert any(scenario.annotations for scenario in scenarios), alert
        assert any(any(alerts for alerts in scenario.fires.values()) for scenario in scenarios), alert
        silent = [scenario for scenario in scenarios if not all(scenario.fires.values())]
        assert len(silent) >= 2, alert
    assert PAGE.labels == {"severity": "critical", "sli": "success", "window": "2m", "short_window": "30s"}
    assert names.BUDGET_BURN in rules
