"""Tests of requests and answers as plain values."""

from __future__ import annotations

from typing import Any

import pytest

from locust_otel.exporter.endpoint.request import Answer, Request


def scope(*headers: tuple[bytes, bytes], **changes: Any) -> dict[str, Any]:
    """Return a request as an ASGI server hands it over."""
    values = {"client": ("10.0.0.1", 4711), "server": ("10.0.0.2", 9646), "scheme": "https", "method": "GET"}
    return {"path": "/metrics", "headers": list(headers), **values, **changes}


def test_a_request() -> None:
    """Address, port and headers are those of the scope; headers of one name are one, and may hold any byte."""
    request = Request.of(scope((b"accept", b"a"), (b"x", b"\xff"), (b"accept", b"b")))
    assert request == Request("GET", "/metrics", {"accept": "a, b", "x": "\xff"}, "10.0.0.1", "https", 9646)


def test_a_request_without_an_address() -> None:
    """A client that has gone already has none."""
    request = Request.of(scope(client=None, server=None))
    assert (request.client, request.port) == ("", 0)


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([(b"content-length", b"0")], 0),
        ([(b"content-length", b"12")], 12),
        ([(b"transfer-encoding", b"chunked")], None),
    ],
)
def test_the_length_of_a_body(headers: list[tuple[bytes, bytes]], length: int | None) -> None:
    """It is known, but for a body in chunks."""
    assert Request.of(scope(*headers)).length == length


def test_an_answer_of_text() -> None:
    """Its length is in bytes, its type says UTF-8, and further headers are added."""
    answer = Answer.text(409, "für\n", "text/html", {"Allow": "GET"})
    assert (answer.status, list(answer.pieces)) == (409, ["für\n".encode()])
    assert answer.headers == {"Content-Type": "text/html; charset=utf-8", "Content-Length": "5", "Allow": "GET"}
