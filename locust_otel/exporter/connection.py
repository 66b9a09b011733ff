"""The connection to the plugin in Locust's process: messages both ways, and the log."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

from locust_otel.wire import frames


class Plugin:
    """The plugin's end of the socket. A thread writes, so that `tell` never waits."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.messages = self._read()  # as they arrive, until the plugin closes the socket or dies
        self._unsent: SimpleQueue[bytes | None] = SimpleQueue()
        self._writer = Thread(target=self._write, daemon=True, name="writer")
        self._writer.start()

    def tell(self, *message: Any) -> None:
        """Send a message; it is lost if the socket is closed."""
        self._unsent.put(frames.packed(*message))

    def settings(self) -> dict[str, Any] | None:
        """Return the settings from the first message; None if that is another one."""
        first = next(self.messages, None)
        return dict(first[1]) if first is not None and first[0] == frames.SETTINGS else None

    def _read(self) -> Iterator[list[Any]]:
        incoming = frames.Frames()
        with contextlib.suppress(OSError):
            while data := self._connection.recv(1 << 18):
                yield from incoming.feed(data)

    def close(self, timeout_s: float) -> None:
        """Wait until everything is sent, then close both directions."""
        self._unsent.put(None)
        self._writer.join(timeout_s)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def take_log(self, level: int) -> None:
        """Have Locust's process log what is logged here, in its format."""
        ours = logging.getLogger("locust_otel")
        ours.setLevel(level)
        ours.addHandler(_Forwarding(self))
        ours.propagate = False
        logging.getLogger().addHandler(logging.NullHandler())  # the outputs report errors of their libraries

    def _write(self) -> None:
        while (data := self._unsent.get()) is not None:
            with contextlib.suppress(OSError):
                self._connection.sendall(data)


class _Forwarding(logging.Handler):
    def __init__(self, plugin: Plugin) -> None:
        super().__init__()
        self._plugin = plugin

    def emit(self, record: logging.LogRecord) -> None:
        self._plugin.tell(frames.LOG, record.name, record.levelno, self.format(record))
