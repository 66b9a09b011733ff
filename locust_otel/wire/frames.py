"""Messages on the socket between plugin and exporter, in msgpack one after the other.

Each message is a list whose first item is one of the names below. Both sides are of the same installation, so there is
no version to agree on; what comes from a worker, which may be of another one, is `wire.report`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

from locust_otel.core.errors import LocustOtelError

MAX_BYTES = 256 * 1024 * 1024
"""Length of what may wait to be read; a longer message is none of ours."""

_MAX_ITEMS = 1 << 22  # of a list; msgpack allocates it before it has the items

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
SAY = "say"  # text for standard output
ANSWER = "answer"  # number, value
MARKED = "marked"  # text, kind: what was marked at the endpoint of a worker
DONE = "done"  # all is said; the exporter ends


class FrameError(LocustOtelError):
    """What came is no message of ours."""


def packed(*message: Any) -> bytes:
    """Return a message as it is sent."""
    data: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    return data


class Frames:
    """Takes bytes as they come, and gives the messages that are whole."""

    def __init__(self) -> None:
        self._unpacker = msgpack.Unpacker(
            strict_map_key=False, unicode_errors="surrogatepass", max_buffer_size=MAX_BYTES,
            max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS,
        )  # fmt: skip

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Take some bytes, and yield the messages that they complete.

        Raises:
            FrameError: They are none; what comes after them is lost.
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
            raise FrameError(f"a message that is no msgpack: {error!r}") from error
