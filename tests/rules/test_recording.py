"""Tests of the values of the recording rules, exact where possible."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from locust_otel.slo.rules.names import BUDGET_EXHAUSTED
from tests.rules.scenarios import SHIPPED, Run, Scenario, failed

RULES = [
    rule
    for group in yaml.safe_load((SHIPPED["30m"] / "locust-slo-webshop.yaml").read_text())["groups"]
    for rule in group["rules"]
    if "record" in rule
]
SLO = 'slo="availability"'


def recorded(tmp_path: Path, values: dict[tuple[int, str], float | None], *runs: Run) -> None:
    """Check with promtool that expressions have these values; None for no sample."""
    samples = {key: {} if value is None else {"{}": value} for key, value in values.items()}
    complaints = failed([Scenario("values", BUDGET_EXHAUSTED, runs, values=samples)], RULES, tmp_path)
    assert not complaints, complaints


def only(name: str, *matchers: str) -> str:
    """Return a selector of the one series of a recording rule, without its labels."""
    return f"sum({name}{{{', '.join(matchers)}}})"


def near(expression: str) -> str:
    """Return an expression rounded to nine digits: `increase` extrapolates, which is not exact."""
    return f"round({expression} * 1e9) / 1e9"


def test_values_of_a_run(tmp_path: Path) -> None:
    """Ratios, burn rates, budgets and means, with two bad requests in a hundred."""
    run = Run(warmup_s=0).go(900, good=98, bad=2)
    recorded(
        tmp_path,
        {
            (900, only("locust_slo:objective:info", SLO, 'sli="success"', 'target="99 %"', 'period="30m"')): 1,
            (900, only("locust_slo:objective:ratio")): 0.99,
            (900, only("locust_slo:error_budget:ratio")): 0.01,
            (900, only("locust_slo:threshold:seconds")): 0.5,
            (900, only("locust_slo:judged_requests:to_date", SLO)): 90_000,
            (900, only("locust_slo:judged_requests:to_date", 'slo="latency-mean"')): 90_000,
            (900, only("locust_slo:error_ratio:to_date")): 0.02,
            (900, near(only("locust_slo:error_ratio:rate", 'window="2m"'))): 0.02,
            (900, near(only("locust_slo:error_ratio:rate", 'window="10m"'))): 0.02,
            (900, near(only("locust_slo:burn_rate:rate", 'window="30s"'))): 2,
            (900, only("locust_slo:burn_rate:factor", 'severity="critical"', 'window="2m"')): 3,
            (900, only("locust_slo:burn_rate:factor", 'severity="warning"', 'short_window="2m"')): 1.5,
            # A burn rate of 2 for 890 of 1,800 s: the warm-up of the file is 10 s.
            (900, near(only("locust_slo:error_budget:spent"))): 0.988888889,
            (900, near(only("locust_slo:error_budget:remaining"))): 0.011111111,
            (900, near(only("locust_slo:mean_seconds:to_date"))): 0.1,
            (900, near(only("locust_slo:mean_seconds:rate", 'window="2m"'))): 0.1,
        },
        run,
    )


def test_no_requests(tmp_path: Path) -> None:
    """Before the first judged request there is no ratio, burn rate or spent budget, but the objective."""
    recorded(
        tmp_path,
        {
            (60, only("locust_slo:error_budget:ratio")): 0.01,
            (60, only("locust_slo:judged_requests:to_date", SLO)): 0,
            (60, "locust_slo:error_ratio:to_date"): None,
            (60, "locust_slo:error_ratio:rate"): None,
            (60, "locust_slo:burn_rate:rate"): None,
            (60, "locust_slo:error_budget:spent"): None,
            (60, "locust_slo:mean_seconds:rate"): None,
        },
        Run().go(60),
    )


@pytest.mark.parametrize(
    ("objective", "budget"),
    [(0.99, 0.01), (0.95, 0.05), (0.9, 0.1), (0.995, 0.005), (0.999, 0.001), (0.9999, 0.0001), (0.999999, 0.000001)],
)
def test_exact_budgets(tmp_path: Path, objective: float, budget: float) -> None:
    """1 - 0.99 is 0.01 and not 0.010000000000000002: a budget that is spent exactly is noticed."""
    recorded(tmp_path, {(5, only("locust_slo:error_budget:ratio")): budget}, Run().go(5, objective=objective))


def test_sums_are_divided(tmp_path: Path) -> None:
    """Two processes, 1 % of many requests and all of a few: 20 of 1,010, not the average of 50.5 %."""
    many, few = Run(warmup_s=0).go(300, good=198, bad=2), Run(warmup_s=0, instance="b").go(300, bad=2)
    recorded(
        tmp_path,
        {
            (300, near(only("locust_slo:error_ratio:to_date"))): 0.01980198,
            (300, near(only("locust_slo:error_ratio:rate", 'window="2m"'))): 0.01980198,
        },
        many,
        few,
    )


def test_a_restarted_process_is_no_recovery(tmp_path: Path) -> None:
    """After a reset of the counters the windows still contain earlier requests."""
    run = Run(warmup_s=0).go(60, good=90, bad=10).restart().go(60, good=90, bad=10)
    recorded(tmp_path, {(120, near(only("locust_slo:error_ratio:rate", 'window="2m"'))): 0.1}, run)
