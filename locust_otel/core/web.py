"""HTTP requests of our commands to servers that the user has named: proxies and certificates are the environment's.

It is `urllib`, not `requests`, which would send credentials of `~/.netrc`, and trusts its own list of certificates.
"""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from locust_otel.core.errors import ConfigurationError, LocustOtelError

JSON = "application/json"


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Returns each response as it came. A redirect would take the credentials to another host, and a POST to a GET."""

    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002  # the base's signature
        """Return the response."""
        return response

    https_response = http_response


class Reply(NamedTuple):
    """The status and the body of a response; the body is cut one byte above the limit of its request."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Success: a status from 200 to 299."""
        return 200 <= self.status < 300


class UnreachableError(LocustOtelError):
    """No response came; the text is the system's (`Connection refused`), else the name of the error.

    Attributes:
        cause: The error.
    """

    def __init__(self, error: BaseException) -> None:
        reason = getattr(error, "reason", None)
        self.cause = reason if isinstance(reason, BaseException) else error
        super().__init__(getattr(self.cause, "strerror", None) or type(self.cause).__name__)


def send(  # noqa: PLR0913  # all that requests differ in
    url: str,
    body: bytes | None = None,
    *,
    content_type: str = JSON,
    authorization: str = "",
    timeout_s: float,
    max_bytes: int = 64 << 20,
    uses_proxy: bool = True,
) -> Reply:
    """Send a GET, or with a body a POST, to a URL of http or https, and return the response, whatever its status.

    An empty `authorization` is not sent, and no error contains it. Each part of the response may take `timeout_s`.
    `uses_proxy` is for the proxy that the environment names.

    Raises:
        UnreachableError: There is no server, or its response is not HTTP.
    """
    headers = {"Accept": JSON, "Content-Type": body and content_type, "Authorization": authorization}
    present = {name: value for name, value in headers.items() if value}
    request = urllib.request.Request(url, body, present)  # noqa: S310  # callers take http and https only
    opener = urllib.request.build_opener(_AnyStatus(), urllib.request.ProxyHandler(None if uses_proxy else {}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return Reply(response.status, response.read(max_bytes + 1))
    except (OSError, HTTPException, ValueError) as error:  # a URLError is an OSError
        raise UnreachableError(error) from error


def decoded(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None


def is_server(url: str) -> bool:
    """Return whether a URL names a server: http or https, a host, and a port that can be one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def base_of(url: str, flag: str, variable: str, example: str, *, slug: str) -> str:
    """Return the URL of a server, which a flag holds, as a base for paths.

    Raises:
        ConfigurationError: It is no base, or it holds credentials, which belong into an environment variable.
    """
    if not is_server(url) or not url.isascii() or not url.isprintable() or set("@?# ") & set(url):
        found = "Credentials do not belong in a URL." if "@" in url else f"{url[:200]!r} is not the URL of a server."
        raise ConfigurationError(flag, found, f"Write {example}; credentials go into {variable}.", slug=slug)
    return url.rstrip("/")


def header_value(value: str, variable: str, *, slug: str) -> str:
    """Return the value of an `Authorization` header, which an environment variable holds; it may be empty.

    Raises:
        ConfigurationError: It cannot be the value of a header; no error quotes it.
    """
    if not value.isascii() or not value.isprintable():
        found, remedy = "The value is not one line of ASCII.", "Write the value of the header: Bearer TOKEN."
        raise ConfigurationError(variable, found, remedy, slug=slug)
    return value
