"""Errors of a generator's latencies, compared with `locust_run_valid`: `python -m tests.bench.calibration`.

One Locust process sends more and more requests to the demo shop, until Locust is the slow process. The shop measures
its own answers; the time that Locust measures beyond that, without what it measures beyond it when idle, is its error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from locust_otel.demo import shop
from tests.backends.servers import free_port

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
STEPS = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 70)
STEP_S = 8.0


@dataclass(frozen=True, slots=True)
class Look:
    """Measurements of both sides so far.

    Attributes:
        locust_s: Sum of the durations that Locust has measured.
        shop_s: Sum of the times that the shop took.
        valid: `locust_run_valid`.
    """

    at_s: float
    requests: int
    locust_s: float
    served: int
    shop_s: float
    cpu: float
    lag_s: float
    lags: int
    valid: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Measurements of one number of users, without its first seconds.

    Attributes:
        locust_s: Mean of what Locust measured.
        shop_s: Mean of what the shop measured.
        was_valid: Whether `locust_run_valid` was 1 at the end of it.
    """

    users: int
    per_second: float
    locust_s: float
    shop_s: float
    cpu: float
    lag_s: float
    was_valid: bool


def play(steps: tuple[int, ...] = STEPS, step_s: float = STEP_S) -> list[Step]:
    """Play the ramp, and return the measurements of each step."""
    port = free_port()
    with shop.start(workers=400, db_connections=400) as running:
        process = subprocess.Popen(
            [
                *(BIN / "locust-otel", "run", "-f", HERE / "locustfiles" / "ramp.py", "--host", running.url),
                *("--headless", "--prometheus-port", str(port), "--loglevel", "ERROR", "--only-summary"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "STEPS": ",".join(map(str, steps)), "STEP_S": str(step_s)},
        )
        try:
            return list(_steps(running, port, steps, step_s))
        finally:
            process.terminate()
            process.wait(30)


def _steps(running: shop.ShopProcess, port: int, steps: tuple[int, ...], step_s: float) -> Iterator[Step]:
    look = _look(running, port)
    while not look.requests:
        time.sleep(0.05)
        look = _look(running, port)
    began = time.monotonic()
    for number, users in enumerate(steps):
        _sleep_until(began + number * step_s + 2.5)
        before = _look(running, port)
        _sleep_until(began + (number + 1) * step_s - 0.3)
        after = _look(running, port)
        requests, served = after.requests - before.requests, after.served - before.served
        if requests and served:
            yield Step(
                users=users,
                per_second=requests / (after.at_s - before.at_s),
                locust_s=(after.locust_s - before.locust_s) / requests,
                shop_s=(after.shop_s - before.shop_s) / served,
                cpu=after.cpu,
                lag_s=(after.lag_s - before.lag_s) / max(after.lags - before.lags, 1),
                was_valid=after.valid,
            )


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.monotonic(), 0))


def _look(running: shop.ShopProcess, port: int) -> Look:
    sums: dict[str, float] = {}
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        text = ""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    routes = running.stats()["routes"]
    return Look(
        at_s=time.monotonic(),
        requests=int(sums.get("locust_request_duration_seconds_count", 0)),
        locust_s=sums.get("locust_request_duration_seconds_sum", 0.0),
        served=sum(route["count"] for route in routes),
        shop_s=sum(route["sum_s"] for route in routes),
        cpu=sums.get("locust_worker_cpu_utilization_ratio", 0.0),
        lag_s=sums.get("locust_generator_lag_seconds_sum", 0.0),
        lags=int(sums.get("locust_generator_lag_seconds_count", 0)),
        valid=sums.get("locust_run_valid", 1) == 1,
    )


def errors(steps: list[Step]) -> list[float]:
    """Return Locust's error in each step as a share of the shop's mean, beyond its difference in the first step."""
    idle_s = steps[0].locust_s - steps[0].shop_s
    return [(step.locust_s - step.shop_s - idle_s) / step.shop_s for step in steps]


def measure() -> list[dict[str, Any]]:
    """Return the steps with their errors, for JSON."""
    steps = play()
    return [asdict(step) | {"error": error} for step, error in zip(steps, errors(steps), strict=True)]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
