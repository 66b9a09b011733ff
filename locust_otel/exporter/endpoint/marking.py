"""Marks over HTTP: which clients may mark a run, and the answers to them.

A page of another site that is open in a browser of this machine must not be able to mark. Without asking, a browser
posts to another origin only forms and plain text, and it names the origin of the page. So a mark must be JSON, and
come from our own origin if it names one.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Callable

from locust_otel.core.marks import SERVICE, TOKEN_VARIABLE, Mark, answered
from locust_otel.exporter.endpoint.request import Answer, Request

_FORWARDED = ("x-forwarded-for", "forwarded", "via")


class Marking:
    """Answers `/-/mark`.

    Args:
        mark: Marks the run.
        run_id: Returns the active run, or None.
        token: Required from clients that are not on this machine; empty: they may not mark.
    """

    def __init__(self, mark: Mark, run_id: Callable[[], str | None], token: str) -> None:
        self._mark = mark
        self._run_id = run_id
        self._token = token.encode()

    def has_token(self, request: Request) -> bool:
        """Return whether a request has the token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not self._token or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)

    def answer(self, request: Request, body: bytes | None) -> Answer:
        """Return the answer to a request whose basic auth was checked; see `marks.answered` for the body."""
        if refusal := self._refusal(request):
            return Answer.text(403, f"{refusal}\n")
        if request.method == "POST":
            return Answer.text(*answered(body, request.headers.get("content-type", ""), self._mark))
        if request.method in {"GET", "HEAD"}:
            run = {"service": SERVICE, "run_id": self._run_id()}
            return Answer.text(200, json.dumps(run) + "\n", "application/json")
        return Answer.text(405, "Send POST to mark, GET for the run.\n", headers={"Allow": "GET, HEAD, POST"})

    def _refusal(self, request: Request) -> str:
        if not _is_own_origin(request):
            return "A page of another site may not mark."
        if self.has_token(request):
            return ""
        if request.headers.get("authorization", "").lower().startswith("bearer"):
            return f"The token is not the one in {TOKEN_VARIABLE} of the load test."
        if is_local(request):
            return ""
        if not self._token:
            return f"Only this machine may mark. To allow others, start the load test with {TOKEN_VARIABLE} set."
        return "A mark from another machine needs the header Authorization: Bearer TOKEN."


def is_local(request: Request) -> bool:
    """Return whether a request comes from this machine, and through no proxy on it."""
    if any(header in request.headers for header in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.client)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _is_own_origin(request: Request) -> bool:
    """Return False if a browser says that a page of another origin has sent a request.

    The origin is not compared with `Host`, since the name of another site may resolve to 127.0.0.1.
    """
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    origin = request.headers.get("origin")
    hosts = ("127.0.0.1", "localhost", "[::1]")
    return origin is None or origin in {f"{request.scheme}://{host}:{request.port}" for host in hosts}
