"""Runs with a known pattern: each fault of the demo shop at two loads with three seeds, and variations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from locust_otel.review.analysis.finding import Pattern
from tests.analysis.simulation import Plan, steps

LOADS = {"600 users": 600, "900 users": 900}
SEEDS = (1, 2, 3)
LENGTH_S = 360
SLOW = "/api/orders"
SLOW_FROM_S = 150.0

FAULTS: dict[str, tuple[str, Pattern]] = {
    "saturation": ("saturation", Pattern.LINEAR),
    "pool-cliff": ("pool-cliff", Pattern.CLIFF),
    "stall": ("stall", Pattern.SAWTOOTH),
    "slow-endpoint": ("slow-endpoint", Pattern.SLOW_ENDPOINT),
    "leak": ("leak", Pattern.LEAK),
    "none": ("", Pattern.NONE),
}
"""Name, value of `--fault`, and the expected pattern."""

WEBSHOP_MIX = {"/api/products": 5.0, "/api/products/[id]": 3.0, "/api/cart": 1.5, "/api/orders": 1.0}
"""Requests of the shoppers by weight: half of the orders have no cart yet, and fill one first."""


@dataclass(frozen=True)
class Case:
    """Run and its expected pattern."""

    fault: str
    load: str
    seed: int
    plan: Plan
    expected: Pattern
    is_variation: bool = False

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return f"{self.fault}-{self.load}-{self.seed}".translate(str.maketrans(" :=,/", "-----"))


def cases() -> Iterator[Case]:
    """Yield the cases for which the thresholds of the detectors were set."""
    for fault, (text, expected) in FAULTS.items():
        for load, users in LOADS.items():
            # At 160 requests/s the slow endpoint takes all workers: that would be a cliff too.
            top = users // 2 if fault == "slow-endpoint" else users
            for seed in SEEDS:
                begins_s = SLOW_FROM_S if fault == "slow-endpoint" else 0.0
                plan = Plan(steps(top // 8, top, 8, 40), LENGTH_S, text, begins_s, seed=seed)
                yield Case(fault, load if top == users else f"{top} users", seed, plan, expected)


VARIATIONS: tuple[tuple[str, int, int, Pattern], ...] = (
    ("saturation:per_request_s=0.005", 500, 11, Pattern.LINEAR),
    ("saturation:per_request_s=0.02", 200, 12, Pattern.LINEAR),
    ("pool-cliff:connections=2", 1300, 13, Pattern.CLIFF),
    ("stall:period_s=33,duration_s=4", 300, 14, Pattern.SAWTOOTH),
    ("stall:period_s=9,duration_s=1", 300, 15, Pattern.SAWTOOTH),
    ("slow-endpoint:route=/api/cart,factor=20", 300, 16, Pattern.SLOW_ENDPOINT),
    ("slow-endpoint:factor=5", 200, 17, Pattern.SLOW_ENDPOINT),
    ("leak:per_minute_s=0.03", 400, 18, Pattern.LEAK),
    ("leak:per_minute_s=0.3", 400, 19, Pattern.LEAK),
    ("", 1200, 20, Pattern.NONE),
    ("", 80, 21, Pattern.NONE),
    ("latency:added_s=0.2,jitter_s=0.1", 400, 22, Pattern.NONE),
)
"""Fault, users, seed, and the expected pattern: parameters for which no threshold was set."""


def variations() -> Iterator[Case]:
    """Yield the cases for which no threshold was set."""
    for fault, users, seed, expected in VARIATIONS:
        begins_s = SLOW_FROM_S if fault.startswith("slow-endpoint") else 0.0
        plan = Plan(steps(max(10, users // 8), users, 8, 40), LENGTH_S, fault, begins_s, seed=seed)
        yield Case(fault or "none", f"{users} users", seed, plan, expected, is_variation=True)
