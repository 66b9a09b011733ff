"""Tests of requests to servers that the user has named."""

from __future__ import annotations

from urllib.error import URLError

import pytest

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError
from tests.unit.otlp_sinks import HttpSink, reply

SECRET = "Bearer s3cr3t"


@pytest.mark.parametrize("status", [200, 204, 302, 401, 500])
def test_each_status_is_a_reply(status: int) -> None:
    """A GET, or with a body a POST, is answered with any status; a redirect is not followed."""
    with HttpSink(reply(status, b"text", Location="/elsewhere")) as server:
        first = web.send(server.url, timeout_s=2, uses_proxy=False)
        second = web.send(server.url, b"body", authorization=SECRET, timeout_s=2, max_bytes=2, uses_proxy=False)
    assert first == (status, b"" if status == 204 else b"text")
    assert first.is_success == (status < 300)
    assert second.body == (b"" if status == 204 else b"tex")
    got, posted = server.received
    assert (got.body, posted.body) == (b"", b"body")
    assert "authorization" not in got.headers
    assert (posted.headers["authorization"], posted.headers["content-type"]) == (SECRET, "application/json")


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy of the environment is asked, unless it must not be."""
    with HttpSink(reply(200, b"proxy")) as proxy, HttpSink(reply(200, b"server")) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert web.send(server.url, timeout_s=2).body == b"proxy"
        assert web.send(server.url, timeout_s=2, uses_proxy=False).body == b"server"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_no_reply(answer: bytes) -> None:
    """What is not HTTP, or has no end in time, is no reply."""
    with HttpSink(answer) as server, pytest.raises(web.UnreachableError):
        web.send(server.url, authorization=SECRET, timeout_s=0.2, uses_proxy=False)


def test_json() -> None:
    """JSON is decoded; what is none, or too deep, is a ValueError."""
    assert web.decoded(b'{"a": 1}') == {"a": 1}
    for text in (b"", b"<html>", b"\xff", b"[" * 100_000):
        with pytest.raises(ValueError, match=r"Expecting value|decode|nested"):
            web.decoded(text)


@pytest.mark.parametrize("value", ["Bearer s3cr3t\nX-Other: 1", "Bearer s3cr3t ü"])
def test_headers(value: str) -> None:
    """The value of a header is one line of ASCII; another is not shown."""
    assert web.header_value(SECRET, "VARIABLE", slug="slug") == SECRET
    with pytest.raises(ConfigurationError, match=r"VARIABLE: The value is not one line of ASCII\..*\(slug\)") as raised:
        web.header_value(value, "VARIABLE", slug="slug")
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://a", "https://a:1/prefix", "http://[::1]:9090", "http://me:secret@a"])
def test_servers(url: str) -> None:
    """A scheme of the web and a host are enough."""
    assert web.is_server(url)


@pytest.mark.parametrize(
    "url", ["", "a:9090", "ftp://a", "file:///a", "http://", "http://a:port", "http://a:0", "http://["]
)
def test_others(url: str) -> None:
    """What no request can be sent to is no server."""
    assert not web.is_server(url)


def test_reasons() -> None:
    """The words are those of the system where it has some, and the name of the error elsewhere."""
    refused = ConnectionRefusedError(111, "Connection refused")
    assert str(web.UnreachableError(URLError(refused))) == "Connection refused"
    assert str(web.UnreachableError(refused)) == "Connection refused"
    assert str(web.UnreachableError(URLError(TimeoutError()))) == "TimeoutError"
