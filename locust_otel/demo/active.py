"""The faults that are active in the demo shop, and their joint effect at a given time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from locust_otel.demo.faults import RequestContext, ShopFault


class _Active(NamedTuple):
    fault: ShopFault
    since_s: float
    rng: random.Random


class ActiveFaults:
    """The active faults, at most one with each name; activating it again replaces it.

    Times are seconds of any monotonic clock, the same for all calls. Each activation starts its own sequence of random
    numbers from the seed and the fault's name.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._active: dict[str, _Active] = {}

    def activate(self, fault: ShopFault, now_s: float) -> None:
        """Activate a fault, from now on."""
        rng = random.Random(f"{self._seed}:{fault.name}")  # noqa: S311  # reproducible, not secret
        self._active[fault.name] = _Active(fault, now_s, rng)

    def clear(self, name: str | None = None) -> bool:
        """End one fault, or all; return whether one was active."""
        if name is not None:
            return self._active.pop(name, None) is not None
        was_active = bool(self._active)
        self._active.clear()
        return was_active

    def describe(self, now_s: float) -> list[dict[str, object]]:
        """Return name, parameters and age in seconds of each active fault."""
        return [
            {"name": name, **asdict(active.fault), "age_s": now_s - active.since_s}
            for name, active in self._active.items()
        ]

    def work_s(self, route: str, now_s: float, in_flight: int, service_s: float) -> float:
        """Return the seconds to add while the worker is held."""
        return sum(
            active.fault.work_s(RequestContext(now_s - active.since_s, in_flight, service_s))
            for active in self._concerning(route)
        )

    def delay_s(self, route: str, now_s: float, in_flight: int, service_s: float) -> float:
        """Return the seconds to add once the worker is free again."""
        return sum(
            active.fault.delay_s(RequestContext(now_s - active.since_s, in_flight, service_s), active.rng)
            for active in self._concerning(route)
        )

    def _concerning(self, route: str) -> Iterator[_Active]:
        return (active for active in self._active.values() if active.fault.concerns(route))

    def hold_s(self, now_s: float) -> float:
        """Return the seconds from now in which no request may begin or end."""
        return max((active.fault.hold_s(now_s - active.since_s) for active in self._active.values()), default=0)

    def forced_status(self, route: str) -> int | None:
        """Return the status that a fault forces on this request, or None."""
        statuses = (active.fault.forced_status(active.rng) for active in self._concerning(route))
        return next((status for status in statuses if status is not None), None)

    def pool_size(self, normal: int) -> int:
        """Return the size of the database pool."""
        return min((active.fault.pool_size(normal) for active in self._active.values()), default=normal)

    def refuses(self) -> bool:
        """Return whether the next request is closed without an answer."""
        # All faults are asked: each draws a random number for each request.
        answers = [active.fault.refuses(active.rng) for active in self._active.values()]
        return any(answers)
