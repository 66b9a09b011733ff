"""A load test as a test: `pytest test_webshop.py`, with the shop of `locust-otel demo --shop-only` or one of your own.

Locust is imported first: it patches sockets and locks. The other tests of the same process run with that.
"""

from __future__ import annotations

import os
from pathlib import Path

import gevent
import pytest
from locust.env import Environment
from webshop import WebshopUser  # type: ignore[import-not-found,unused-ignore]  # beside this file

import locust_otel

HERE = Path(__file__).parent


@pytest.mark.skipif("SHOP" not in os.environ, reason="SHOP names no shop: SHOP=http://127.0.0.1:8000")
def test_the_shop_keeps_its_promises() -> None:
    """Twenty users for half a minute, judged by slo.yaml."""
    environment = Environment(user_classes=[WebshopUser], host=os.environ["SHOP"])
    runner = environment.create_local_runner()
    bridge = locust_otel.attach(environment, slo=str(HERE / "slo.yaml"), prometheus_port="off")
    runner.start(20, spawn_rate=20)
    gevent.sleep(30)
    runner.quit()
    bridge.close()  # after it the verdict is final
    assert bridge.verdict() == "met", bridge.standing()
