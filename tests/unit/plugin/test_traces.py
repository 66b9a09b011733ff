"""Tests of `traceparent`: read from requests, and sent with them, well-formed and at the ratio."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from locust import FastHttpUser, HttpUser, User
from locust.env import Environment
from requests.structures import CaseInsensitiveDict

from locust_otel.plugin.traces import Propagator, SpanContext, of_request, parse
from tests.unit.factories import SPAN_ID, TRACE_ID, TRACEPARENT
from tests.unit.otlp_sinks import HttpSink, Received, reply

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
    """What is malformed, or not sampled, gives nothing."""
    assert parse(header) is None


def test_of_a_response_of_requests_that_is_falsy() -> None:
    """The header is found on a real response of the `requests` library, also where its status makes it falsy."""
    response = requests.Response()
    response.status_code = 503
    response.request = requests.Request("GET", "http://shop/", headers={"TraceParent": TRACEPARENT}).prepare()
    assert not response
    assert of_request(response, {}) == SPAN


@pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
def test_of_plain_dictionaries(name: str) -> None:
    """Headers that know no case, and the context of a custom client, are looked at under both usual spellings."""
    assert of_request(SimpleNamespace(request=SimpleNamespace(headers={name: TRACEPARENT})), None) == SPAN
    assert of_request(None, {name: TRACEPARENT}) == SPAN


def test_headers_come_before_the_context() -> None:
    """What really went out wins over what the context says; an unsampled header leaves the word to the context."""
    other = f"00-{'a' * 32}-{'b' * 16}-01"
    response = SimpleNamespace(request=SimpleNamespace(headers={"traceparent": TRACEPARENT}))
    assert of_request(response, {"traceparent": other}) == SPAN


@pytest.mark.parametrize(
    ("response", "context"),
    [
        (None, None), (None, {}), (object(), object()), (SimpleNamespace(request=None), []),
        (SimpleNamespace(request=SimpleNamespace(headers=None)), None),
        (SimpleNamespace(request=SimpleNamespace(headers=[("traceparent", TRACEPARENT)])), {"traceparent": 3}),
    ],
)  # fmt: skip
def test_without_a_header(response: object, context: object) -> None:
    """No response, no request, no headers, or headers of another shape give nothing."""
    assert of_request(response, context) is None


# https://www.w3.org/TR/trace-context/#traceparent-header-field-values: version 00, no id all zero, flags 00 or 01
W3C = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")
MINE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
USERS = (HttpUser, FastHttpUser)


def propagator(ratio: float | None = 1.0) -> Propagator:
    """Return a propagator with this ratio."""
    made = Propagator()
    made.ratio = ratio
    return made


def headers(count: int, ratio: float | None) -> list[str]:
    """Return many headers."""
    made = propagator(ratio)
    return [made.header() for _ in range(count)]


def test_format() -> None:
    """Each header is one of the W3C's version 00, and no two of them name the same trace or span."""
    made = headers(2_000, 0.5)
    assert all(W3C.fullmatch(header) for header in made)
    assert len({header.split("-")[1] for header in made}) == len(made)
    assert len({header.split("-")[2] for header in made}) == len(made)


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (1.0, 10_000, 10_000), (0.1, 850, 1_150)])
def test_ratio(ratio: float, low: int, high: int) -> None:
    """Of 10,000 headers the given share says sampled, within five standard deviations."""
    sampled = sum(header.endswith("-01") for header in headers(10_000, ratio))
    assert low <= sampled <= high


def test_read_back() -> None:
    """What says sampled is what an exemplar is made of, with the same ids; the rest is not."""
    for header in headers(200, 0.5):
        found = parse(header)
        if header.endswith("-01"):
            assert found is not None
            assert (found.trace_id, found.span_id) == tuple(header.split("-")[1:3])
        else:
            assert found is None


def test_random_of_the_user() -> None:
    """The numbers a user draws after `random.seed` are not disturbed, and the ids do not repeat with the seed."""
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    first = headers(10, 0.5)
    assert [random.random() for _ in range(3)] == expected
    random.seed(7)
    assert headers(10, 0.5) != first


@contextmanager
def user_of(user_class: type[Any], sink: HttpSink) -> Iterator[Any]:
    """Make a user as Locust does, and close its connections at the end."""
    user = user_class(Environment(user_classes=[user_class], host=f"http://127.0.0.1:{sink.port}"))
    try:
        yield user
    finally:
        if isinstance(user, FastHttpUser):
            user.client.client.clientpool.close()
        else:
            user.client.close()


@pytest.fixture(params=USERS)
def user_class(request: pytest.FixtureRequest) -> type[Any]:
    """Return a fresh class of user, for it will be changed."""
    base = request.param
    return type("Shopper", (base,), {"host": None, "tasks": []})


def received(user_class: type[Any], act: Callable[[Any], Any], made: Propagator | None = None) -> list[Received]:
    """Return the requests that the server got when a user of an instrumented class acted."""
    made = made or propagator()
    with HttpSink(reply(200, b"ok", "text/plain")) as sink:
        user_class.host = f"http://127.0.0.1:{sink.port}"
        made.instrument([user_class])
        with user_of(user_class, sink) as user:
            act(user)
        return sink.received


def traceparents(requests: list[Received]) -> list[str | None]:
    """Return the header of each request."""
    return [request.headers.get("traceparent") for request in requests]


def test_sent(user_class: type[Any]) -> None:
    """Every method of a client sends a header, a new one each time, and the response belongs to the trace."""
    spans: list[str] = []

    def act(user: Any) -> None:
        for call in (user.client.get, user.client.post, user.client.put, user.client.delete):
            response = call("/a", name="a")
            assert response.status_code == 200
            found = of_request(response, None)
            assert found is not None
            spans.append(found.trace_id)
        user.client.request("GET", "/b")

    sent = traceparents(received(user_class, act))
    assert len(sent) == 5
    assert all(header and W3C.fullmatch(header) for header in sent)
    assert len(set(sent)) == 5
    assert [header.split("-")[1] for header in sent[:4] if header] == spans


def test_other_headers_stay(user_class: type[Any]) -> None:
    """What the user sends goes with it, and the user's own dictionary is not changed."""
    own: dict[str, str] = {"X-Mine": "1"}
    (request,) = received(user_class, lambda user: user.client.get("/", headers=own))
    assert request.headers["x-mine"] == "1"
    assert "traceparent" in request.headers
    assert own == {"X-Mine": "1"}


@pytest.mark.parametrize(
    "own", [{"traceparent": MINE}, {"Traceparent": MINE}, {"TRACEPARENT": MINE}, CaseInsensitiveDict(Traceparent=MINE)]
)
def test_own_header_of_a_request(user_class: type[Any], own: Mapping[str, str]) -> None:
    """A request with a header of its own, in whatever case, keeps it, and has no second one."""
    requests = received(user_class, lambda user: user.client.get("/", headers=own))
    assert traceparents(requests) == [MINE]


def test_own_header_of_a_session() -> None:
    """A header that the user gave to the whole session of an HttpUser stays."""
    shopper = type("Shopper", (HttpUser,), {"tasks": []})

    def act(user: Any) -> None:
        user.client.headers["traceparent"] = MINE
        user.client.get("/")

    assert traceparents(received(shopper, act)) == [MINE]


def test_own_header_of_a_fast_user() -> None:
    """A header that the user gave to all requests of a FastHttpUser stays."""
    shopper = type("Shopper", (FastHttpUser,), {"tasks": [], "default_headers": {"traceparent": MINE}})
    assert traceparents(received(shopper, lambda user: user.client.get("/"))) == [MINE]


def test_no_ratio(user_class: type[Any]) -> None:
    """Without a ratio nothing is sent, also by users that were made while there was one."""
    made = propagator(0.5)

    def act(user: Any) -> None:
        user.client.get("/")
        made.ratio = None
        user.client.get("/")

    first, second = traceparents(received(user_class, act, made))
    assert first is not None
    assert second is None


def test_ratio_of_the_next_run(user_class: type[Any]) -> None:
    """A new ratio holds for users that are there already."""
    made = propagator(0.0)

    def act(user: Any) -> None:
        user.client.get("/")
        made.ratio = 1.0
        user.client.get("/")

    sent = traceparents(received(user_class, act, made))
    assert [header and header[-2:] for header in sent] == ["00", "01"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_subclasses(user_class: type[Any], order: tuple[int, int]) -> None:
    """In a chain of classes, in whichever order and however often, a client is wrapped once and sends one header."""
    child = type("Child", (user_class,), {"tasks": []})
    classes = (user_class, child)
    made = propagator()
    calls = 0
    header = made.header

    def counted() -> str:
        nonlocal calls
        calls += 1
        return header()

    made.header = counted  # type: ignore[method-assign]
    for _ in range(3):
        made.instrument([classes[i] for i in order])

    def act(user: Any) -> None:
        user.client.get("/")
        assert not hasattr(user.client.request.__wrapped__, "__wrapped__")

    assert len(received(child, act, made)) == 1
    assert calls == 1


def test_constructor_of_the_user(user_class: type[Any]) -> None:
    """A user class with a constructor of its own works, and one made by it has what it set."""

    def construct(self: Any, environment: Environment) -> None:
        user_class.__init__(self, environment)
        self.basket = [1]

    child = type("Child", (user_class,), {"tasks": [], "__init__": construct})
    baskets: list[object] = []

    def act(user: Any) -> None:
        baskets.append(user.basket)
        user.client.get("/")

    assert len(traceparents(received(child, act))) == 1
    assert baskets == [[1]]


class NoClient(User):
    """A user without a client."""


class OddClient(User):
    """A user whose client is none of Locust's."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.client: Any = type("Client", (), {"request": lambda *_: "asked"})()


def test_other_users() -> None:
    """Users without a client, or with one that does not send HTTP as Locust's do, are left as they are."""
    propagator().instrument([NoClient, OddClient])
    environment = Environment(user_classes=[NoClient, OddClient])
    assert NoClient(environment).environment is environment
    odd = OddClient(environment)
    assert "request" not in vars(odd.client)
    assert odd.client.request() == "asked"


def test_failed_requests(user_class: type[Any]) -> None:
    """A request that fails is reported by Locust as it would be without us."""
    failures: list[object] = []
    made = propagator()
    with HttpSink(lambda _: None) as sink:
        user_class.host = f"http://127.0.0.1:{sink.port}"
        made.instrument([user_class])
        with user_of(user_class, sink) as user:
            user.environment.events.request.add_listener(lambda exception, **_: failures.append(exception))
            user.client.get("/")
    assert len(failures) == 1
    assert failures[0] is not None


def test_renamed_requests(user_class: type[Any]) -> None:
    """Locust's `rename_request` and `catch_response` work on as before."""
    names: list[str] = []

    def act(user: Any) -> None:
        user.environment.events.request.add_listener(lambda name, **_: names.append(name))
        rename = getattr(user.client, "rename_request", None)  # FastHttpUser's came after Locust 2.41
        with rename("/item/[id]") if rename is not None else nullcontext():
            user.client.get("/item/1", name=None if rename is not None else "/item/[id]")
        with user.client.get("/item/2", catch_response=True) as response:
            response.failure("no")

    assert len(traceparents(received(user_class, act))) == 2
    assert names == ["/item/[id]", "/item/2"]
