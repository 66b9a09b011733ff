"""Tests of the connection to Locust's process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from locust_otel.exporter.connection import Plugin
from locust_otel.wire import frames


@pytest.fixture
def pair() -> Iterator[tuple[Plugin, socket.socket]]:
    """Give the exporter's side, and the plugin's end of the socket."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with ours, theirs:
        plugin = Plugin(ours)
        yield plugin, theirs
        plugin.close(5)


def test_messages_until_the_end(pair: tuple[Plugin, socket.socket]) -> None:
    """Each message comes whole, however it was cut on its way; the end of the socket is the end of the messages."""
    plugin, theirs = pair
    data = frames.packed("a", 1) + frames.packed("b") + frames.packed("c")[:2]
    theirs.sendall(data[:2])
    theirs.sendall(data[2:])
    theirs.shutdown(socket.SHUT_WR)
    assert list(plugin.messages) == [["a", 1], ["b"]]


def test_what_is_told_arrives_in_order(pair: tuple[Plugin, socket.socket]) -> None:
    """All of it is sent before the connection is closed."""
    plugin, theirs = pair
    for number in range(1000):
        plugin.tell("number", number)
    closing = Thread(target=plugin.close, args=(5.0,))
    closing.start()
    incoming = frames.Frames()
    heard: list[list[object]] = []
    while data := theirs.recv(65536):
        heard += incoming.feed(data)
    closing.join()
    assert heard == [["number", number] for number in range(1000)]


def test_the_other_side_has_gone(pair: tuple[Plugin, socket.socket]) -> None:
    """No message comes, and a message to it is lost without an error."""
    plugin, theirs = pair
    theirs.close()
    plugin.tell("late")
    assert list(plugin.messages) == []
