"""Tests of what the processes of a run agree on for its objectives: bounds and names, over Locust's wire."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from locust.rpc.protocol import Message

from locust_otel.core.catalogue import OTHER
from locust_otel.core.settings import resolve
from locust_otel.core.snapshot import SeriesKey
from locust_otel.plugin.nodes import Order, order_of
from locust_otel.plugin.series import Aggregate
from locust_otel.slo.counts import count
from locust_otel.slo.objectives import Match, Objective, Sli
from tests.unit.factories import objectives, record

LATENCY = Objective("a", Sli.LATENCY, Decimal("0.9"), Decimal("0.123"), Match(names=("/b é 🦗", "/a")))


def sent(order: Order) -> Order:
    """Return an order as a worker has it, which Locust sends as part of its options."""
    data: Any = Message.unserialize(Message("spawn", {"parsed_options": {"run": list(order)}}, None).serialize()).data
    return Order(*data["parsed_options"]["run"])


def test_an_order_over_the_wire() -> None:
    """A worker's histogram has the bounds that the master's objectives need, to the last bit."""
    settings = replace(resolve(None, {"prometheus_port": "off"}), slo=objectives(objectives=(LATENCY,)))
    order = order_of("run-1", settings)
    assert sent(order) == order
    assert (order.thresholds_s, order.kept_names) == ([0.123], ["/a", "/b é 🦗"])
    worker = sent(order).aggregate()
    assert worker.layout == order.aggregate().layout
    record(worker, SeriesKey("GET", "/a", "", "success"), [123, 123.01])
    assert count(LATENCY, worker.snapshot()) == {("GET", "/a"): (1, 1, 0.0)}


def test_an_order_without_objectives() -> None:
    """Without an SLO file there is nothing to keep."""
    order = order_of("run-1", resolve(None, {"prometheus_port": "off"}))
    assert (order.thresholds_s, order.kept_names) == ([], [])
    assert sent(order) == order


def test_names_that_objectives_ask_for_are_kept() -> None:
    """A name of an objective is never folded away, with any method, however many others there are."""
    requests = Aggregate(slow_s=5.0, max_names=1, kept_names=["/kept"])
    assert requests.admitted("GET", "/a") == ("GET", "/a")
    assert requests.is_full
    assert requests.admitted("GET", "/b") == ("GET", OTHER)
    assert requests.admitted("GET", "/kept") == ("GET", "/kept")
    assert requests.admitted("PUT", "/kept") == ("PUT", "/kept")
    assert requests.admitted("PUT", "/b") == ("PUT", OTHER)
    requests.admit_only([("GET", "/a")])
    assert requests.admitted("DELETE", "/kept") == ("DELETE", "/kept")
    assert ("DELETE", "/kept") in requests.names
