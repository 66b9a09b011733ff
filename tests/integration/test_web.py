"""Tests of requests to servers: any status, redirects, proxies, and responses that are not HTTP."""

from __future__ import annotations

import pytest

from locust_otel.core import web
from tests.unit.otlp_sinks import HttpSink, reply

SECRET = "Bearer s3cr3t"


@pytest.mark.parametrize("status", [200, 204, 302, 401, 500])
def test_any_status(status: int) -> None:
    """A GET, and a POST with a body, return the response of any status; a redirect is not followed."""
    with HttpSink(reply(status, b"text", Location="/elsewhere")) as server:
        first = web.send(server.url, timeout_s=2, uses_proxy=False)
        second = web.send(server.url, b"body", authorization=SECRET, timeout_s=2, max_bytes=2, uses_proxy=False)
    assert first == (status, b"" if status == 204 else b"text")
    assert second.body == (b"" if status == 204 else b"tex")
    got, posted = server.received
    assert (got.body, posted.body) == (b"", b"body")
    assert "authorization" not in got.headers
    assert (posted.headers["authorization"], posted.headers["content-type"]) == (SECRET, "application/json")


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go through the proxy of the environment if `uses_proxy` is set."""
    with HttpSink(reply(200, b"proxy")) as proxy, HttpSink(reply(200, b"server")) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert web.send(server.url, timeout_s=2).body == b"proxy"
        assert web.send(server.url, timeout_s=2, uses_proxy=False).body == b"server"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_no_response(answer: bytes) -> None:
    """A response that is not HTTP, or does not end in time, is an error."""
    with HttpSink(answer) as server, pytest.raises(web.UnreachableError):
        web.send(server.url, authorization=SECRET, timeout_s=0.2, uses_proxy=False)


def test_unknown_scheme() -> None:
    """A URL that is not http or https is an error; no file is read."""
    with pytest.raises(web.UnreachableError):
        web.send("file:///etc/hostname", timeout_s=1)
