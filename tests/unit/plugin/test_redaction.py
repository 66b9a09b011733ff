"""Tests of the redaction of secrets in request names."""

from __future__ import annotations

import pytest

from locust_otel.plugin.redaction import redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/login?token=s3cr3t", "/login?token=REDACTED"),
        ("/a?page=2&api_key=s3cr3t&sort=up", "/a?page=2&api_key=REDACTED&sort=up"),
        ("/a?Access-Token=1&PASSWORD=s3cr3t#top", "/a?Access-Token=REDACTED&PASSWORD=REDACTED#top"),
        ("/file?X-Amz-Signature=abc&X-Amz-Credential=x/y", "/file?X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED"),
        ("https://alice:s3cr3t@shop.test/a?x=1", "https://REDACTED:REDACTED@shop.test/a?x=1"),
        ("https://s3cr3t@shop.test/", "https://REDACTED:REDACTED@shop.test/"),
    ],
)
def test_secrets_are_replaced(text: str, expected: str) -> None:
    """Only the value is replaced; the key and the rest stay."""
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/api/products/[id]",
        "/search?q=token&page=3",
        "/search?tokens=5&keyword=key",
        "token=5",
        "mail to alice@shop.test",
        "a = b",
        "/users/alice@shop.test/orders",
        "SELECT * FROM t WHERE token='x'",
    ],
)
def test_other_texts_stay(text: str) -> None:
    """A text that only resembles a secret stays."""
    assert redacted(text) == text
