"""The runs whose pattern is known: each fault of the demo shop, at two loads, with three seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from locust_otel.analysis.finding import Pattern
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
"""Name, what `--fault` is told, and the pattern that must be found."""

WEBSHOP_MIX = {"/api/products": 5.0, "/api/products/[id]": 3.0, "/api/cart": 1.5, "/api/orders": 1.0}
"""What the shoppers really ask for: every second order finds no cart yet and fills one first."""


@dataclass(frozen=True)
class Case:
    """A run and what must be said of it."""

    fault: str
    load: str
    seed: int
    plan: Plan
    expected: Pattern


def cases() -> Iterator[Case]:
    """Yield all of them."""
    for fault, (text, expected) in FAULTS.items():
        for load, users in LOADS.items():
            # The slow endpoint alone takes all workers at 160 requests/s: that would be a cliff as well.
            top = users // 2 if fault == "slow-endpoint" else users
            for seed in SEEDS:
                begins_s = SLOW_FROM_S if fault == "slow-endpoint" else 0.0
                plan = Plan(steps(top // 8, top, 8, 40), LENGTH_S, text, begins_s, seed=seed)
                yield Case(fault, load if top == users else f"{top} users", seed, plan, expected)
