"""Tests of connections without a network: the time limit of each phase, and requests that are refused."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, cast
from unittest.mock import Mock

import pytest

from locust_otel.exporter.endpoint.app import Application
from locust_otel.exporter.endpoint.server import (
    ANSWER_S,
    HANDSHAKE_S,
    HEAD_S,
    IDLE_S,
    MAX_HEAD_BYTES,
    Connection,
    Server,
    _Loop,
    _quiet,
)

GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n"
MUCH = 256 * 1024
"""Bytes that arrive in more than one piece."""


class Timers:
    """The loop of a connection, whose timers a test fires.

    Attributes:
        timers: By callback: seconds of the running timer.
    """

    def __init__(self) -> None:
        self.timers: dict[Callable[[], object], float] = {}

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Mock:
        """Start a timer; it must be the only one with this callback."""
        assert callback not in self.timers
        self.timers[callback] = delay_s
        return Mock(cancel=partial(self.timers.pop, callback, None))

    def create_task(self, coroutine: Coroutine[Any, Any, None], **_: Any) -> asyncio.Task[None]:
        """Start a task."""
        return asyncio.get_running_loop().create_task(coroutine)


class Peer:
    """A client, and the connection to it.

    Attributes:
        answers: An item lets the application give one answer.
    """

    def __init__(self) -> None:
        self.answers: asyncio.Queue[None] = asyncio.Queue()
        server = Server(cast(Application, self._application), None)._uvicorn
        self.loop = Timers()
        self.connection = Connection(server.config, server.server_state, {}, self.loop)
        self.transport = Mock(spec=asyncio.Transport)
        self.transport.get_extra_info.return_value = None
        self.transport.is_closing.return_value = False
        self.connection.connection_made(self.transport)

    async def _application(self, _: Any, __: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        await self.answers.get()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"Healthy\n"})

    @property
    def limit_s(self) -> float | None:
        """Limit of the current phase; None without one."""
        return self.loop.timers.get(self.transport.abort)

    @property
    def received(self) -> bytes:
        """Bytes that the client has received."""
        return b"".join(call.args[0] for call in self.transport.write.call_args_list)

    async def answer(self) -> None:
        """Let the application give an answer."""
        self.answers.put_nowait(None)
        for _ in range(5):
            await asyncio.sleep(0)


def run(scenario: Callable[[Peer], Awaitable[None]]) -> None:
    """Run a scenario with a client."""

    async def begin() -> None:
        await scenario(Peer())

    asyncio.run(begin())


def test_each_phase_has_a_limit() -> None:
    """A client has a time for its first byte, for the whole head, for the answer, and then for the next request."""

    async def scenario(peer: Peer) -> None:
        # A write waits until the bytes before it have left the process.
        peer.transport.set_write_buffer_limits.assert_called_once_with(high=1, low=0)
        assert peer.limit_s == IDLE_S
        for data in (b"G", b"ET /-/healthy HTTP/1.1\r\n", b"Host: x\r\n"):
            peer.connection.data_received(data)
            assert peer.limit_s == HEAD_S
        peer.connection.data_received(b"\r\n")
        assert peer.limit_s == ANSWER_S
        await peer.answer()
        assert peer.received.endswith(b"Healthy\n\r\n0\r\n\r\n")
        assert peer.limit_s == IDLE_S
        peer.connection.data_received(b"G")
        assert peer.limit_s == HEAD_S

    run(scenario)


def test_a_header_now_and_then_does_not_extend_the_time() -> None:
    """The time for the head starts once."""

    async def scenario(peer: Peer) -> None:
        peer.connection.data_received(GET)
        timers = dict(peer.loop.timers)
        peer.loop.call_later = lambda *_: pytest.fail("a timer starts")  # type: ignore[method-assign]
        for _ in range(100):
            peer.connection.data_received(b"X: 1\r\n")
        assert peer.loop.timers == timers

    run(scenario)


def test_requests_that_come_at_once_are_answered_in_turn() -> None:
    """A client may send requests before it has the answers; the next answer has its own time."""

    async def scenario(peer: Peer) -> None:
        peer.connection.data_received(3 * (GET + b"\r\n"))
        for count, limit_s in ((1, ANSWER_S), (2, ANSWER_S), (3, IDLE_S)):
            await peer.answer()
            assert (peer.received.count(b"Healthy\n"), peer.limit_s) == (count, limit_s)

    run(scenario)


def test_a_connection_that_ends() -> None:
    """The timer of a connection ends with it, and the application can see that it is lost."""

    async def scenario(peer: Peer) -> None:
        assert peer.connection.app_state == {"connection": peer.connection}
        peer.connection.data_received(GET + b"\r\n")
        assert not peer.connection.is_lost
        peer.connection.connection_lost(None)
        assert (peer.connection.is_lost, peer.limit_s, peer.connection.app_state) == (True, None, {})
        await peer.answer()
        assert peer.received == b""

    run(scenario)


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"a" * MUCH + b"\r\n\r\n",
        GET + b"X: abcdefgh\r\n" * (MUCH // 12) + b"\r\n",
        GET + b"X: " + b"a" * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/9.9\r\nno colon\r\n\r\n",
        b"\x00\xff" * 500 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n",
        b"GET " + b"/" * 2 * MUCH + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["one long header", "long headers", "no end", "no length", "no colon", "bytes", "TLS", "long path"],
)
def test_heads_that_are_refused(head: bytes) -> None:
    """A head that is too long or not valid is a 400, and the connection is closed."""

    async def scenario(peer: Peer) -> None:
        for start in range(0, len(head), MAX_HEAD_BYTES // 2):
            if not peer.transport.close.called:
                peer.connection.data_received(head[start : start + MAX_HEAD_BYTES // 2])
        assert peer.received.startswith(b"HTTP/1.1 400 ")
        peer.transport.close.assert_called_once_with()

    run(scenario)


def test_upgrades_are_not_taken() -> None:
    """A client that asks for another protocol is answered in this one."""

    async def scenario(peer: Peer) -> None:
        peer.connection.data_received(GET + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n")
        await peer.answer()
        assert peer.received.startswith(b"HTTP/1.1 200 OK")

    run(scenario)


@pytest.mark.parametrize("is_tls", [False, True])
def test_tls_has_limits(is_tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client has six seconds for the handshake of TLS, and for its end."""
    given: dict[str, Any] = {}

    async def create_server(*_: Any, **options: Any) -> None:
        given.update(options)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "create_server", create_server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if is_tls else None
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(runner.get_loop().create_server(Mock(), "127.0.0.1", ssl=context))
    limits = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": HANDSHAKE_S}
    assert given == {"ssl": context, **(limits if is_tls else {})}


def test_errors_of_connections_are_no_warnings(caplog: pytest.LogCaptureFixture) -> None:
    """Clients cause most of them, so they are logged at DEBUG only."""
    caplog.set_level("DEBUG")
    error = ConnectionResetError()
    _quiet(Mock(), {"message": "SSL handshake failed", "exception": error})
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("DEBUG", "SSL handshake failed")
    assert record.exc_info is not None
    assert record.exc_info[1] is error
