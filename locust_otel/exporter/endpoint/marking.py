"""Marks over HTTP: who may mark a run, and how it is asked for and answered.

A page of another site that is open in a browser of this machine must not be able to mark. Browsers send what a page
posts to another origin without asking only as a form or as plain text, and tell the page's origin with it: hence JSON,
and no origin but our own.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from locust_otel.core.marks import Marked, MarkError

PATH = "/-/mark"
SERVICE = "locust-otel"
TOKEN_VARIABLE = "LOCUST_OTEL_MARK_TOKEN"  # noqa: S105  # the name of a variable
MAX_BODY_BYTES = 4096
DEFAULT_KIND = "mark"

Mark = Callable[[object, object], Marked | None]
"""Marks a text of a kind: returns None where no run goes on, raises MarkError where they are none."""

_EXAMPLE = '{"mark": "db primary killed", "kind": "fault"}'
_KEYS = frozenset({"mark", "kind"})
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA")


class Answer(NamedTuple):
    """An answer: status line, body, type of the body, the methods that would have been right."""

    status: str
    body: str
    kind: str = "text/plain"
    allow: str = ""


def marked(body: bytes | None, content_type: str, mark: Mark) -> Answer:
    """Mark what a request asks for.

    Args:
        body: What was sent; None where it is too long, or its length is not told.
        content_type: Of the body, with parameters or without.
        mark: Marks it.
    """
    try:
        asked = _asked(body, content_type)
        done = mark(asked["mark"], asked.get("kind", DEFAULT_KIND))
    except MarkError as error:
        return Answer("400 Bad Request", f"{error}\n")
    if done is None:
        return Answer("409 Conflict", "No run goes on that could be marked.\n")
    return Answer("200 OK", json.dumps(done._asdict()) + "\n", "application/json")


def _asked(body: bytes | None, content_type: str) -> dict[str, Any]:
    """Return what a request asks for, which has a `mark`.

    Raises:
        MarkError: It asks for nothing that could be marked.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise MarkError("Send the mark as JSON, with Content-Type: application/json.")
    if body is None:
        raise MarkError(f"Send a body of at most {MAX_BODY_BYTES} bytes, with its Content-Length.")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise MarkError(f"The body is not JSON; send {_EXAMPLE}.") from None
    if not isinstance(asked, dict) or "mark" not in asked:
        raise MarkError(f'Send an object with a "mark": {_EXAMPLE}.')
    if unknown := sorted(asked.keys() - _KEYS):
        raise MarkError(f'{unknown[0][:40]!r} is not known here; "mark" and "kind" are.')
    return asked


class MarkEndpoint:
    """Answers `/-/mark` beside `/metrics`.

    Args:
        mark: Marks something.
        run_id: Returns the run that goes on; None where none does.
        token: What others than this machine must show; empty: nobody else may mark.
    """

    def __init__(self, mark: Mark, run_id: Callable[[], str | None], token: str) -> None:
        self._mark = mark
        self._run_id = run_id
        self._token = token.encode()

    def knows(self, environ: Mapping[str, Any]) -> bool:
        """Return whether a request shows the token."""
        scheme, _, shown = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if not self._token or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(shown.strip().encode("latin-1", "replace"), self._token)

    def answer(self, environ: Mapping[str, Any], body: bytes | None) -> Answer:
        """Return the answer to a request, whose basic auth was looked at already."""
        refusal = self._refusal(environ)
        if refusal:
            return Answer("403 Forbidden", refusal + "\n")
        method = environ["REQUEST_METHOD"]
        if method == "POST":
            return marked(body, str(environ.get("CONTENT_TYPE") or ""), self._mark)
        if method in {"GET", "HEAD"}:
            told = {"service": SERVICE, "run_id": self._run_id()}
            return Answer("200 OK", json.dumps(told) + "\n", "application/json")
        return Answer("405 Method Not Allowed", "POST marks, GET tells the run.\n", allow="GET, HEAD, POST")

    def _refusal(self, environ: Mapping[str, Any]) -> str:
        if not is_own_origin(environ):
            return "A page of another site may not mark."
        if self.knows(environ):
            return ""
        if str(environ.get("HTTP_AUTHORIZATION", "")).lower().startswith("bearer"):
            return f"The token is not the one in {TOKEN_VARIABLE} of the load test."
        if is_local(environ):
            return ""
        if not self._token:
            return f"Only this machine may mark; to allow others, start the load test with {TOKEN_VARIABLE} set."
        return "From elsewhere than this machine a mark needs the header Authorization: Bearer TOKEN."


def is_local(environ: Mapping[str, Any]) -> bool:
    """Return whether a request comes from this machine, and through no proxy on it."""
    if any(header in environ for header in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(str(environ.get("REMOTE_ADDR", "")))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def is_own_origin(environ: Mapping[str, Any]) -> bool:
    """Return whether no browser says that a page of another origin has sent a request.

    The name in `Host` is not trusted for it: another site's name may lead to 127.0.0.1.
    """
    if environ.get("HTTP_SEC_FETCH_SITE", "none") not in {"none", "same-origin"}:
        return False
    origin = environ.get("HTTP_ORIGIN")
    hosts = ("127.0.0.1", "localhost", "[::1]")
    scheme, port = environ.get("wsgi.url_scheme", "http"), environ.get("SERVER_PORT", "")
    return origin is None or origin in {f"{scheme}://{host}:{port}" for host in hosts}
