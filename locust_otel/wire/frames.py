"""Messages on the socket between plugin and exporter: a stream of msgpack values.

Each message is a list that starts with one of the names below. Both sides are of the same installation, so messages
have no version. Reports of workers, whose version may differ, are in `wire.report`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

from locust_otel.core.errors import LocustOtelError

MAX_BYTES = 256 * 1024 * 1024  # of a message
_MAX_ITEMS = 1 << 22  # of a list; msgpack allocates the list before it has the items

# From the plugin to the exporter.
SETTINGS = "settings"  # {…}: first message; the answer is READY or REFUSED
BEGIN = "begin"  # {…}: a run begins
REPORT = "report"  # source, bytes: a report of this process
WORKER = "worker"  # source, requests that Locust counted, [bytes …] or None: a report of a worker, unchanged
STATUS = "status"  # {…}: current state of Locust's runner
MARK = "mark"  # run_id, text, kind, Unix time
EVENT = "event"  # an event, encoded by `wire.report`
STOPPED = "stopped"  # run_id, monotonic seconds: the run has stopped
FINISH = "finish"  # run_id, seconds of grace or None: the run has no further reports
ASK = "ask"  # number, question, argument; the answer is ANSWER
STOP = "stop"  # stop the exporter
HURRY = "hurry"  # another signal came: stop without waiting

# From the exporter to the plugin.
READY = "ready"  # {…}
REFUSED = "refused"  # [[where, found, remedy, slug] …]
KEPT = "kept"  # number of messages in the checkpoint
NAMES = "names"  # source, run_id, [[method, name] …]: the only names with their own series
ABORT = "abort"  # run_id: stop the run
LOG = "log"  # logger, level, text
SAY = "say"  # text for standard output
ANSWER = "answer"  # number, value
MARKED = "marked"  # text, kind: a mark made at the endpoint of a worker
DONE = "done"  # last message; the exporter exits


class FrameError(LocustOtelError):
    """Received bytes that are not a message."""


def packed(*message: Any) -> bytes:
    """Return the bytes of a message."""
    data: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    return data


class Frames:
    """Decoder of a stream of messages."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(
            strict_map_key=False, unicode_errors="surrogatepass", max_buffer_size=MAX_BYTES,
            max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS,
        )  # fmt: skip

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Take bytes, and yield the messages that they complete.

        Raises:
            FrameError: The bytes are not a message; the rest of the stream is lost.
        """
        try:
            self._unpacker.feed(data)
            for message in self._unpacker:
                if type(message) is not list or not message or type(message[0]) is not str:
                    raise FrameError("a message without a name")
                yield message
        except FrameError:
            raise
        except Exception as error:  # msgpack raises many kinds
            raise FrameError(f"a message that is not msgpack: {error!r}") from error
