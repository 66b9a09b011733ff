"""The paths of the endpoint, as an ASGI application without a framework.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from locust_otel.core.exposition import Exposition, Format, TextExposition, negotiate
from locust_otel.core.families import families
from locust_otel.core.mark_request import MAX_BODY_BYTES
from locust_otel.core.marks import MARK_PATH
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.marking import Marking
from locust_otel.exporter.endpoint.protobuf import ProtobufExposition
from locust_otel.exporter.endpoint.request import Answer, Request
from locust_otel.exporter.endpoint.scrapers import PROMETHEUS, Scrapers
from locust_otel.exporter.session import Session

logger = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
"""Bytes of an answer that are put together at a time; a client that does not take them gets no more."""

_GZIP_LEVEL = 1  # the quickest; repeated label text shrinks to a twentieth even so
_TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"
_UNAUTHORIZED = {"WWW-Authenticate": 'Basic realm="locust-otel", charset="UTF-8"'}
_LIVE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class PageSource(Protocol):
    """The live page.

    Attributes:
        html: The page itself.
        policy: Its Content-Security-Policy.
    """

    html: str
    policy: str

    def data(self) -> dict[str, Any]:
        """Return the values that it shows now; called from any thread."""
        ...


class Rendered(NamedTuple):
    """A snapshot, and the same as bytes."""

    snapshot: Snapshot
    pieces: list[bytes]


class Application:
    """Answers `/metrics`, `/`, `/-/page`, `/-/healthy` and `/-/mark`.

    Args:
        session: Its numbers are served.
        page: The page at `/`.
        scrapers: Remembers each scrape.
        marking: Answers `/-/mark`.
        web_config: Users and headers.
    """

    def __init__(
        self, session: Session, page: PageSource, scrapers: Scrapers, marking: Marking, web_config: WebConfig
    ) -> None:
        self._session = session
        self._page = page
        self._scrapers = scrapers
        self._marking = marking
        self._web_config = web_config
        self._expositions: dict[Format, Exposition] = {
            Format.TEXT: TextExposition(is_openmetrics=False),
            Format.OPENMETRICS: TextExposition(is_openmetrics=True),
            Format.PROTOBUF: ProtobufExposition(),
        }
        self._turn = asyncio.Lock()
        self._next: dict[tuple[Format, bool], asyncio.Task[Rendered]] = {}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request.of(scope)
        connection = scope["state"]["connection"]

        async def reply(answer: Answer) -> bool:
            """Send an answer, and return whether the client has taken it."""
            headers = {**answer.headers, **self._web_config.headers}
            if request.length != 0:  # the rest of its body is not read
                headers["Connection"] = "close"
            encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
            for piece in answer.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # other connections get their turn
                if connection.is_lost:
                    return False
            await send({"type": "http.response.body"})  # once all before has left this process
            return not connection.is_lost

        try:
            is_scrape = request.method == "GET" and request.path == "/metrics"
            if is_scrape and await self._may_read(request):
                await self._scrape(request, reply)
            else:
                await reply(await self._answer(request, receive))
        except Exception:
            logger.exception("A request for %s failed", request.path)
            raise

    async def _may_read(self, request: Request) -> bool:
        return await self._web_config.authenticate(request.headers.get("authorization"))

    async def _answer(self, request: Request, receive: Receive) -> Answer:
        is_mark = request.path == MARK_PATH
        if not (is_mark and self._marking.knows(request)) and not await self._may_read(request):
            return Answer.text(401, "Unauthorized\n", headers=_UNAUTHORIZED)
        if is_mark:
            body = await _body(request, receive)
            return await asyncio.to_thread(self._marking.answer, request, body)
        if request.method not in {"GET", "HEAD"}:
            return Answer.text(405, "Only GET and HEAD are answered here.\n", headers={"Allow": "GET, HEAD"})
        return await self._look(request)

    async def _look(self, request: Request) -> Answer:
        match request.path:
            case "/metrics":
                return Answer(200, _negotiated(request)[1])
            case "/-/healthy":
                return Answer.text(200, "Healthy\n")
            case "/":
                page = self._page
                return Answer.text(200, page.html, "text/html", _LIVE | {"Content-Security-Policy": page.policy})
            case "/-/page":
                data = await asyncio.to_thread(lambda: json.dumps(self._page.data()))
                return Answer.text(200, data, "application/json", _LIVE)
        return Answer.text(404, "Not found; the metrics are at /metrics.\n")

    async def _scrape(self, request: Request, reply: Callable[[Answer], Awaitable[bool]]) -> None:
        started = perf_counter()
        format_, headers = _negotiated(request)
        client = (request.client, request.headers.get("user-agent", ""))
        timeout_s = _seconds(request.headers.get(_TIMEOUT_HEADER))
        self._scrapers.came(client, timeout_s=timeout_s)
        delivered = False
        try:
            snapshot, pieces = await self._rendered(format_, is_compressed="Content-Encoding" in headers)
            delivered = await reply(Answer(200, headers, joined(pieces)))
        finally:
            self._session.exports.note(PROMETHEUS, ok=delivered, seconds=perf_counter() - started)
        if delivered:
            run = snapshot.run
            self._scrapers.seen(
                client,
                timeout_s=timeout_s,
                run_id=run.run_id if run is not None else None,
                total=run.requests.total if run is not None else 0,
                is_final=snapshot.is_final,
            )

    async def _rendered(self, format_: Format, *, is_compressed: bool) -> Rendered:
        """Return the current values; clients that wait at the same time for the same format share one rendering."""
        key = (format_, is_compressed)
        if key not in self._next:
            self._next[key] = asyncio.create_task(self._render(*key))
        return await asyncio.shield(self._next[key])

    async def _render(self, format_: Format, is_compressed: bool) -> Rendered:
        async with self._turn:  # one rendering at a time
            del self._next[format_, is_compressed]  # a client that comes from now on gets newer values
            return await asyncio.to_thread(self._render_now, format_, is_compressed)

    def _render_now(self, format_: Format, is_compressed: bool) -> Rendered:
        snapshot = self._session.snapshot()
        pieces = self._expositions[format_].render(families(snapshot, self._session.scopes))
        return Rendered(snapshot, list(_gzipped(joined(pieces))) if is_compressed else pieces)


async def _body(request: Request, receive: Receive) -> bytes | None:
    """Return the body of a POST; None where there is none, it is too long, or its length was not sent."""
    if request.method != "POST" or not 0 < (request.length or 0) <= MAX_BODY_BYTES:
        return None
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body
    return None  # the client has gone


def _negotiated(request: Request) -> tuple[Format, dict[str, str]]:
    """Return the format that a client prefers, and the headers that say so."""
    format_ = negotiate(request.headers.get("accept", ""))
    headers = {"Content-Type": format_.value, "Vary": "Accept, Accept-Encoding"}
    if _accepts_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
    return format_, headers


def joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same in larger pieces, which are put together only when they are asked for."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()


def _accepts_gzip(header: str) -> bool:
    for item in header.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        if coding in {"gzip", "*"}:
            return not any(p.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for p in parameters)
    return False


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
