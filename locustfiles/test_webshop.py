"""A load test in pytest, which passes if the objectives of slo.yaml are met.

Start the demo shop, then run it:

    python -m locust_otel.demo.shop --port 8765
    pytest locustfiles/test_webshop.py

Importing Locust patches sockets and locks, also for other tests of the same process.
"""

from __future__ import annotations

import os
from pathlib import Path

import gevent
from locust import HttpUser, between, task
from locust.env import Environment

import locust_otel

SLO = Path(__file__).with_name("slo.yaml")
SECONDS = 30


class Phone(HttpUser):
    """Fetches news and data."""

    host = os.environ.get("SHOP", "http://127.0.0.1:8765")
    wait_time = between(0.5, 1.5)

    @task(3)
    def feed(self) -> None:
        """Fetch the news."""
        self.client.get("/api/mobile/feed?since=2026-01-31", name="/api/mobile/feed")

    @task
    def data(self) -> None:
        """Fetch the data, with a key."""
        self.client.get("/api/v1/data", headers={"X-API-Key": "demo-key"})


def test_the_shop_keeps_its_promises() -> None:
    """Twenty users for half a minute."""
    environment = Environment(user_classes=[Phone])
    runner = environment.create_local_runner()
    bridge = locust_otel.attach(environment, slo=str(SLO), prometheus_port="off")
    runner.start(20, spawn_rate=20)
    gevent.sleep(SECONDS)
    runner.quit()
    bridge.close()  # from here on the verdict is final
    assert bridge.verdict() == "met", bridge.standing()
