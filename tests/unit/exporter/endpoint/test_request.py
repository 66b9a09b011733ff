"""Tests of requests and answers as plain values."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest

from locust_otel.exporter.endpoint.request import PIECE_BYTES, Answer, Request, joined


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


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True), ("GZIP", True), ("deflate, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False),
        ("gzip; q=0.000, *", False), ("br", False), ("identity", False), ("", False), ("gzip;q=1.0", True),
        ("gzip; q = 0", False),
    ],
)  # fmt: skip
def test_who_gets_gzip(header: str, accepted: bool) -> None:
    """Only a client that accepts gzip gets it."""
    assert Request.of(scope((b"accept-encoding", header.encode()))).accepts_gzip == accepted
    assert not Request.of(scope()).accepts_gzip


def test_a_compressed_answer() -> None:
    """It is the same text, with the length of what is sent."""
    plain = Answer.text(200, "für\n" * 1_000, "text/html", {"Allow": "GET"})
    compressed = plain.gzipped()
    data = b"".join(compressed.pieces)
    assert gzip.decompress(data) == b"".join(plain.pieces)
    assert compressed.headers == {**plain.headers, "Content-Length": str(len(data)), "Content-Encoding": "gzip"}


def test_an_answer_is_put_together_as_it_is_taken() -> None:
    """No more than a piece is copied before it is asked for, and all pieces together are the whole."""
    asked = 0

    def lines() -> Iterator[bytes]:
        nonlocal asked
        for number in range(1_000):
            asked += 1
            yield b"%d" % (number % 10) * 1_000

    pieces = joined(lines())
    first = next(pieces)
    assert PIECE_BYTES <= len(first) < PIECE_BYTES + 1_000
    assert asked == 66
    assert first + b"".join(pieces) == b"".join(lines())
