"""Tests of the parts that a local process, a worker and a master share."""

from __future__ import annotations

from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from locust import User

import locust_otel
from locust_otel.plugin.link import Link
from locust_otel.plugin.node import Node, Order
from locust_otel.slo.objectives import Match, Objective, Sli
from tests.unit.factories import objectives
from tests.unit.processes import Exporter, environment, flags, sent

AUTO = str(Path(locust_otel.__file__).parent / "auto.py")


HOSTS = [type(f"User{number}", (User,), {"host": f"http://{number}"}) for number in range(2)]


def test_ids() -> None:
    """The user's id gets a number from the second run on; without one each run has a new id."""
    given = Node(environment(), flags(run_id="nightly"), Link())
    assert [given._next_run_id() for _ in range(3)] == ["nightly", "nightly-2", "nightly-3"]
    new = Node(environment(), flags(), Link())
    assert new._next_run_id() != new._next_run_id()


LATENCY = Objective("a", Sli.LATENCY, Decimal("0.9"), Decimal("0.123"), Match(names=("/b é 🦗", "/a")))


def test_an_order_over_locusts_wire() -> None:
    """A worker gets the exact bounds and the names that the objectives need."""
    order = Order.of("run-1", Exporter(slo=objectives(objectives=(LATENCY,))).ready)
    assert Order(*sent(list(order))) == order
    assert (order.thresholds_s, order.kept_names) == ([0.123], ["/a", "/b é 🦗"])
    plain = Order.of("run-1", Exporter().ready)
    assert (plain.thresholds_s, plain.kept_names, plain.slow_s, plain.max_names) == ([], [], 5.0, 200)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"host": "https://alice:s3cr3t@shop/a"}, {"host": "https://shop/a"}),
        ({"host": None}, {"host": "http://0"}),
        ({"host": None, "user_classes": HOSTS}, {"host": ""}),  # they differ
        ({"host": None, "user_classes": []}, {"host": ""}),
        ({"parsed_locustfiles": None}, {"locustfile": "other.py"}),
        ({"parsed_locustfiles": [AUTO, "/x/y.py"]}, {"locustfile": "y.py"}),
        ({"parsed_locustfiles": ["/x/\udcff.py"]}, {"locustfile": "?.py"}),
        ({"profile": None}, {"profile": ""}),
    ],
)  # fmt: skip
def test_info(changes: dict[str, Any], expected: dict[str, str]) -> None:
    """It has the host, the file, the profile, the version of Locust and the user's labels."""
    values = {
        "host": "http://shop", "parsed_locustfiles": ["/home/me/shop.py", "b.py"], "locustfile": "other.py",
        "profile": "p", "user_classes": [HOSTS[0]], **changes,
    }  # fmt: skip
    labels = Node(SimpleNamespace(**values), flags(run_label=["team=shop"]), Link()).info()
    assert labels.pop("version") == version("locust")
    assert labels == {"host": "http://shop", "locustfile": "shop.py", "profile": "p", "team": "shop", **expected}
