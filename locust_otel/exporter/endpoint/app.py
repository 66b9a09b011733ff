"""The paths of the endpoint, as an ASGI application without a framework.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

from locust_otel.core.exposition import Exposition, Format, TextExposition, negotiate
from locust_otel.core.families import families
from locust_otel.core.marks import MARK_PATH, MAX_BODY_BYTES
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.marking import Marking
from locust_otel.exporter.endpoint.protobuf import ProtobufExposition
from locust_otel.exporter.endpoint.request import Answer, Request, gzipped, joined
from locust_otel.exporter.endpoint.scrapers import PROMETHEUS, Scrapers
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.session import Session

logger = logging.getLogger(__name__)

KEPT_S = 180.0
"""Seconds for which the rendered series of a format are kept after its last scrape."""

_EXPOSITIONS: dict[Format, Callable[[], Exposition]] = {
    Format.TEXT: partial(TextExposition, is_openmetrics=False),
    Format.OPENMETRICS: partial(TextExposition, is_openmetrics=True),
    Format.PROTOBUF: ProtobufExposition,
}
_UNAUTHORIZED = {"WWW-Authenticate": 'Basic realm="locust-otel", charset="UTF-8"'}
_LIVE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Rendered = tuple[Snapshot, list[bytes]]
"""A snapshot, and its exposition in pieces."""


@dataclass(eq=False)
class Application:
    """Answers `/metrics`, `/`, `/-/page`, `/-/healthy` and `/-/mark`."""

    session: Session
    page: Page
    scrapers: Scrapers
    marking: Marking
    web_config: WebConfig
    _expositions: dict[Format, Exposition] = field(init=False, default_factory=dict)
    _expiries: dict[Format, asyncio.TimerHandle] = field(init=False, default_factory=dict)
    _turn: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _next: dict[tuple[Format, bool], asyncio.Task[Rendered]] = field(init=False, default_factory=dict)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request.of(scope)
        connection = scope["state"]["connection"]

        async def reply(answer: Answer) -> bool:
            """Send an answer, and return whether the client has taken it."""
            headers = {**answer.headers, **self.web_config.headers}
            if request.length != 0:  # the rest of its body is not read
                headers["Connection"] = "close"
            encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
            for piece in answer.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # other connections get their turn
                if connection.is_lost:
                    return False
            await send({"type": "http.response.body"})  # waits until all pieces have left this process
            return not connection.is_lost

        try:
            if (request.method, request.path) == ("GET", "/metrics") and await self._may_read(request):
                await self._scrape(request, reply)
            else:
                await reply(await self._answer(request, receive))
        except Exception:
            logger.exception("A request for %s failed", request.path)
            raise

    async def _may_read(self, request: Request) -> bool:
        return await self.web_config.authenticate(request.headers.get("authorization"))

    async def _answer(self, request: Request, receive: Receive) -> Answer:
        is_mark = request.path == MARK_PATH
        if not (is_mark and self.marking.has_token(request)) and not await self._may_read(request):
            return Answer.text(401, "Unauthorized\n", headers=_UNAUTHORIZED)
        if is_mark:
            body = await _body(request, receive)
            return await asyncio.to_thread(self.marking.answer, request, body)
        if request.method not in {"GET", "HEAD"}:
            return Answer.text(405, "Send GET or HEAD.\n", headers={"Allow": "GET, HEAD"})
        if request.path == "/-/page":
            return await asyncio.to_thread(self._page_values, request)
        return self._fixed(request)

    def _fixed(self, request: Request) -> Answer:
        match request.path:
            case "/metrics":  # of a HEAD
                return Answer(200, _negotiated(request)[1])
            case "/-/healthy":
                return Answer.text(200, "Healthy\n")
            case "/":
                page = self.page
                return Answer.text(200, page.html, "text/html", _LIVE | {"Content-Security-Policy": page.policy})
        return Answer.text(404, "Not found. The metrics are at /metrics.\n")

    def _page_values(self, request: Request) -> Answer:
        text = json.dumps(self.page.data())
        answer = Answer.text(200, text, "application/json", _LIVE | {"Vary": "Accept-Encoding"})
        return answer.gzipped() if request.accepts_gzip else answer

    async def _scrape(self, request: Request, reply: Callable[[Answer], Awaitable[bool]]) -> None:
        started = perf_counter()
        format_, headers = _negotiated(request)
        client = (request.client, request.headers.get("user-agent", ""))
        self.scrapers.came(client, timeout_s=request.scrape_timeout_s)
        delivered = False
        try:
            snapshot, pieces = await self._rendered(format_, is_compressed=request.accepts_gzip)
            delivered = await reply(Answer(200, headers, joined(pieces)))
        finally:
            self.session.exports.note(PROMETHEUS, ok=delivered, seconds=perf_counter() - started)
        if delivered:
            run = snapshot.run
            run_id, total = ("", 0) if run is None else (run.run_id, run.requests.total)
            self.scrapers.seen(client, run_id=run_id, total=total, is_final=snapshot.is_final)

    async def _rendered(self, format_: Format, *, is_compressed: bool) -> Rendered:
        """Return the current values; clients that wait at the same time for the same format share one rendering."""
        key = (format_, is_compressed)
        if key not in self._next:
            self._next[key] = asyncio.create_task(self._render(*key))
        return await asyncio.shield(self._next[key])

    async def _render(self, format_: Format, is_compressed: bool) -> Rendered:
        async with self._turn:  # one rendering at a time
            del self._next[format_, is_compressed]  # a client that comes from now on gets newer values
            exposition = self._exposition(format_)
            return await asyncio.to_thread(self._render_now, exposition, is_compressed)

    def _exposition(self, format_: Format) -> Exposition:
        """Return the renderer of a format; it is dropped, with all that it keeps, `KEPT_S` after its last use."""
        if format_ in self._expiries:
            self._expiries[format_].cancel()
        self._expiries[format_] = asyncio.get_running_loop().call_later(KEPT_S, self._expositions.pop, format_, None)
        if format_ not in self._expositions:
            self._expositions[format_] = _EXPOSITIONS[format_]()
        return self._expositions[format_]

    def _render_now(self, exposition: Exposition, is_compressed: bool) -> Rendered:
        session = self.session
        with session.rendering:
            snapshot = session.snapshot()
            pieces = exposition.render(families(snapshot, session.scopes))
            return snapshot, list(gzipped(pieces)) if is_compressed else pieces


async def _body(request: Request, receive: Receive) -> bytes | None:
    """Return the body of a POST; None if it is missing, empty or too long, or its length was not sent."""
    if request.method != "POST" or not 0 < (request.length or 0) <= MAX_BODY_BYTES:
        return None
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body
    return None  # the client has disconnected


def _negotiated(request: Request) -> tuple[Format, dict[str, str]]:
    """Return the format that a client prefers, and the headers that name it."""
    format_ = negotiate(request.headers.get("accept", ""))
    headers = {"Content-Type": format_.value, "Vary": "Accept, Accept-Encoding"}
    return format_, headers | ({"Content-Encoding": "gzip"} if request.accepts_gzip else {})
