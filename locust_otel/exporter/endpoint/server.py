"""The `/metrics` endpoint: a gevent server of its own, in the event loop of the load test.

A snapshot is taken in one piece; rendering and compressing it go in pieces, with the loop given back to the simulated
users after each. However many scrape at a time, one piece of one of them is made in a turn of the loop.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from time import perf_counter
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from locust_otel.core.catalogue import Scope
from locust_otel.core.exposition import Format, TextExposition, negotiate
from locust_otel.core.families import families
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.connections import BODY, BoundedServer
from locust_otel.exporter.endpoint.marking import MAX_BODY_BYTES, MarkEndpoint
from locust_otel.exporter.endpoint.marking import PATH as MARK_PATH
from locust_otel.exporter.endpoint.protobuf import ProtobufExposition

_GZIP_LEVEL = 1  # the quickest; repeated label text shrinks to a twentieth even so
_TIMEOUT_HEADER = "HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS"

_A_TURN_S = 1e-6
"""Seconds to sleep to give the loop back. Not 0: gevent then goes on from its own list, 50 entries of it before it
looks at any socket or timer; simulated users waited 40 ms for a scrape of 1,000 series (measured 2026-11)."""

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answered request for `/metrics`.

    Attributes:
        client: Address and user agent.
        timeout_s: The scrape timeout that the client told, in seconds.
        snapshot: What it was answered with.
        seconds: From the request to the last byte handed to the socket.
        delivered: Whether the client took all of it.
    """

    client: tuple[str, str]
    timeout_s: float | None
    snapshot: Snapshot
    seconds: float
    delivered: bool


class MetricsServer:
    """Serves `/metrics`, `/`, `/-/healthy` and `/-/mark`.

    Args:
        collect: Takes a snapshot; must not give the loop back.
        scraped: Told of each scrape after its answer.
        scopes: Which metrics this process exports.
        web_config: TLS, users and headers.
        came: Told of each scrape before its answer: client, and the timeout it told.

    Attributes:
        scopes: May be changed while it runs.
        marking: Answers `/-/mark`; None: nothing is there.
    """

    def __init__(
        self,
        collect: Callable[[], Snapshot],
        scraped: Callable[[Scrape], None],
        scopes: frozenset[Scope],
        web_config: WebConfig | None,
        came: Callable[[tuple[str, str], float | None], None] = lambda _client, _timeout_s: None,
    ) -> None:
        self.scopes = scopes
        self.marking: MarkEndpoint | None = None
        self._collect = collect
        self._came = came
        self._scraped = scraped
        self._web_config = web_config
        self._expositions: dict[Format, TextExposition | ProtobufExposition] = {
            Format.TEXT: TextExposition(is_openmetrics=False),
            Format.OPENMETRICS: TextExposition(is_openmetrics=True),
            Format.PROTOBUF: ProtobufExposition(),
        }
        self._turn = BoundedSemaphore(1)
        self._server: BoundedServer | None = None

    @property
    def url(self) -> str:
        """Where `/metrics` is, once started."""
        assert self._server is not None  # noqa: S101  # for the type checker
        scheme = "https" if self._web_config and self._web_config.ssl_context else "http"
        host = self._server.server_host
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
        return f"{scheme}://{shown}:{self._server.server_port}/metrics"

    def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be listened on.
        """
        tls = {}
        if self._web_config is not None and self._web_config.ssl_context is not None:
            tls["ssl_context"] = self._web_config.ssl_context
        server = BoundedServer((host, port), self._answer, {MARK_PATH: MAX_BODY_BYTES}, **tls)
        server.start()
        self._server = server

    def stop(self) -> None:
        """Stop listening, and let answers under way finish for at most half a second."""
        if self._server is not None:
            self._server.stop(timeout=0.5)

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        headers = list(self._web_config.headers.items()) if self._web_config else []

        def plain(status: str, text: str, *more: tuple[str, str], kind: str = "text/plain") -> list[bytes]:
            body = text.encode()
            start_response(
                status,
                [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body))), *headers, *more],
            )
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

        marking = self.marking if environ["PATH_INFO"] == MARK_PATH else None
        if not (marking and marking.knows(environ)) and not self._may_read(environ):
            return plain(
                "401 Unauthorized", "Unauthorized\n", ("WWW-Authenticate", 'Basic realm="locust-otel", charset="UTF-8"')
            )
        if marking is not None:
            status, text, kind, allow = marking.answer(environ, environ.get(BODY))
            return plain(status, text, *([("Allow", allow)] if allow else []), kind=kind)
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return plain("405 Method Not Allowed", "Only GET and HEAD are answered here.\n", ("Allow", "GET, HEAD"))
        match environ["PATH_INFO"]:
            case "/metrics" if environ["REQUEST_METHOD"] == "HEAD":
                # With a list gevent writes no chunk, which a client would take for the next answer.
                start_response("200 OK", self._format(environ)[1] + headers)
                answer: Iterable[bytes] = []
            case "/metrics":
                answer = self._metrics(environ, start_response, headers)
            case "/-/healthy":
                answer = plain("200 OK", "Healthy\n")
            case "/":
                answer = plain("200 OK", self._index(), kind="text/html")
            case _:
                answer = plain("404 Not Found", "Not found; the metrics are at /metrics.\n")
        return answer

    def _may_read(self, environ: dict[str, Any]) -> bool:
        """Return whether a request shows the user and password it takes, if any."""
        return self._web_config is None or self._web_config.authenticate(environ.get("HTTP_AUTHORIZATION"))

    def _metrics(
        self, environ: dict[str, Any], start_response: StartResponse, headers: list[tuple[str, str]]
    ) -> Iterator[bytes]:
        started = perf_counter()
        format_, own_headers = self._format(environ)
        gzip = ("Content-Encoding", "gzip") in own_headers
        start_response("200 OK", own_headers + headers)
        client = (environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))
        timeout_s = _seconds(environ.get(_TIMEOUT_HEADER))
        self._came(client, timeout_s)
        with self._turn:
            gevent.sleep(_A_TURN_S)
            snapshot = self._collect()
        if snapshot.run is not None and snapshot.run.slo is not None:
            for _ in snapshot.run.slo.points():  # judged once, and here one at a time
                with self._turn:
                    gevent.sleep(_A_TURN_S)
        delivered = False
        try:
            pieces = self._in_turn(self._expositions[format_].render(families(snapshot, self.scopes)))
            yield from _gzipped(pieces) if gzip else pieces
            delivered = True
        finally:
            self._scraped(Scrape(client, timeout_s, snapshot, perf_counter() - started, delivered))

    def _in_turn(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the pieces, and give the loop back before each."""
        while True:
            with self._turn:
                gevent.sleep(_A_TURN_S)
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    @staticmethod
    def _format(environ: dict[str, Any]) -> tuple[Format, list[tuple[str, str]]]:
        """Return the format that the client prefers, and the headers that say so."""
        format_ = negotiate(environ.get("HTTP_ACCEPT", ""))
        headers = [("Content-Type", format_.value), ("Vary", "Accept, Accept-Encoding")]
        if _accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            headers.append(("Content-Encoding", "gzip"))
        return format_, headers

    def _index(self) -> str:
        run = self._collect().run
        what = f"Run {escape(run.run_id)} is {run.state}." if run else "No run has started yet."
        return (
            "<!doctype html><html lang=en><meta charset=utf-8><title>locust-otel</title>"
            "<h1>locust-otel</h1><p>Live telemetry of a Locust load test, for Prometheus to scrape.</p>"
            f"<p>{what}</p><ul><li><a href=/metrics>/metrics</a></li><li><a href=/-/healthy>/-/healthy</a></li></ul>"
        )


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
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
