"""Simulation of shoppers in the demo shop in virtual time, with the record of a run as result.

The shop is the real one: `demo.shop_server.Shop` with its queues, faults and storefront. There is no network, no
processor and no Locust. The shoppers do what those of `locustfiles/webshop.py` do.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from locust_otel.core.snapshot import SeriesKey
from locust_otel.demo.faults import parse
from locust_otel.demo.shop_server import Shop
from locust_otel.slo.objectives import Slo
from locust_otel.wire.record import Mark
from tests.analysis.virtual import Clock, patched
from tests.unit.factories import Load, worker
from tests.unit.tapes import Tape

USER_CLASS = "WebshopUser"
_NETWORK_S = 0.001


@dataclass(frozen=True)
class Plan:
    """Plan of a simulation.

    Attributes:
        users: Users by virtual second.
        length_s: Virtual seconds.
        fault: Value of `--fault`; empty for none.
        fault_from_s: Begin of the fault.
        fault_to_s: End of the fault; None for never.
        has_mark: Whether the run has marks at both.
        time_scale: Factor on the shop's service times.
    """

    users: Callable[[float], int]
    length_s: int
    fault: str = ""
    fault_from_s: float = 0.0
    fault_to_s: float | None = None
    has_mark: bool = False
    seed: int = 1
    time_scale: float = 1.0


def steps(low: int, high: int, count: int, step_s: float) -> Callable[[float], int]:
    """Return a number of users that rises in equal steps up to `high`."""

    def users(time_s: float) -> int:
        step = min(int(time_s / step_s), count - 1)
        return round(low + (high - low) * step / (count - 1))

    return users


class _Shopper:
    def __init__(self, shop: Shop, clock: Clock, aggregate: Load, rng: random.Random) -> None:
        self._shop, self._clock, self._aggregate, self._rng = shop, clock, aggregate, rng
        self._token = ""
        self._items = 0
        self.is_leaving = False

    def live(self) -> None:
        """Do the tasks of a shopper until it is to leave."""
        while self._request("POST", "/api/login", {"username": "shopper", "password": "locust"}) != 200:
            self._clock.sleep(1)
        tasks: Sequence[Callable[[], object]] = (self._browse, self._view, self._add, self._order)
        while not self.is_leaving:
            self._rng.choices(tasks, (5, 3, 1, 1))[0]()
            self._clock.sleep(self._rng.uniform(1, 5))

    def _browse(self) -> None:
        self._request("GET", "/api/products")

    def _view(self) -> None:
        self._request("GET", f"/api/products/{self._rng.randint(1, 1000)}", name="/api/products/[id]")

    def _add(self) -> None:
        self._items += self._request("POST", "/api/cart", {"product_id": 5, "quantity": 1}) == 200

    def _order(self) -> None:
        if not self._items:
            self._add()
        self._items = 0
        self._request("POST", "/api/orders", good=(201,))

    def _request(
        self, method: str, path: str, body: object = None, *, name: str = "", good: Sequence[int] = (200,)
    ) -> int:
        began_s = self._clock.now_s
        text = b"" if body is None else json.dumps(body).encode()
        environ = {
            "PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", "wsgi.input": io.BytesIO(text),
            "HTTP_AUTHORIZATION": f"Bearer {self._token}",
        }  # fmt: skip
        lines: list[str] = []
        parts = self._shop(environ, lambda line, _headers: lines.append(line))
        answer = b"".join(parts)
        status = int(lines[0].split()[0])
        self._clock.sleep(self._rng.expovariate(1 / _NETWORK_S))
        if path == "/api/login" and status == 200:
            self._token = json.loads(answer)["token"]
        outcome = "success" if status in good else "failure"
        key = SeriesKey(method, name or path, USER_CLASS, outcome)
        self._aggregate.of(key).pending.extend(((self._clock.now_s - began_s) * 1000, len(answer)))
        if outcome == "failure":
            self._aggregate.count_error(method, name or path, str(status))
        return status


def simulate(plan: Plan, folder: Path, slo: Slo | None = None, *, start_time: float = 1_764_000_000.25) -> Path:
    """Run a plan, and return its record, with `start_time` (Unix time) as its start."""
    clock = Clock()
    folder.mkdir(parents=True, exist_ok=True)
    thresholds = slo.thresholds_s if slo is not None else ()
    aggregate = Load(slow_s=5.0, max_names=200, thresholds_s=thresholds)
    rng = random.Random(plan.seed)
    info = {"host": "http://shop", "locustfile": "webshop.py", "profile": ""}
    tape = Tape(folder, aggregate, slo, run_id=f"simulated-{plan.seed}", info=info, start_time=start_time)
    with patched(clock):
        shop = Shop(seed=plan.seed, time_scale=plan.time_scale)
        marks: list[Mark] = []

        def inject() -> None:
            shop.activate(parse(plan.fault))
            marks.extend([Mark(plan.fault_from_s, f"fault {plan.fault}", "fault")] * plan.has_mark)

        def clear() -> None:
            shop.clear()
            marks.extend([Mark(clock.now_s, "fault cleared", "recovery")] * plan.has_mark)

        if plan.fault:
            clock.call_at(plan.fault_from_s, inject)
            if plan.fault_to_s is not None:
                clock.call_at(plan.fault_to_s, clear)
        shoppers: list[_Shopper] = []
        for second in range(plan.length_s):
            wanted = plan.users(second)
            while len(shoppers) > wanted:
                shoppers.pop().is_leaving = True
            while len(shoppers) < wanted:
                shopper = _Shopper(shop, clock, aggregate, random.Random(rng.random()))
                shoppers.append(shopper)
                clock.call_at(second + rng.random(), lambda shopper=shopper: clock.spawn(shopper.live))  # type: ignore[misc]
            clock.run(second + 1)
            aggregate.tally()
            users, target = {USER_CLASS: len(shoppers)}, {USER_CLASS: wanted}
            tape.interval(
                second + 1.0, marks=tuple(marks), workers=(worker(cpu_ratio=0.3),), users=users, users_target=target
            )
            del tape.taken[:-1]
            marks.clear()
    tape.end()
    return tape.path
