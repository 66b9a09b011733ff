"""Tests of requests and answers as plain values."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest

from locust_otel.exporter.endpoint.request import PIECE_BYTES, Answer, Request, joined


def scope(*headers: tuple[bytes, bytes], **changes: Any) -> dict[str, Any]:
    """Return a request as an ASGI server passes it."""
    addresses = {"client": ("10.0.0.1", 4711), "server": ("10.0.0.2", 9646)}
    return {"scheme": "https", "method": "GET", "path": "/metrics", "headers": headers, **addresses, **changes}


def test_a_request() -> None:
    """Address, port and headers are those of the scope; headers of one name are joined, and may have any byte."""
    request = Request.of(scope((b"accept", b"a"), (b"x", b"\xff"), (b"accept", b"b")))
    assert request == Request("GET", "/metrics", {"accept": "a, b", "x": "\xff"}, "10.0.0.1", "https", 9646)


def test_a_request_without_an_address() -> None:
    """A client that has disconnected has no address."""
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
    """The length of a body is known, except in chunks."""
    assert Request.of(scope(*headers)).length == length


@pytest.mark.parametrize(("text", "timeout_s"), [(None, None), (b"", None), (b"10.5", 10.5), (b"soon", None)])
def test_scrape_timeout(text: bytes | None, timeout_s: float | None) -> None:
    """The timeout is the number that Prometheus sends."""
    headers = [(b"x-prometheus-scrape-timeout-seconds", text)] if text is not None else []
    assert Request.of(scope(*headers)).scrape_timeout_s == timeout_s


def test_an_answer_of_text() -> None:
    """The length is in bytes, the type names UTF-8, and further headers are added."""
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
def test_gzip_is_accepted(header: str, accepted: bool) -> None:
    """Only a client that names gzip or any coding accepts gzip."""
    assert Request.of(scope((b"accept-encoding", header.encode()))).accepts_gzip == accepted
    assert not Request.of(scope()).accepts_gzip


def test_a_compressed_answer() -> None:
    """A compressed answer has the same text, and its own length."""
    plain = Answer.text(200, "für\n" * 1_000, "text/html", {"Allow": "GET"})
    compressed = plain.gzipped()
    data = b"".join(compressed.pieces)
    assert gzip.decompress(data) == b"".join(plain.pieces)
    assert compressed.headers == {**plain.headers, "Content-Length": str(len(data)), "Content-Encoding": "gzip"}


def test_an_answer_is_joined_as_it_is_taken() -> None:
    """Only the next piece is copied in advance, and all pieces together are the answer."""
    read = 0

    def lines() -> Iterator[bytes]:
        nonlocal read
        for number in range(1_000):
            read += 1
            yield b"%d" % (number % 10) * 1_000

    pieces = joined(lines())
    first = next(pieces)
    assert PIECE_BYTES <= len(first) < PIECE_BYTES + 1_000
    assert read == 66
    assert first + b"".join(pieces) == b"".join(lines())
