"""HTTP for the endpoint: uvicorn, with its own asyncio loop.

With asyncio a slow or idle client costs a file descriptor, not a thread. uvicorn is well maintained, typed, and serves
TLS with our own `ssl` context (cheroot: a thread per slow client; waitress: no TLS; http.server: no time limits).
Clients may be malicious or stalled, so each phase of a connection has a time limit.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from math import ceil
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server as Uvicorn

from locust_otel.exporter.endpoint.app import Application

logger = logging.getLogger(__name__)

# Seconds of each phase of a connection.
HANDSHAKE_S = 6.0  # of TLS
HEAD_S = 10.0  # from the first byte of a request to the end of its headers
ANSWER_S = 60.0  # to read the body of the request, render the answer and send it
IDLE_S = 150.0  # until the next request; above `MAX_INTERVAL_S` of a scraper
_DRAIN_S = 0.3  # for answers under way at the stop; uvicorn takes up to 0.2 s more

MAX_HEAD_BYTES = 32 * 1024
"""A request with a longer unfinished head is refused. Bytes."""


class Connection(H11Protocol):
    """One connection, which is aborted if a phase takes too long; `is_lost` once it has ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state = {"connection": self}
        self.is_lost = False
        self._is_idle = True
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        # Each write waits until the bytes before it have left this process, so an answer that was sent is really sent.
        transport.set_write_buffer_limits(high=1, low=0)
        self._enter(IDLE_S, is_idle=True)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        if self._is_idle:
            self._enter(HEAD_S)
        super().data_received(data)

    def handle_events(self) -> None:
        """Begin an answer if the head of a request is complete."""
        cycle = self.cycle
        super().handle_events()
        if self.cycle is not cycle:
            self._enter(ANSWER_S)

    def on_response_complete(self) -> None:
        """Wait for the next request, which may be there already."""
        self._enter(IDLE_S, is_idle=True)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection has ended."""
        self.is_lost = True
        self.app_state = {}
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _enter(self, limit_s: float, *, is_idle: bool = False) -> None:
        """Enter a phase of at most `limit_s` seconds."""
        self._is_idle = is_idle
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(limit_s, self.transport.abort)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop with shorter time limits for TLS than the 60 s of asyncio."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """Create a server."""
        if options.get("ssl") is not None:
            options |= {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": HANDSHAKE_S}
        return await super().create_server(*args, **options)


class Server:
    """Serves an application on a listening socket; plain HTTP without an SSL context."""

    def __init__(self, application: Application, ssl_context: ssl.SSLContext | None) -> None:
        config = Config(
            application,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",  # no line for requests that are not HTTP
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_keep_alive=ceil(IDLE_S),
            timeout_graceful_shutdown=_DRAIN_S,  # type: ignore[arg-type]  # asyncio takes fractions
        )
        config.load()
        config.ssl = ssl_context
        self._uvicorn = Uvicorn(config)

    def run(self, listener: socket.socket) -> None:
        """Serve until `stop` is called, and let answers under way finish."""
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._serve(listener))

    def stop(self) -> None:
        """Stop listening; called from any thread."""
        self._uvicorn.should_exit = True

    async def _serve(self, listener: socket.socket) -> None:
        asyncio.get_running_loop().set_exception_handler(_quiet)
        await self._uvicorn.serve(sockets=[listener])
        listener.close()  # some versions of uvicorn leave it open if they are stopped while they start
        for connection in list(self._uvicorn.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def _quiet(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of a connection at DEBUG: most are caused by the client."""
    logger.debug("%s", context.get("message"), exc_info=context.get("exception"))
