"""Tests of `traceparent` with Locust's clients and a real server: requests are otherwise as without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from locust import FastHttpUser, HttpUser
from locust.env import Environment

from locust_otel.plugin.traces import Propagator, of_request
from tests.unit.otlp_sinks import Answer, HttpSink, reply

OK = reply(200, b"ok", "text/plain")


@contextmanager
def serving(base: type[Any], answer: Answer) -> Iterator[tuple[Any, HttpSink]]:
    """Give an instrumented user and its server, and close its connections at the end."""
    propagator = Propagator()
    propagator.ratio = 1.0
    with HttpSink(answer) as sink:
        user_class = type("Shopper", (base,), {"host": f"http://127.0.0.1:{sink.port}", "tasks": []})
        propagator.instrument([user_class])
        user = user_class(Environment(user_classes=[user_class]))
        try:
            yield user, sink
        finally:
            (user.client.client.clientpool if isinstance(user, FastHttpUser) else user.client).close()


@pytest.fixture(params=[HttpUser, FastHttpUser])
def serve(request: pytest.FixtureRequest) -> Callable[[Answer], Any]:
    """Return `serving` for one of Locust's users."""
    return lambda answer: serving(request.param, answer)


def test_a_response_belongs_to_its_trace(serve: Callable[[Answer], Any]) -> None:
    """The server receives the trace that `of_request` finds in the response, and the user's own headers."""
    with serve(OK) as (user, sink):
        spans = [of_request(user.client.get("/", headers={"X-Mine": "1"}), None) for _ in range(2)]
    received = [request.headers["traceparent"].split("-")[1:3] for request in sink.received]
    assert received == [[span.trace_id, span.span_id] for span in spans if span]
    assert received[0] != received[1]
    assert [request.headers["x-mine"] for request in sink.received] == ["1", "1"]


def test_failed_requests(serve: Callable[[Answer], Any]) -> None:
    """Locust reports a failed request once, with its exception."""
    failures: list[object] = []
    with serve(lambda _: None) as (user, _):
        user.environment.events.request.add_listener(lambda exception, **_: failures.append(exception))
        user.client.get("/")
    assert [failure is not None for failure in failures] == [True]


def test_renamed_requests(serve: Callable[[Answer], Any]) -> None:
    """Locust's `rename_request` and `catch_response` work as before."""
    names: list[str] = []
    with serve(OK) as (user, sink):
        user.environment.events.request.add_listener(lambda name, **_: names.append(name))
        rename = getattr(user.client, "rename_request", None)  # FastHttpUser's came after Locust 2.41
        with rename("/item/[id]") if rename is not None else nullcontext():
            user.client.get("/item/1", name=None if rename is not None else "/item/[id]")
        with user.client.get("/item/2", catch_response=True) as response:
            response.failure("no")
    assert len(sink.received) == 2
    assert names == ["/item/[id]", "/item/2"]
