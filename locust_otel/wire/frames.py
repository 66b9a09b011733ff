"""Messages on the socket between plugin and exporter: a length of four bytes, and so many bytes of msgpack.

Each message is a list whose first item is one of the names below. Both sides are of the same installation, so there is
no version to agree on; what comes from a worker, which may be of another one, is `wire.report`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from locust_otel.core.errors import LocustOtelError

MAX_BYTES = 256 * 1024 * 1024
"""Length of a message at the most; a longer one is no message of ours."""

# From the plugin to the exporter.
SETTINGS = "settings"  # {…}: the first message, answered by READY or REFUSED
BEGIN = "begin"  # {…}: a run begins
REPORT = "report"  # source, bytes: a report of this process
WORKER = "worker"  # source, requests that Locust counted, [bytes …] or None: a report of a worker, as it came
STATUS = "status"  # {…}: what Locust's runner says now
MARK = "mark"  # run_id, text, kind, Unix time
EVENT = "event"  # an event, as `wire.report` carries it
STOPPED = "stopped"  # run_id, monotonic seconds: the run has stopped
FINISH = "finish"  # run_id, seconds of grace or None: nothing more will be reported of the run
ASK = "ask"  # number, question, argument: answered by ANSWER
STOP = "stop"  # end
HURRY = "hurry"  # a further signal: wait for nobody

# From the exporter to the plugin.
READY = "ready"  # {…}
REFUSED = "refused"  # [[where, found, remedy, slug] …]
KEPT = "kept"  # number of messages that the checkpoint holds
NAMES = "names"  # source, run_id, [[method, name] …]: these have series of their own, and no others
ABORT = "abort"  # run_id: stop the run
LOG = "log"  # logger, level, text
ANSWER = "answer"  # number, value
MARKED = "marked"  # text, kind: what was marked at the endpoint of a worker
DONE = "done"  # all is said; the exporter ends

_HEAD = struct.Struct(">I")


class FrameError(LocustOtelError):
    """What came is no message of ours."""


def packed(*message: Any) -> bytes:
    """Return a message as it is sent."""
    body: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    return _HEAD.pack(len(body)) + body


class Frames:
    """Takes bytes as they come, and gives the messages that are whole."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Take some bytes, and yield the messages that they complete.

        Raises:
            FrameError: They are none.
        """
        self._data += data
        at = 0
        try:
            while len(self._data) - at >= _HEAD.size:
                (length,) = _HEAD.unpack_from(self._data, at)
                if length > MAX_BYTES:
                    raise FrameError(f"a message of {length} bytes")
                end = at + _HEAD.size + length
                if len(self._data) < end:
                    break
                body = bytes(self._data[at + _HEAD.size : end])
                at = end
                yield unpacked(body)
        finally:
            del self._data[:at]


def unpacked(body: bytes) -> list[Any]:
    """Return the message that bytes hold.

    Raises:
        FrameError: They are none.
    """
    try:
        message = msgpack.unpackb(body, strict_map_key=False, unicode_errors="surrogatepass")
    except Exception as error:  # msgpack raises many kinds
        raise FrameError(f"a message that is no msgpack: {error!r}") from error
    if type(message) is not list or not message or type(message[0]) is not str:
        raise FrameError("a message without a name")
    return message
