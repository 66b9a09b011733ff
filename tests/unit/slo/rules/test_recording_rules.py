"""Tests of the recording rules: which series a file has, and in which order; tests/rules checks their values."""

from __future__ import annotations

import pytest

from locust_otel.slo.file import parse
from locust_otel.slo.rules import names
from locust_otel.slo.rules.recording_rules import recording_rules
from tests.unit.dashboard_lint import KNOWN, metrics

SUCCESS, MEAN = "a: {sli: success, target: 99%}", "m: {sli: mean, within: 1s}"
LATENCY = "l: {sli: latency, target: 90%, within: 1s}"
MEANS = {names.MEAN, names.MEAN_TO_DATE}
ALWAYS = {names.INFO, names.JUDGED}
BUDGETS = {value for key, value in vars(names).items() if key.startswith(("BURN_", "ERROR_", "BUDGET"))}
BUDGETS = {name for name in BUDGETS if name.startswith("locust_slo:")} | {names.OBJECTIVE_RATIO}


@pytest.mark.parametrize(
    ("objectives", "recorded"),
    [
        ((SUCCESS,), ALWAYS | BUDGETS),
        ((LATENCY,), ALWAYS | BUDGETS | {names.THRESHOLD}),
        ((MEAN,), ALWAYS | MEANS | {names.THRESHOLD}),
        ((SUCCESS, LATENCY, MEAN), ALWAYS | BUDGETS | MEANS | {names.THRESHOLD}),
    ],
)
def test_series(objectives: tuple[str, ...], recorded: set[str]) -> None:
    """A file records the series of its SLIs, each after the series that it uses, with one information per objective."""
    slo = parse(f"service: shop\nobjectives: {{{', '.join(objectives)}}}\n".encode(), "slo.yaml")
    rules = list(recording_rules(slo))
    assert {rule["record"] for rule in rules} == recorded
    assert sum(rule["record"] == names.INFO for rule in rules) == len(objectives)
    seen: set[str] = set()
    for rule in rules:
        used = metrics(rule["expr"])
        assert used <= set(KNOWN)
        assert {name for name in used if name.startswith("locust_slo:")} <= seen
        seen.add(rule["record"])
