"""Tests of the way from a request to its trace."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import requests

from locust_otel.plugin.traces import SpanContext, of_request, parse
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
