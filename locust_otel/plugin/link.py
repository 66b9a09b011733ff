"""Link to the exporter process: it starts the exporter, sends it messages, and replaces it if it dies.

The link keeps each message until the exporter confirms that its checkpoint contains it. The checkpoint is a file in
memory that this process holds. A new exporter gets the checkpoint and all later messages. Nothing here blocks a user:
a separate greenlet writes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import signal
import site
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import count, islice
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakMethod

import gevent
from gevent.event import AsyncResult, Event

from locust_otel.core.errors import ConfigurationError
from locust_otel.wire import frames

logger = logging.getLogger(__name__)

START_S = 30.0
"""Seconds in which an exporter must be ready; more than a busy machine needs."""

MAX_DEATHS = 3
"""Deaths within `DEATHS_WITHIN_S` after which the run continues without an exporter."""
DEATHS_WITHIN_S = 60.0

MAX_WAITING_BYTES = 64 * 2**20
"""Bytes of messages kept for an exporter that does not read. Above that, reports of workers are dropped; later reports
contain the same totals."""

SILENCE_S = 5.0
"""Seconds without a message after which `close` kills the exporter, which sends one each second."""

_LAST_ANSWER_S, _LAST_S = 0.5, 1.0
"""Seconds for an answer, and for the end, of an exporter that has been silent for `SILENCE_S`."""

_EXPORTER_FD, _CHECKPOINT_FDS = 3, (4, 5, 6, 7)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ExporterGoneError(Exception):
    """The exporter died before it was ready."""


class Presence(Enum):
    """State of the exporter."""

    ABSENT = "absent"  # not started, not replaced any more, ended, or a parent process's
    PRESENT = "present"  # running, or about to be replaced
    CLOSING = "closing"  # asked to end; it will not be replaced


class Link:
    """Link to the exporter of one Locust process; never started on a worker if only the master has an exporter."""

    def __init__(self) -> None:
        self.ready: dict[str, Any] = {}  # first message of the exporter
        self.restarts = 0
        self.commands: dict[str, Callable[..., object]] = {  # handler of each message from the exporter
            frames.READY: self._on_ready,
            frames.KEPT: self._forget,
            frames.ANSWER: self._on_answer,
            frames.LOG: lambda name, level, text: logging.getLogger(name).log(level, "%s", text),
            frames.DONE: self._end,
        }
        self._presence = Presence.ABSENT
        self._settings: Mapping[str, Any] = {}
        self._checkpoints: list[int] = []
        self._log: deque[bytes] = deque()  # messages that the checkpoint does not contain
        self._log_bytes = 0
        self._kept = 0  # messages before the first of the log
        self._unsent = 0  # messages at the end of the log that are not yet written
        self._is_writing = False
        self._is_ready = False  # before that no new message may overtake those of the log
        self._wake = Event()
        self._answers: dict[int, AsyncResult] = {}
        self._numbers = count(1)
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._socket: Any = None
        self._pid = 0
        self._heard_s = 0.0  # monotonic time of the exporter's last message
        self._incoming = frames.Frames()
        self._greenlets: list[gevent.Greenlet] = []

    def start(self, settings: Mapping[str, Any]) -> None:
        """Start the exporter with these settings, and wait until it is ready.

        Raises:
            ConfigurationError: The exporter refuses the settings, or the process does not start.
        """
        self._settings = settings
        self._checkpoints = [_memory_file() for _ in _CHECKPOINT_FDS]
        leave = WeakMethod(self._leave)  # weak, since the hook cannot be removed

        def in_child() -> None:
            method = leave()
            if method is not None:
                method()

        os.register_at_fork(after_in_child=in_child)
        try:
            self._start()
        except (OSError, ExporterGoneError) as error:
            raise ConfigurationError(
                "locust-otel",
                f"the exporter process did not start: {error}.",
                f"Read its error on the terminal; {sys.executable} -m locust_otel.exporter must start.",
                slug="exporter-start",
            ) from error
        self._presence = Presence.PRESENT
        self._greenlets = [gevent.spawn(self._write), gevent.spawn(self._read)]

    @property
    def has_room(self) -> bool:
        """True once all messages are written: there is room for another report."""
        return not self._unsent and not self._is_writing

    @property
    def is_usable(self) -> bool:
        """True while an exporter is running or about to be replaced."""
        return self._presence is not Presence.ABSENT

    @property
    def _is_silent(self) -> bool:
        return monotonic() - self._heard_s > SILENCE_S

    def send(self, *message: Any) -> None:
        """Queue a message; a greenlet writes the queue in order."""
        is_dropped = message[0] == frames.WORKER and self._log_bytes > MAX_WAITING_BYTES
        if is_dropped or not self.is_usable:
            return
        data = frames.packed(*message)
        self._log.append(data)
        self._log_bytes += len(data)
        self._unsent += 1
        self._wake.set()

    def ask(self, question: str, argument: object = None, timeout_s: float = 2.0) -> Any:
        """Return the exporter's answer to a question, after it has processed all earlier messages.

        Raises:
            TimeoutError: The exporter does not answer in time, or there is no exporter.
        """
        if not self.is_usable:
            raise TimeoutError("there is no exporter")
        number = next(self._numbers)
        answer = self._answers[number] = AsyncResult()
        self.send(frames.ASK, number, question, argument)
        if self._is_silent:
            gevent.sleep(0.02)  # to read the messages that came while users blocked the loop
        if self._is_silent:
            timeout_s = min(timeout_s, _LAST_ANSWER_S)
        try:
            return answer.get(timeout=timeout_s)
        except gevent.Timeout:
            raise TimeoutError(f"the exporter did not answer within {timeout_s:g} s") from None
        finally:
            del self._answers[number]

    def close(self, interrupted: Callable[[float], bool]) -> None:
        """Ask the exporter to end, and wait for its end while it sends messages.

        `interrupted` waits for so many seconds, and returns whether a signal has come that ends the waiting.
        """
        self.send(frames.STOP)
        if self.is_usable:
            self._presence = Presence.CLOSING
        until = monotonic() + _LAST_S
        has_hurried = False
        while self.is_usable and (not self._is_silent or monotonic() < until):
            if has_hurried:
                with contextlib.suppress(KeyboardInterrupt):
                    gevent.sleep(0.02)
            elif interrupted(0.02):
                has_hurried = True
                self.send(frames.HURRY)
        if self.is_usable:
            logger.error("The exporter did not answer for %g s and was killed; its last values are missing.", SILENCE_S)
            self._kill()
            self._end()
        gevent.killall(self._greenlets, block=False)
        self._disconnect()
        while self._checkpoints:
            os.close(self._checkpoints.pop())
        self._reap()

    def _start(self) -> None:
        """Start a process, send it the settings, and wait until it is ready."""
        self._socket, theirs = socket.socketpair()
        self._incoming = frames.Frames()
        try:
            with theirs:
                self._pid = _spawned(theirs.fileno(), self._checkpoints)
            with gevent.Timeout(START_S, ExporterGoneError(f"it was not ready within {START_S:g} s")):
                sent = self._kept + len(self._log)
                settings = {**self._settings, "restarts": self.restarts, "said": sent}
                self._socket.sendall(frames.packed(frames.SETTINGS, settings))
                while not self._is_ready:
                    data = self._received()
                    if not data:
                        raise ExporterGoneError(f"it ended with {self._reap()}")
                    for message in self._incoming.feed(data):
                        if message[0] == frames.REFUSED:
                            raise ConfigurationError.of_fields(message[1])
                        self._take(message)
        except BaseException:
            self._kill()
            self._disconnect()
            self._reap()
            raise

    def _on_ready(self, ready: dict[str, Any]) -> None:
        """Drop the messages that the checkpoint contains, and queue the rest of the log."""
        self.ready = ready
        self._heard_s = monotonic()
        self._forget(ready["received"])
        self._unsent = len(self._log)
        self._is_ready = True
        self._wake.set()

    def _forget(self, received: int) -> None:
        """Drop the messages up to this number, which the checkpoint contains."""
        while self._kept < received and len(self._log) > self._unsent:
            self._log_bytes -= len(self._log.popleft())
            self._kept += 1

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._unsent and self._is_ready:
                connection = self._socket
                data = b"".join(islice(self._log, len(self._log) - self._unsent, None))
                self._unsent, self._is_writing = 0, True
                try:
                    connection.sendall(data)
                except OSError:  # the exporter has died; the reader replaces it
                    break
                finally:
                    self._is_writing = False

    def _read(self) -> None:
        while self.is_usable:
            data = self._received()
            if not data:
                if not self._replace():
                    return
                continue
            self._heard_s = monotonic()
            try:
                for message in self._incoming.feed(data):
                    self._take(message)
            except frames.FrameError as error:
                logger.error("The exporter sent %s and is replaced.", error)
                self._kill()

    def _received(self) -> bytes:
        """Return bytes from the exporter; empty if it has died."""
        try:
            data: bytes = self._socket.recv(65536)
        except OSError:
            return b""
        return data

    def _take(self, message: list[Any]) -> None:
        command = self.commands.get(message[0])
        if command is None:
            return
        try:
            command(*message[1:])
        except Exception:  # an error here must not end the reading
            logger.exception("The message %s of the exporter was not understood", message[0])

    def _replace(self) -> bool:
        """Replace an exporter that has died; return whether a new one is running."""
        while self.is_usable:
            self._disconnect()
            status = self._reap()
            if self._presence is Presence.CLOSING:
                logger.error("The exporter ended with %s before it was done; its last values may be missing.", status)
                self._end()
                return False
            self._deaths.append(monotonic())
            if len(self._deaths) == MAX_DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_WITHIN_S:
                self._end()
                self._log.clear()
                self._log_bytes = self._unsent = 0
                logger.error(
                    "The exporter died %d times within a minute, the last time with %s. The run continues without it: "
                    "no numbers are exported, recorded or judged any more.",
                    MAX_DEATHS,
                    status,
                )
                return False
            self.restarts += 1
            try:
                self._start()
            except (OSError, ExporterGoneError, ConfigurationError) as error:
                logger.debug("The exporter could not be replaced: %s", error)
                gevent.sleep(0.2)
                continue
            logger.warning("The exporter ended with %s and was replaced; no total is lost.", status)
            return True
        return False

    def _on_answer(self, number: int, value: Any) -> None:
        answer = self._answers.get(number)
        if answer is not None:
            answer.set(value)

    def _end(self) -> None:
        self._presence = Presence.ABSENT

    def _kill(self) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _disconnect(self) -> None:
        self._is_ready = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _reap(self) -> str:
        """Wait up to a second for the end of the process, and return how it ended."""
        deadline = monotonic() + 1
        while self._pid and monotonic() < deadline:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except OSError:  # other code has reaped it
                self._pid = 0
                break
            if pid:
                self._pid = 0
                code = os.waitstatus_to_exitcode(status)
                return f"signal {-code}" if code < 0 else f"exit code {code}"
            gevent.sleep(0.01)
        return "an unknown status"

    def _leave(self) -> None:
        """Disconnect a child process that a task has forked: the exporter belongs to the parent."""
        self._end()
        self._pid = 0
        # gevent's close waits for the loop, which may never run here; the exporter would then never end.
        null = os.open(os.devnull, os.O_RDWR)
        for file in [*([self._socket.fileno()] if self._socket is not None else []), *self._checkpoints]:
            os.dup2(null, file, inheritable=False)
        os.close(null)


def _memory_file() -> int:
    """Return a file without a name, which exists while a process has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("locust-otel-checkpoint")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _spawned(theirs: int, checkpoints: list[int]) -> int:
    """Start an exporter that has these files open, and return its process id.

    Not with `subprocess`, which gevent replaces: its fork copies every greenlet. Signals are blocked until the exporter
    ignores them: Ctrl-C reaches it too, but its Locust process decides when it ends.
    """
    if not sys.executable:
        raise OSError(errno.ENOENT, "there is no Python to start it with (sys.executable is empty)")
    # glibc gives each thread its own heap by default: 14 MiB more when gRPC pushes 1,000 series (2026-11).
    environment = {"MALLOC_ARENA_MAX": "1", **os.environ}
    home = str(Path(__file__).parents[2])
    if home not in (*site.getsitepackages(), site.getusersitepackages()):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH"))))
    # Copied to high numbers first: a file may have the number that another one is to get.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs, *checkpoints)]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "locust_otel.exporter"],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, fd, target)
                for fd, target in zip(high, (_EXPORTER_FD, *_CHECKPOINT_FDS), strict=True)
            ],
            setsigmask=_SIGNALS,
        )
    finally:
        for fd in high:
            os.close(fd)
