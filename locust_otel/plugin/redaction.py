"""Redaction of secrets in request names: values of secret parameters, user and password of a URL."""

from __future__ import annotations

import re

REDACTED = "REDACTED"
"""Replaces a secret in a name, as OpenTelemetry's conventions for URLs require.
https://opentelemetry.io/docs/specs/semconv/registry/attributes/url/
"""

_SECRETS = (
    r"access[-_]?key|access[-_]?token|api[-_]?key|auth|authorization|awsaccesskeyid|bearer|client[-_]?secret|credential|"
    r"jwt|key|pass|passwd|password|pwd|refresh[-_]?token|secret|session[-_]?id|sig|signature|token|x-amz-[a-z-]+|"
    r"x-goog-signature"
)
_PARAMETER = re.compile(rf"([?&;](?:{_SECRETS})=)[^&;#\s]+", re.IGNORECASE)
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/?#\s@]+@", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return a text in which values of secret parameters, user and password of a URL are replaced.

    Locust names a request after its URL if the locustfile gives no name, and many people can read labels.
    """
    # Most names have neither, and the search for one character is fast.
    if "=" in text:
        text = _PARAMETER.sub(rf"\1{REDACTED}", text)
    if "@" in text:
        text = _USER.sub(rf"\1{REDACTED}:{REDACTED}@", text)
    return text
