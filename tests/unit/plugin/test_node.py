"""Tests of what a local process, a worker and a master have in common."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from locust import User

import locust_otel
from locust_otel.plugin.link import Link
from locust_otel.plugin.node import Node, Order
from locust_otel.slo.objectives import Match, Objective, Sli
from tests.unit.factories import Shopper, objectives
from tests.unit.processes import Exporter, environment, flags, sent

AUTO = str(Path(locust_otel.__file__).parent / "auto.py")


def info(values: dict[str, Any], *labels: str) -> dict[str, str]:
    """Return the info of a process with such an environment."""
    return Node(SimpleNamespace(**values), flags(run_label=list(labels)), Link()).info()


def test_ids() -> None:
    """A given id gets a number from the second run on; without one each run has a new id."""
    given = Node(environment(), flags(run_id="nightly"), Link())
    assert [given._next_run_id() for _ in range(3)] == ["nightly", "nightly-2", "nightly-3"]
    made = Node(environment(), flags(), Link())
    assert made._next_run_id() != made._next_run_id()


LATENCY = Objective("a", Sli.LATENCY, Decimal("0.9"), Decimal("0.123"), Match(names=("/b é 🦗", "/a")))


def test_an_order_over_locusts_wire() -> None:
    """What the exporter says reaches a worker whole: the bounds that objectives need, to the last bit, and names."""
    order = Order.of("run-1", Exporter(slo=objectives(objectives=(LATENCY,))).ready)
    assert Order(*sent(list(order))) == order
    assert (order.thresholds_s, order.kept_names) == ([0.123], ["/a", "/b é 🦗"])
    requests = Order(*sent(list(order))).requests()
    assert requests.layout == order.requests().layout
    assert 0.123 in requests.layout.bounds
    plain = Order.of("run-1", Exporter().ready)
    assert (plain.thresholds_s, plain.kept_names, plain.slow_s, plain.max_names) == ([], [], 5.0, 200)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"host": "https://alice:s3cr3t@shop/a"}, {"host": "https://shop/a"}),
        ({"host": None}, {"host": "http://of-class"}),
        ({"host": None, "user_classes": []}, {"host": ""}),
        ({"parsed_locustfiles": None}, {"locustfile": "other.py"}),
        ({"parsed_locustfiles": [AUTO, "/x/y.py"]}, {"locustfile": "y.py"}),
        ({"parsed_locustfiles": ["/x/\udcff.py"]}, {"locustfile": "?.py"}),
        ({"profile": None}, {"profile": ""}),
    ],
)  # fmt: skip
def test_info(changes: dict[str, Any], expected: dict[str, str]) -> None:
    """The info of a run: where to, which file and profile, which Locust, and the labels of the user."""

    class Own(Shopper):
        host = "http://of-class"

    values = {
        "host": "http://shop", "parsed_locustfiles": ["/home/me/shop.py", "b.py"], "locustfile": "other.py",
        "profile": "p", "user_classes": [Own], **changes,
    }  # fmt: skip
    found = info(values, "team=shop")
    assert found.pop("version").startswith("2.")
    assert found == {"host": "http://shop", "locustfile": "shop.py", "profile": "p", "team": "shop", **expected}


def test_user_classes_with_several_hosts() -> None:
    """Where they do not agree, the run has no host."""
    classes = [type(f"User{number}", (User,), {"host": f"http://{number}"}) for number in range(2)]
    values = {"host": None, "parsed_locustfiles": ["a.py"], "locustfile": "", "profile": "", "user_classes": classes}
    assert info(values)["host"] == ""
