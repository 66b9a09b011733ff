"""HTTP requests of the commands to servers of the user, with the proxies and certificates of the environment.

It uses `urllib`. `requests` would send credentials of `~/.netrc` and trust its own list of certificates.
"""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from locust_otel.core.errors import ConfigurationError, LocustOtelError

JSON = "application/json"


class Reply(NamedTuple):
    """Status and body of a response; the body is cut one byte above the limit of the request."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """True for a status from 200 to 299."""
        return 200 <= self.status < 300


class UnreachableError(LocustOtelError):
    """Request without a response because of `cause`; the text is the system's (`Connection refused`) or its name."""

    def __init__(self, error: BaseException) -> None:
        reason = getattr(error, "reason", None)
        self.cause = reason if isinstance(reason, BaseException) else error
        super().__init__(getattr(self.cause, "strerror", None) or type(self.cause).__name__)


def send(  # noqa: PLR0913  # requests differ in all of these
    url: str,
    body: bytes | None = None,
    *,
    content_type: str = JSON,
    authorization: str = "",
    timeout_s: float,
    max_bytes: int = 64 << 20,
    uses_proxy: bool = True,
) -> Reply:
    """Send a GET, or with a body a POST, to a URL of http or https, and return the response of any status.

    An empty `authorization` is not sent, and no error contains it. Each part of the response may take `timeout_s`.
    `uses_proxy` decides about the proxy of the environment.

    Raises:
        UnreachableError: The server does not answer, or its response is not HTTP.
    """
    headers = {"Accept": JSON, "Content-Type": body and content_type, "Authorization": authorization}
    present = {name: value for name, value in headers.items() if value}
    request = urllib.request.Request(url, body, present)  # noqa: S310  # callers take http and https only
    # `build_opener` would follow redirects, which leaks credentials and turns a POST into a GET.
    opener = urllib.request.OpenerDirector()
    handlers = urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.UnknownHandler
    for handler in (urllib.request.ProxyHandler(None if uses_proxy else {}), *(make() for make in handlers)):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return Reply(response.status, response.read(max_bytes + 1))
    except (OSError, HTTPException, ValueError) as error:  # a URLError is an OSError
        raise UnreachableError(error) from error


def decoded(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: The text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None


def is_server(url: str) -> bool:
    """Return whether a URL names a server: http or https, a host, and a valid port or no port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def base_of(url: str, flag: str, variable: str, example: str, *, slug: str) -> str:
    """Return the URL of a server, the value of a flag, as a base for paths.

    Raises:
        ConfigurationError: The URL is not a base, or contains credentials instead of an environment variable.
    """
    if not is_server(url) or not url.isascii() or not url.isprintable() or set("@?# ") & set(url):
        found = "The URL contains credentials." if "@" in url else f"{url[:200]!r} is not the URL of a server."
        raise ConfigurationError(flag, found, f"Write {example}; credentials go into {variable}.", slug=slug)
    return url.rstrip("/")


def header_value(value: str, variable: str, *, slug: str) -> str:
    """Return the value of an `Authorization` header, the value of an environment variable; it may be empty.

    Raises:
        ConfigurationError: The value is not valid in a header; the error does not quote it.
    """
    if not value.isascii() or not value.isprintable():
        found, remedy = "The value is not one line of ASCII.", "Write the value of the header: Bearer TOKEN."
        raise ConfigurationError(variable, found, remedy, slug=slug)
    return value
