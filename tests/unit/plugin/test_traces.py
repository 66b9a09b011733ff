"""Tests of `traceparent`: read from requests, and added to the requests of users, well-formed and at the ratio."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from locust import FastHttpUser, HttpUser, User
from locust.clients import HttpSession
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from requests.structures import CaseInsensitiveDict

from locust_otel.plugin.traces import Propagator, SpanContext, of_request, parse
from tests.unit.factories import SPAN_ID, TRACE_ID, TRACEPARENT

SPAN = SpanContext(TRACE_ID, SPAN_ID)


@pytest.mark.parametrize(
    "header",
    [
        TRACEPARENT,
        f"00-{TRACE_ID}-{SPAN_ID}-03",
        f"00-{TRACE_ID}-{SPAN_ID}-ff",
        f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-will-be-like",
        f"  {TRACEPARENT}\t",
        TRACEPARENT.encode(),
    ],
)
def test_sampled_headers(header: object) -> None:
    """A well-formed header with the sampled bit set gives trace and span, text or bytes."""
    assert parse(header) == SPAN


@pytest.mark.parametrize(
    "header",
    [
        None, "", b"", 7, [], "garbage",
        f"00-{TRACE_ID}-{SPAN_ID}-00",  # not sampled
        f"00-{TRACE_ID}-{SPAN_ID}-02",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",  # a version that the recommendation forbids
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}0-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-01x",
        b"\xff\xfe",
    ],
)  # fmt: skip
def test_headers_without_a_sampled_span(header: object) -> None:
    """A malformed header, or one that is not sampled, gives None."""
    assert parse(header) is None


def with_headers(headers: object) -> Any:
    """Return a response to a request with these headers."""
    return SimpleNamespace(request=SimpleNamespace(headers=headers))


def test_of_a_falsy_response() -> None:
    """The header of a real response of `requests` is found, also if its status makes it falsy."""
    response = requests.Response()
    response.status_code = 503
    response.request = requests.Request("GET", "http://shop/", headers={"TraceParent": TRACEPARENT}).prepare()
    assert not response
    assert of_request(response, {}) == SPAN


@pytest.mark.parametrize(
    ("response", "context", "span"),
    [
        # Dictionaries with both usual spellings; a header has priority over the context.
        (with_headers({"traceparent": TRACEPARENT}), None, SPAN),
        (with_headers({"Traceparent": TRACEPARENT}), None, SPAN),
        (None, {"traceparent": TRACEPARENT}, SPAN),
        (None, {"Traceparent": TRACEPARENT}, SPAN),
        (with_headers({"traceparent": TRACEPARENT}), {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, SPAN),
        (with_headers({"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}), {"traceparent": TRACEPARENT}, SPAN),
        # No response, no request, no headers, or headers of another type.
        (None, None, None), (None, {}, None), (object(), object(), None), (SimpleNamespace(request=None), [], None),
        (with_headers(None), None, None),
        (with_headers([("traceparent", TRACEPARENT)]), {"traceparent": 3}, None),
    ],
)  # fmt: skip
def test_of_request(response: object, context: object, span: SpanContext | None) -> None:
    """The headers of the request are read first, then the context."""
    assert of_request(response, context) == span


# https://www.w3.org/TR/trace-context/#traceparent-header-field-values: version 00, no id all zero, flags 00 or 01
W3C = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


def propagator(ratio: float | None = 1.0) -> Propagator:
    """Return a propagator with this ratio."""
    propagator = Propagator()
    propagator.ratio = ratio
    return propagator


def headers(count: int, ratio: float | None) -> list[str]:
    """Return many headers."""
    source = propagator(ratio)
    return [source.header() for _ in range(count)]


def test_format() -> None:
    """Headers have the format of the W3C, each with its own trace and span; `parse` reads the sampled ones."""
    created = headers(2_000, 0.5)
    assert all(W3C.fullmatch(header) for header in created)
    assert len({header.split("-")[1] for header in created}) == len(created)
    assert len({header.split("-")[2] for header in created}) == len(created)
    for header in created:
        _, trace_id, span_id, flags = header.split("-")
        assert parse(header) == (SpanContext(trace_id, span_id) if flags == "01" else None)


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (1.0, 10_000, 10_000), (0.1, 850, 1_150)])
def test_ratio(ratio: float, low: int, high: int) -> None:
    """Of 10,000 headers the given share is sampled, within five standard deviations."""
    sampled = sum(header.endswith("-01") for header in headers(10_000, ratio))
    assert low <= sampled <= high


def test_random_numbers_of_the_user() -> None:
    """Numbers after `random.seed` stay the same, and the ids do not repeat with the seed."""
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    first = headers(10, 0.5)
    assert [random.random() for _ in range(3)] == expected
    random.seed(7)
    assert headers(10, 0.5) != first


# ------------------------------------------------------------------------------------------------------------- users

OWN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the `headers` argument of each request of Locust's clients, without sending it."""
    sent: list[Any] = []

    def request(_client: object, _method: str, _url: str, headers: Any = None, **_: object) -> None:
        sent.append(headers)

    for session in (HttpSession, FastHttpSession):
        monkeypatch.setattr(session, "request", request)
    return sent


@pytest.fixture(params=[HttpUser, FastHttpUser])
def user_class(request: pytest.FixtureRequest) -> type[Any]:
    """Return a new class of user, since it will be changed."""
    return type("Shopper", (request.param,), {"host": "http://shop", "tasks": []})


def user_of(user_class: type[Any], source: Propagator | None = None) -> Any:
    """Return a user of an instrumented class, as Locust creates it."""
    (source or propagator()).instrument([user_class])
    return user_class(Environment(user_classes=[user_class]))


def test_every_method_sends_a_new_header(user_class: type[Any], sent: list[Any]) -> None:
    """The other headers stay, and the user's own dictionary is not changed."""
    client, mine = user_of(user_class).client, {"X-Mine": "1"}
    for call in (client.get, client.post, client.put, client.delete):
        call("/a", headers=mine)
    client.request("GET", "/b")
    assert all(W3C.fullmatch(headers["traceparent"]) for headers in sent)
    assert len({headers["traceparent"] for headers in sent}) == 5
    assert [headers.get("X-Mine") for headers in sent] == ["1"] * 4 + [None]
    assert mine == {"X-Mine": "1"}


@pytest.mark.parametrize(
    "own", [{"traceparent": OWN}, {"Traceparent": OWN}, {"TRACEPARENT": OWN}, CaseInsensitiveDict(Traceparent=OWN)]
)
def test_own_header_of_a_request(user_class: type[Any], sent: list[Any], own: Mapping[str, str]) -> None:
    """A request keeps its own header, in any spelling, and gets no second one."""
    user_of(user_class).client.get("/", headers=own)
    assert sent == [own]


def test_own_header_of_all_requests(sent: list[Any]) -> None:
    """A header of the session of an HttpUser stays, and so does one of `default_headers` of a FastHttpUser."""
    http = user_of(type("Shopper", (HttpUser,), {"host": "http://shop", "tasks": []}))
    http.client.headers["traceparent"] = OWN
    fast = user_of(
        type("Fast", (FastHttpUser,), {"host": "http://shop", "tasks": [], "default_headers": {"traceparent": OWN}})
    )
    for user in (http, fast):
        user.client.get("/")
    assert sent == [None, None]


def test_the_ratio_may_change(user_class: type[Any], sent: list[Any]) -> None:
    """A new ratio holds for existing users, too; with None no header is added."""
    source = propagator(0.0)
    user = user_of(user_class, source)
    for source.ratio in (0.0, 1.0, None):
        user.client.get("/")
    assert [headers and headers["traceparent"][-2:] for headers in sent] == ["00", "01", None]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_subclasses(user_class: type[Any], sent: list[Any], order: tuple[int, int]) -> None:
    """In a chain of classes, in any order and however often, a client is wrapped once."""
    child = type("Child", (user_class,), {"tasks": []})
    source = propagator()
    for _ in range(3):
        source.instrument([(user_class, child)[index] for index in order])
    user = user_of(child, source)
    user.client.get("/")
    assert not hasattr(user.client.request.__wrapped__, "__wrapped__")
    assert len(sent) == 1


def test_constructor_of_the_user(user_class: type[Any], sent: list[Any]) -> None:
    """The user's own constructor still works."""

    def construct(self: Any, environment: Environment) -> None:
        user_class.__init__(self, environment)
        self.basket = [1]

    user = user_of(type("Child", (user_class,), {"tasks": [], "__init__": construct}))
    user.client.get("/")
    assert W3C.fullmatch(sent[0]["traceparent"])
    assert user.basket == [1]


class NoClient(User):
    """A user without a client."""


class OddClient(User):
    """A user with a client that is not Locust's."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.client: Any = type("Client", (), {"request": lambda *_: "asked"})()


def test_other_users() -> None:
    """Users without a client, or with one that is not Locust's, are not changed."""
    assert "client" not in vars(user_of(NoClient))
    odd = user_of(OddClient)
    assert "request" not in vars(odd.client)
    assert odd.client.request() == "asked"
