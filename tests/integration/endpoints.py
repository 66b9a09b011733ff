"""An endpoint on a free port of this machine, with a session of its own, and clients of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from locust_otel.core.snapshot import Snapshot
from tests.unit import endpoints
from tests.unit.endpoints import active_run, settings


class Served(endpoints.Served):
    """An endpoint that has started with an active run, and requests to it over sockets."""

    def __init__(self, **given: Any) -> None:
        super().__init__(settings(**given))
        self.session.state.run = self.run = active_run()

    @property
    def url(self) -> str:
        """The URL without a path."""
        assert self.session.url is not None
        return self.session.url.removesuffix("/metrics")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.url.rpartition(":")[2])

    @property
    def connections(self) -> int:
        """Number of connections."""
        return len(self.server._uvicorn.server_state.connections)

    def get(self, path: str = "/metrics") -> requests.Response:
        """Return the answer to a request, without compression."""
        return requests.get(self.url + path, headers={"Accept-Encoding": "identity"}, timeout=10)

    def connect(self, *sent: bytes, receive_bytes: int = 0) -> socket.socket:
        """Open a connection with a buffer of this size, 0 for the usual one, and send something."""
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", self.port))
        for content in sent:
            connection.sendall(content)
        return connection

    def send(self, *sent: bytes, pause_s: float = 0.0) -> bytes:
        """Send bytes, and return everything that comes back until the connection is closed."""
        with self.connect() as connection:
            for content in sent:
                connection.sendall(content)
                time.sleep(pause_s)
            return rest(connection)

    def stop(self) -> None:
        """Stop."""
        self.endpoint.stop(time.monotonic() + 1)


@contextmanager
def serving(taken: Snapshot | None = None, **given: Any) -> Iterator[Served]:
    """Serve a snapshot until the end of the block."""
    served = Served(**given)
    served.session.taken = taken
    try:
        yield served
    finally:
        served.stop()


def rest(connection: socket.socket) -> bytes:
    """Return everything that comes until a connection is closed."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def wait_until(claim: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Return as soon as the claim holds.

    Raises:
        AssertionError: It does not within the time.
    """
    until = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.005)
