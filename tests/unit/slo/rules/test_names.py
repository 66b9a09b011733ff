"""Tests of the names of recorded series and alerts: those of the rules of the shipped SLO files, and no others."""

from __future__ import annotations

from pathlib import Path

from locust_otel.slo.file import load
from locust_otel.slo.rules import names
from locust_otel.slo.rules.alerting_rules import Links, run_alerts, slo_alerts
from locust_otel.slo.rules.recording_rules import recording_rules

SLOS = [load(str(path)) for path in sorted(Path("locustfiles").glob("slo*.yaml"))]


def named(prefix: str) -> set[str]:
    """Return the names with a prefix."""
    return {value for value in vars(names).values() if isinstance(value, str) and value.startswith(prefix)}


def test_recorded_series() -> None:
    """The rules record exactly the series that have a name."""
    assert {rule["record"] for slo in SLOS for rule in recording_rules(slo)} == named("locust_slo:")


def test_alerts() -> None:
    """The rules have exactly the alerts that have a name."""
    rules = [rule for slo in SLOS for rule in (*slo_alerts(slo, Links()), *run_alerts(slo, Links()))]
    assert {rule["alert"] for rule in rules} == named("Locust")


def test_severity_none_does_not_count() -> None:
    """`LocustRunActive` and alerts of severity `none` count as no alert, with any other label."""
    assert names.is_counted({"alertname": names.BUDGET_BURN, "severity": "critical"})
    assert names.is_counted({"alertname": "CartDown"})
    assert not names.is_counted({"alertname": "CartDown", "severity": "none"})
    assert not names.is_counted({"alertname": names.RUN_ACTIVE, "severity": "info"})
