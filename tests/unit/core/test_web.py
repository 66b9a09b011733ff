"""Tests of what the commands know of a server before they ask it."""

from __future__ import annotations

from urllib.error import URLError

import pytest

from locust_otel.core import web


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
    assert web.reason(URLError(refused)) == "Connection refused"
    assert web.reason(refused) == "Connection refused"
    assert web.reason(URLError(TimeoutError())) == "TimeoutError"
