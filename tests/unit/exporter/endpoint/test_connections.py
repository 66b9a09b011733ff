"""Tests of who keeps a place on the `/metrics` server, over sockets of this machine, with short limits."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import Enum
from time import perf_counter
from typing import Any

import gevent
import pytest
import trustme
from gevent.pool import Pool

from locust_otel.exporter.endpoint import connections
from locust_otel.exporter.endpoint.connections import MAX_HEAD_BYTES, BoundedServer
from tests.unit.otlp_sinks import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


class Short(Enum):
    """Limits that a test can wait for."""

    HANDSHAKE = 0.31, 0.03
    HEAD = 0.3, 0.05
    ANSWER = 0.6, 0.06
    IDLE = 0.9, 0.0

    def limit_s(self, *, is_full: bool) -> float:
        """Return how long it may last."""
        return self.value[is_full]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with two letters, or with 20 MB."""
    body = b"x" * 20_000_000 if environ["PATH_INFO"] == "/long" else b"ok"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Served:
    """A server, and connections to it."""

    def __init__(self, exits: ExitStack) -> None:
        self._exits = exits
        self.server = BoundedServer(("127.0.0.1", 0), application)

    def connect(self, *sent: bytes) -> socket.socket:
        """Open a connection and send something."""
        connection = self._exits.enter_context(socket.create_connection(self.server.address, timeout=5))
        for content in sent:
            connection.sendall(content)
        return connection

    def lasts(self, connection: socket.socket) -> float:
        """Return the seconds until the other side has closed it."""
        started = perf_counter()
        try:
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass
        return perf_counter() - started

    def is_answered(self) -> bool:
        """Return whether somebody who means well is answered."""
        with self.connect(GET + b"Connection: close\r\n\r\n") as connection:
            return connection.recv(15) == b"HTTP/1.1 200 OK"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Start a server with short limits."""
    monkeypatch.setattr(connections, "Phase", Short)
    monkeypatch.setattr(connections, "_LOOK_EVERY_S", 0.02)
    with ExitStack() as exits:
        made = Served(exits)
        made.server.start()
        yield made
        made.server.stop(timeout=0.1)


@pytest.mark.parametrize(
    ("sent", "limit_s"), [(b"", 0.9), (b"G", 0.3), (GET, 0.3), (b"\r", 0.3)], ids=["nothing", "a byte", "half", "empty"]
)
def test_whoever_sends_no_whole_request_is_sent_away(served: Served, sent: bytes, limit_s: float) -> None:
    """A connection is closed when the time for what it is in the middle of is up, and not before."""
    assert limit_s - 0.02 <= served.lasts(served.connect(sent)) < limit_s + 3


def test_a_header_now_and_then_does_not_extend_the_time(served: Served) -> None:
    """The time for the headers is for all of them, not from one to the next."""
    connection = served.connect(GET)
    started = perf_counter()
    with contextlib.suppress(ConnectionError):
        while perf_counter() - started < 2:
            connection.sendall(b"X: 1\r\n")
            gevent.sleep(0.02)
    assert 0.3 <= perf_counter() - started < 1.9


def test_an_idle_connection_is_kept_for_the_next_scrape(served: Served) -> None:
    """Requests on one connection are answered as long as none is too late after the one before."""
    connection = served.connect()
    for _ in range(3):
        connection.sendall(GET + b"\r\n")
        assert connection.recv(1000).endswith(b"ok")
        gevent.sleep(0.4)
    assert 0.4 <= served.lasts(connection) < 4


def test_whoever_does_not_read_is_sent_away(served: Served) -> None:
    """An answer that is not taken ends with the time for it, and gives the place back."""
    served.connect(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    gevent.sleep(0.2)
    assert len(served.server.places) == 1
    wait_until(lambda: served.server.places == {})


@pytest.mark.parametrize(
    "sent", [b"", GET, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["idle", "half", "no reader"]
)
def test_where_every_place_is_taken_somebody_makes_room(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Whoever means well is answered at once, though others hold every place."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(Short.HEAD, "_value_", (60.0, 0.05))
    monkeypatch.setattr(Short.ANSWER, "_value_", (60.0, 0.05))
    monkeypatch.setattr(Short.IDLE, "_value_", (60.0, 0.0))
    served.server.set_spawn(Pool(4))
    for _ in range(6):
        served.connect(sent)
    gevent.sleep(0.01)
    started = perf_counter()
    assert served.is_answered()
    assert perf_counter() - started < 4


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        GET + b"X: abcdefgh\r\n" * (MAX_HEAD_BYTES // 12) + b"\r\n",
        GET + b"X: 1\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
    ids=["one long header", "long headers", "many headers", "no length", "no version"],
)
def test_headers_that_are_refused(served: Served, capfd: pytest.CaptureFixture[str], head: bytes) -> None:
    """Too many, too long or wrong headers are a 400 and a closed connection, and nothing is printed over them."""
    connection = served.connect()
    with contextlib.suppress(ConnectionError):
        connection.sendall(head)
    answer = connection.recv(100)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert served.lasts(connection) < 0.8  # before an idle one would be closed
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("head", [b"Content-Length: 50000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nff\r\n"])
def test_a_body_is_not_read(served: Served, head: bytes) -> None:
    """A request with a body is answered before the body has come, and the connection is closed."""
    connection = served.connect(b"POST / HTTP/1.1\r\nHost: x\r\n" + head)
    assert connection.recv(15) == b"HTTP/1.1 200 OK"
    assert served.lasts(connection) < 0.8  # before an idle one would be closed


def test_no_tls(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Where TLS is spoken, whoever says nothing or speaks none is sent away without a word; others are served."""
    monkeypatch.setattr(connections, "Phase", Short)
    monkeypatch.setattr(connections, "_LOOK_EVERY_S", 0.02)
    authority = trustme.CA()
    context, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(client)
    with ExitStack() as exits:
        served = Served(exits)
        served.server = BoundedServer(("127.0.0.1", 0), application, ssl_context=context)
        served.server.start()
        assert 0.28 <= served.lasts(served.connect()) < 4
        served.lasts(served.connect(GET + b"\r\n"))
        with client.wrap_socket(served.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(GET + b"\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            assert served.lasts(connection) < 4
        gevent.sleep(0.05)
        assert served.server.places == {}
        served.server.stop(timeout=0.1)
    assert capfd.readouterr() == ("", "")


def test_no_descriptor_is_left(served: Served) -> None:
    """After a hundred connections as many files are open as before."""
    from pathlib import Path

    def count() -> int:
        gevent.sleep(0.05)
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    assert served.is_answered()
    before = count()
    for _ in range(100):
        assert served.is_answered()
    assert count() <= before + 1
