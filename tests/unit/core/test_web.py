"""Tests of URLs, header values, JSON and errors; tests/integration/test_web.py sends requests."""

from __future__ import annotations

from urllib.error import URLError

import pytest

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError


def test_success() -> None:
    """A status from 200 to 299 is a success."""
    assert [status for status in (100, 199, 200, 204, 299, 300, 401, 500) if web.Reply(status, b"").is_success] == [
        200, 204, 299,
    ]  # fmt: skip


def test_json() -> None:
    """Invalid or too deeply nested JSON is a ValueError."""
    assert web.decoded(b'{"a": 1}') == {"a": 1}
    for text in (b"", b"<html>", b"\xff", b"[" * 100_000):
        with pytest.raises(ValueError, match=r"Expecting value|decode|nested"):
            web.decoded(text)


@pytest.mark.parametrize("value", ["Bearer s3cr3t\nX-Other: 1", "Bearer s3cr3t ü"])
def test_header_values(value: str) -> None:
    """The value of a header is one line of ASCII; the error does not quote it."""
    assert web.header_value("Bearer s3cr3t", "VARIABLE", slug="slug") == "Bearer s3cr3t"
    with pytest.raises(ConfigurationError, match=r"VARIABLE: The value is not one line of ASCII\..*\(slug\)") as caught:
        web.header_value(value, "VARIABLE", slug="slug")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        *((url, True) for url in ("http://a", "https://a:1/prefix", "http://[::1]:9090", "http://me:secret@a")),
        *((url, False) for url in ("", "a:9090", "ftp://a", "file:///a", "http://", "http://a:port", "http://a:0")),
        ("http://[", False),
    ],
)
def test_servers(url: str, expected: bool) -> None:
    """The URL of a server has the scheme http or https, a host, and a valid port."""
    assert web.is_server(url) == expected


def test_base() -> None:
    """A base loses its last slash; credentials, queries and other texts are refused, without the credentials."""
    assert web.base_of("http://a:1/prefix/", "--url", "VARIABLE", "http://a", slug="slug") == "http://a:1/prefix"
    for url in ("http://me:s3cr3t@a", "http://a?b", "http://a#b", "http://a b", "http://ü", "ftp://a", "http://a\n"):
        with pytest.raises(
            ConfigurationError, match=r"^--url: .* Write http://a; credentials go into VARIABLE\."
        ) as error:
            web.base_of(url, "--url", "VARIABLE", "http://a", slug="slug")
        assert "s3cr3t" not in str(error.value)


def test_reasons() -> None:
    """The text of an error is that of the system, or the name of the error."""
    refused = ConnectionRefusedError(111, "Connection refused")
    assert str(web.UnreachableError(URLError(refused))) == "Connection refused"
    assert str(web.UnreachableError(refused)) == "Connection refused"
    assert str(web.UnreachableError(URLError(TimeoutError()))) == "TimeoutError"
    assert web.UnreachableError(URLError(refused)).cause is refused
