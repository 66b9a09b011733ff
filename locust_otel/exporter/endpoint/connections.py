"""Connections to `/metrics`, and how long each may keep its place: whoever asks for it may mean no good, or sleep.

There are `MAX_CONNECTIONS` places. A connection is in one of four phases, each with a limit; once every place is taken,
a much shorter one holds, so that a scraper that means well waits for about a second, whoever came before it. A
connection is ended from outside, by a shutdown of its socket: whatever its greenlet waits for then ends by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from enum import Enum
from http.client import HTTPException
from time import monotonic
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import LoggingLogAdapter, WSGIHandler, WSGIServer

from locust_otel.exporter.endpoint.forks import in_child

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
"""Connections served at a time; further ones wait in the socket's queue."""

MAX_HEAD_BYTES = 32 * 1024
"""Bytes of all headers of a request; a scraper's are below one thousandth of it by the line."""

BODY = "locust_otel.body"
"""Where the body stands that a request came with, in its environ; None where it was not read."""

_LOOK_EVERY_S = 0.25


class Phase(Enum):
    """What a connection is in the middle of; seconds that this may last, and seconds where every place is taken."""

    HANDSHAKE = 6.0, 0.5
    HEAD = 5.0, 0.5  # from the first byte of a request to its end
    ANSWER = 15.0, 1.5
    IDLE = 150.0, 0.0  # a little more than the longest interval of a scraper that is waited for

    def limit_s(self, *, is_full: bool) -> float:
        """Return how long it may last."""
        return self.value[is_full]


class Place:
    """One connection that has a place."""

    def __init__(self, connection: Any) -> None:
        # A descriptor of its own: the greenlet may close the other one at any time, and its number be taken anew.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self.phase = Phase.IDLE
        self._since = monotonic()
        self._limit_s = 0.0

    def enter(self, phase: Phase, limit_s: float = 0.0) -> None:
        """Begin a phase, which may last longer than is usual."""
        self.phase, self._since, self._limit_s = phase, monotonic(), limit_s

    def is_overdue(self, *, is_full: bool) -> bool:
        """Return whether somebody else should have the place."""
        limit_s = self.phase.limit_s(is_full=is_full)
        return monotonic() - self._since > (limit_s if is_full else max(limit_s, self._limit_s))

    def cut(self) -> None:
        """End the connection; its greenlet gives the place back."""
        with contextlib.suppress(OSError):  # it has ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give back our descriptor."""
        self._socket.close()


class _Headers:
    """The stream of a request while its headers are read: so many bytes and no more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = MAX_HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """Read a line.

        Raises:
            ValueError: All headers together are too long.
        """
        line: bytes = self._stream.readline(min(limit, self._left) if limit >= 0 else self._left)
        self._left -= len(line)
        if self._left <= 0:
            raise ValueError("headers too long")
        return line


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent is not typed
    """Serves one connection, and says which phase it is in."""

    rfile: Any
    content_length: int | None
    close_connection: bool
    body: bytes | None = None

    @property
    def _place(self) -> Place:
        place: Place = self.server.places[self.client_address]
        return place

    def read_requestline(self) -> str:
        """Wait for a request, and read its first line."""
        self._place.enter(Phase.IDLE)
        if self.rfile.peek(1):
            self._place.enter(Phase.HEAD)
        return str(super().read_requestline())

    def read_request(self, raw_requestline: str) -> bool:
        """Read the headers, and a body that somebody here wants; the connection is closed after the answer to one."""
        stream = self.rfile
        self.rfile = _Headers(stream)
        try:
            understood = bool(super().read_request(raw_requestline))
        except HTTPException as error:  # gevent would print a traceback over it
            raise ValueError(type(error).__name__) from error
        finally:
            self.rfile = stream
        self.body = None
        if self.content_length or "transfer-encoding" in self.headers:
            self.body = self._read_body()
            self.content_length = None
            self.close_connection = True
            for header in ("transfer-encoding", "content-length"):
                del self.headers[header]
        return understood

    def _read_body(self) -> bytes | None:
        """Return the body; None where nobody wants it, or it is too long."""
        length = self.content_length or 0
        limit = self.server.bodies.get(self.path.partition("?")[0], 0) if self.command == "POST" else 0
        if "transfer-encoding" in self.headers or not length <= limit:
            return None
        try:
            if self.headers.get("expect", "").lower() == "100-continue":
                self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body: bytes = self.rfile.read(length)
        except OSError as error:  # gone; gevent would print a traceback over it
            raise ValueError(type(error).__name__) from error
        if len(body) < length:
            raise ValueError("body cut off")
        return body

    def get_environ(self) -> dict[str, Any]:
        """Return what the application is told of a request."""
        environ: dict[str, Any] = super().get_environ()
        environ[BODY] = self.body
        return environ

    def handle_one_response(self) -> None:
        """Answer."""
        self._place.enter(Phase.ANSWER)
        super().handle_one_response()


class BoundedServer(WSGIServer):  # type: ignore[misc]  # gevent is not typed
    """A WSGI server that nobody can occupy.

    Args:
        listener: Host and port.
        application: A WSGI application.
        bodies: Paths to which something may be posted, and how many bytes.
        tls: `ssl_context`, or nothing.

    Attributes:
        places: Connections by the address of the client.
    """

    def __init__(
        self, listener: tuple[str, int], application: Any, bodies: Mapping[str, int] | None = None, **tls: Any
    ) -> None:
        self.bodies = dict(bodies or {})
        errors = LoggingLogAdapter(logger, level=logging.DEBUG)
        self.places: dict[Any, Place] = {}
        self._watch: gevent.Greenlet | None = None
        super().__init__(
            listener,
            application,
            spawn=Pool(MAX_CONNECTIONS),
            log=None,
            error_log=errors,
            handler_class=_Handler,
            **tls,
        )

    def start(self) -> None:
        """Listen, and watch who keeps a place for too long."""
        super().start()
        in_child(self._leave)
        self._watch = gevent.spawn(self._look)

    def close(self) -> None:
        """Listen no more."""
        super().close()
        if self._watch is not None:
            self._watch.kill(block=False)

    def _leave(self) -> None:
        """Let go of all connections without a word to the other side: they are those of the parent."""
        self.close()
        self.pool.kill(block=False)

    def handle(self, sock: Any, address: Any) -> None:
        """Serve a connection."""
        if address in self.places:  # it has had its handshake
            super().handle(sock, address)
            return
        with self._placed(sock, address):
            try:
                super().handle(sock, address)
            except OSError as error:  # cut off in the middle of a body; gevent would print a traceback over it
                logger.debug("A connection failed: %s", error)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        """Serve a connection with TLS."""
        with self._placed(client_socket, address) as place:
            place.enter(Phase.HANDSHAKE)
            try:
                super().wrap_socket_and_handle(client_socket, address)
            except OSError as error:  # no TLS, or gone; gevent would print a traceback over it
                logger.debug("A connection over TLS failed: %s", error)

    @contextlib.contextmanager
    def _placed(self, sock: Any, address: Any) -> Any:
        try:
            place = self.places[address] = Place(sock)
        except OSError:  # gone already
            return
        try:
            yield place
        finally:
            del self.places[address]
            place.close()

    def _look(self) -> None:
        while True:
            gevent.sleep(_LOOK_EVERY_S)
            is_full = len(self.places) >= MAX_CONNECTIONS
            for place in self.places.values():
                if place.is_overdue(is_full=is_full):
                    place.cut()
