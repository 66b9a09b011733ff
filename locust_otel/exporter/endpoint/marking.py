"""Marks over HTTP: who may mark a run, and how a mark is asked for and answered.

A page of another site that is open in a browser of this machine must not be able to mark. Browsers send what a page
posts to another origin without asking only as a form or as plain text, and send the page's origin with it: hence JSON,
and no origin but our own.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Callable
from typing import Any

from locust_otel.core.mark_request import Mark, answered
from locust_otel.core.marks import SERVICE, TOKEN_VARIABLE
from locust_otel.exporter.endpoint.request import Answer, Request

_FORWARDED = ("x-forwarded-for", "forwarded", "via")


class Marking:
    """Answers `/-/mark`.

    Args:
        mark: Marks something.
        run_id: Returns the current run; None where none is active.
        token: Required from clients that are not on this machine; empty: they may not mark.
    """

    def __init__(self, mark: Mark, run_id: Callable[[], str | None], token: str) -> None:
        self._mark = mark
        self._run_id = run_id
        self._token = token.encode()

    def knows(self, request: Request) -> bool:
        """Return whether a request shows the token."""
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if not self._token or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(shown.strip().encode("latin-1", "replace"), self._token)

    def answer(self, request: Request, body: bytes | None) -> Answer:
        """Return the answer to a request whose basic auth was checked already.

        Args:
            request: The request.
            body: None where there is no body, it is too long, or its length was not sent.
        """
        if refusal := self._refusal(request):
            return Answer.text(403, f"{refusal}\n")
        if request.method == "POST":
            return self._marked(body, request.headers.get("content-type", ""))
        if request.method in {"GET", "HEAD"}:
            return _json({"service": SERVICE, "run_id": self._run_id()})
        return Answer.text(405, "POST marks, GET tells the run.\n", headers={"Allow": "GET, HEAD, POST"})

    def _marked(self, body: bytes | None, content_type: str) -> Answer:
        answer = answered(body, content_type, self._mark)
        return Answer.text(answer.status, answer.body, answer.content_type)

    def _refusal(self, request: Request) -> str:
        if not is_own_origin(request):
            return "A page of another site may not mark."
        if self.knows(request):
            return ""
        if request.headers.get("authorization", "").lower().startswith("bearer"):
            return f"The token is not the one in {TOKEN_VARIABLE} of the load test."
        if is_local(request):
            return ""
        if not self._token:
            return f"Only this machine may mark; to allow others, start the load test with {TOKEN_VARIABLE} set."
        return "From elsewhere than this machine a mark needs the header Authorization: Bearer TOKEN."


def _json(values: dict[str, Any]) -> Answer:
    return Answer.text(200, json.dumps(values) + "\n", "application/json")


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


def is_own_origin(request: Request) -> bool:
    """Return whether no browser says that a page of another origin has sent a request.

    The name in `Host` is not trusted for it: another site's name may lead to 127.0.0.1.
    """
    if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    origin = request.headers.get("origin")
    hosts = ("127.0.0.1", "localhost", "[::1]")
    return origin is None or origin in {f"{request.scheme}://{host}:{request.port}" for host in hosts}
