"""Tests of the connection to Locust's process, on a socket that keeps what is sent."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from locust_otel.exporter.connection import Plugin
from locust_otel.wire import frames


class FakeSocket:
    """A socket that receives these pieces and then its end, and keeps what is sent until it is broken."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""
        self.is_broken = self.is_shut = False

    def recv(self, _: int) -> bytes:
        """Return the next piece."""
        if self.is_broken:
            raise ConnectionResetError
        return self.pieces.pop(0) if self.pieces else b""

    def sendall(self, data: bytes) -> None:
        """Keep data."""
        if self.is_broken:
            raise BrokenPipeError
        assert not self.is_shut
        self.sent += data

    def shutdown(self, how: int) -> None:
        """Close both directions."""
        assert how == socket.SHUT_RDWR
        self.is_shut = True


def plugin(connection: FakeSocket) -> Plugin:
    """Return the plugin's side of a connection."""
    return Plugin(cast("Any", connection))


@pytest.fixture
def restored_log() -> Iterator[None]:
    """Restore the loggers."""
    ours, root = logging.getLogger("locust_otel"), logging.getLogger()
    state = ours.level, ours.propagate, ours.handlers[:], root.handlers[:]
    yield
    ours.level, ours.propagate, ours.handlers[:], root.handlers[:] = state


def test_messages() -> None:
    """Each message arrives complete, however it is split; the messages end with the socket."""
    data = frames.packed("a", 1) + frames.packed("b") + frames.packed("c")[:2]
    assert list(plugin(FakeSocket(data[:2], data[2:])).messages) == [["a", 1], ["b"]]


@pytest.mark.parametrize(
    ("messages", "settings"),
    [([], None), ([["begin", {"run_id": "run-1"}]], None), ([["settings", {"said": 0}]], {"said": 0})],
    ids=["nothing", "another message", "settings"],
)
def test_settings(messages: list[list[Any]], settings: dict[str, Any] | None) -> None:
    """The first message must have the settings."""
    assert plugin(FakeSocket(*(frames.packed(*message) for message in messages))).settings() == settings


def test_tell() -> None:
    """All messages are sent in their order before the connection is closed."""
    connection = FakeSocket()
    told = plugin(connection)
    for number in range(1000):
        told.tell("number", number)
    told.close(5.0)
    assert list(frames.Frames().feed(connection.sent)) == [["number", number] for number in range(1000)]
    assert connection.is_shut


def test_a_dead_plugin() -> None:
    """After a broken connection no message arrives, and one that is sent is lost without an error."""
    connection = FakeSocket(frames.packed("a"))
    told = plugin(connection)
    connection.is_broken = True
    told.tell("late")
    assert list(told.messages) == []
    told.close(5.0)
    assert connection.sent == b""


@pytest.mark.usefixtures("restored_log")
def test_log() -> None:
    """Records at the given level are sent with logger, level and text."""
    connection = FakeSocket()
    told = plugin(connection)
    told.take_log(logging.WARNING)
    logger = logging.getLogger("locust_otel.exporter.x")
    logger.info("info")
    logger.warning("warning %s", "é 100%")
    told.close(5.0)
    assert list(frames.Frames().feed(connection.sent)) == [
        [frames.LOG, "locust_otel.exporter.x", logging.WARNING, "warning é 100%"]
    ]
