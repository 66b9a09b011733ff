"""HTTP requests of our commands to servers that the user has named."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the credentials to another host, and turn a POST into a GET."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Take the redirect for the answer."""


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return what opens requests and follows no redirect.

    Args:
        handlers: Further handlers, as `urllib.request.build_opener` takes them.
    """
    return urllib.request.build_opener(_NoRedirect(), *handlers)


def is_server(url: str) -> bool:
    """Return whether a URL names a server: http or https, a host, and a port that can be one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def reason(error: BaseException) -> str:
    """Return why a server was not reached: `Connection refused`, or the name of the error where it does not say."""
    cause = getattr(error, "reason", None) or error
    return getattr(cause, "strerror", None) or type(cause).__name__
