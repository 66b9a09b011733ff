"""An endpoint without a socket: its ports are made up, and requests go to its ASGI application in this process."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock, patch

from locust_otel.core.cardinality import Names
from locust_otel.core.histogram import layout
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.endpoint import output
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.app import Application
from locust_otel.exporter.endpoint.output import Endpoint
from locust_otel.exporter.endpoint.server import Server
from locust_otel.exporter.merged import Merged
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import Settings, resolve

FREE_PORT = 40_000
"""Port that port 0 becomes."""


def settings(*, web_config: WebConfig | None = None, **flags: object) -> Settings:
    """Return settings; `/metrics` is on any free port."""
    return replace(resolve(values_of(None, {"prometheus_port": "0", **flags})), web_config=web_config)


def active_run(run_id: str = "run-1") -> Run:
    """Return a run that is active."""
    merged = Merged(layout([5.0]), 5.0, Names(200))
    return Run(run_id, {}, 1_764_000_000.25, time.monotonic(), {}, merged, None)


class FixedSession(Session):
    """A session whose snapshots a test sets.

    Attributes:
        taken: Returned as every snapshot; None for the snapshots of the session.
    """

    taken: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """Return the snapshot."""
        return self.taken or super().snapshot()


LIVE_PAGE = SimpleNamespace(
    html="<!doctype html><title>run</title>",
    policy="default-src 'none'",
    data=lambda: {"sentence": "Run run-1 is running."},
)
"""A live page."""


@dataclass
class Response:
    """An answer of the endpoint; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)


class Served:
    """An endpoint that has started, and requests to it.

    Attributes:
        messages: Messages to Locust's process.
    """

    def __init__(self, given: Settings, origin: Origin | None = None, state: State | None = None) -> None:
        self.messages: list[tuple[Any, ...]] = []
        origin = origin or Origin(name="host-0")
        self.session = FixedSession(given, origin, lambda *message: self.messages.append(message), state)
        self.endpoint = Endpoint(self.session, cast(Page, LIVE_PAGE))
        self.endpoint.start(given)

    @property
    def server(self) -> Server:
        """The server, once it is loaded."""
        self.endpoint._is_loaded.wait(5)
        assert self.endpoint._server is not None
        return self.endpoint._server

    @property
    def application(self) -> Application:
        """The ASGI application."""
        return cast(Application, self.server._uvicorn.config.app)

    @property
    def outcomes(self) -> dict[str, int]:
        """Scrapes that were delivered, and scrapes that were not."""
        return {export.outcome: export.count for export in self.session.exports.counts()}

    def ask(self, path: str = "/metrics", method: str = "GET", *body: bytes, **options: Any) -> Response:
        """Return the answer to a request; see `answer`."""
        return asyncio.run(self.answer(path, method, *body, **options))

    async def answer(
        self,
        path: str = "/metrics",
        method: str = "GET",
        *body: bytes,
        client: str = "127.0.0.1",
        taken: int | None = None,
        **headers: str,
    ) -> Response:
        """Return the answer to a request.

        Args:
            path: Path, without a query.
            method: Method.
            body: Parts of the body, as they arrive. The client disconnects after them.
            client: Address of the client.
            taken: Messages of the answer that the client takes before it disconnects; None for all.
            headers: Headers, with `_` for `-`.
        """
        names = {name.replace("_", "-").lower(): text for name, text in headers.items()}
        if body:
            names.setdefault("content-length", str(sum(map(len, body))))
        connection = SimpleNamespace(is_lost=False)
        scope = {
            "method": method, "path": path, "scheme": "http", "client": (client, 1), "server": ("127.0.0.1", FREE_PORT),
            "headers": [(name.encode(), text.encode("latin-1")) for name, text in names.items()],
            "state": {"connection": connection},
        }  # fmt: skip
        parts, left = iter(body), int(names.get("content-length", 0))
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            nonlocal left
            part = next(parts, None)
            if part is None:
                return {"type": "http.disconnect"}
            left -= len(part)
            return {"type": "http.request", "body": part, "more_body": left > 0}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            connection.is_lost = len(sent) == taken

        await self.application(scope, receive, send)
        first, *pieces = sent
        content = b"".join(piece.get("body", b"") for piece in pieces)
        return Response(first["status"], {name.decode(): text.decode() for name, text in first["headers"]}, content)


@contextmanager
def network(*taken: int, refused: OSError | None = None) -> Iterator[None]:
    """Let endpoints listen on made-up ports, and let their servers end at once.

    Args:
        taken: Ports that other processes have.
        refused: Error of every attempt to listen.
    """

    def listen(host: str, port: int) -> Mock:
        if refused is not None:
            raise refused
        if port in taken:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return Mock(getsockname=lambda: (host, port or FREE_PORT))

    with patch.object(output, "_bound", listen), patch.object(Server, "run"):
        yield


@contextmanager
def serving(taken: Snapshot | None = None, origin: Origin | None = None, **given: Any) -> Iterator[Served]:
    """Serve a snapshot until the end of the block."""
    with network():
        served = Served(settings(**given), origin)
        served.session.taken = taken
        yield served
