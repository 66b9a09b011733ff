"""The exporter process, seen from Locust's: starts it, tells it everything, and replaces it where it dies.

Messages are kept until the exporter says that its checkpoint (a file in memory that this process holds) has them. A
successor gets the checkpoint and what came since. Nothing here blocks a user: a greenlet of its own writes.
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
from itertools import islice
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
"""Seconds that an exporter may take to be ready; more than a busy machine needs."""

MAX_DEATHS = 3
"""Deaths within `DEATHS_WITHIN_S` after which the run goes on without an exporter."""
DEATHS_WITHIN_S = 60.0

MAX_WAITING_BYTES = 64 * 2**20
"""Bytes of messages kept for an exporter that does not read; beyond that reports of workers are dropped, which their
next ones make up for."""

SILENCE_S = 5.0
"""Seconds of silence after which an exporter is given up at the end: it says something each second."""

_LAST_ANSWER_S, _LAST_S = 0.5, 1.0
"""Seconds for an answer, and for the end, of an exporter that has been silent for as long before."""

_EXPORTER_FD, _CHECKPOINT_FDS = 3, (4, 5, 6, 7)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ExporterGoneError(Exception):
    """The exporter died before it was ready."""


class Presence(Enum):
    """Whether there is an exporter."""

    ABSENT = "absent"  # not started, given up, at its end, or a parent process's
    PRESENT = "present"  # there, or about to be replaced
    CLOSING = "closing"  # to end, and not replaced


class Link:
    """The exporter of one Locust process; a worker whose master has the only one never starts its own."""

    def __init__(self) -> None:
        self.ready: dict[str, Any] = {}  # what the exporter said when it was ready
        self.restarts = 0
        self.commands: dict[str, Callable[..., object]] = {  # for what comes from the exporter
            frames.READY: self._on_ready,
            frames.KEPT: self._forget,
            frames.ANSWER: self._on_answer,
            frames.LOG: _on_log,
            frames.DONE: self._end,
        }
        self._presence = Presence.ABSENT
        self._settings: Mapping[str, Any] = {}
        self._checkpoints: list[int] = []
        self._log: deque[bytes] = deque()  # messages that no checkpoint holds
        self._log_bytes = 0
        self._kept = 0  # messages before the first of the log
        self._unsent = 0  # messages at the end of the log that were not written
        self._is_writing = False
        self._is_ready = False  # until it is, nothing may overtake what its checkpoint does not hold
        self._wake = Event()
        self._answers: dict[int, AsyncResult] = {}
        self._asked = 0
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._socket: Any = None
        self._pid = 0
        self._heard = 0.0
        self._incoming = frames.Frames()
        self._greenlets: list[gevent.Greenlet] = []

    def start(self, settings: Mapping[str, Any]) -> None:
        """Start the exporter with these settings, and wait until it is ready.

        Raises:
            ConfigurationError: The settings cannot be used, or the process cannot be started.
        """
        self._settings = settings
        self._checkpoints = [_memory_file() for _ in _CHECKPOINT_FDS]
        leave = WeakMethod(self._leave)  # the hook holds nothing alive, since it stays

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
                f"the exporter process cannot be started: {error}.",
                f"What it wrote to the terminal says why; {sys.executable} -m locust_otel.exporter must start.",
                slug="exporter-start",
            ) from error
        self._presence = Presence.PRESENT
        self._greenlets = [gevent.spawn(self._write), gevent.spawn(self._read)]

    @property
    def has_room(self) -> bool:
        """Whether all that was said was written: then there is room for another report."""
        return not self._unsent and not self._is_writing

    @property
    def is_usable(self) -> bool:
        """Whether there is an exporter, or will soon be one again."""
        return self._presence is not Presence.ABSENT

    @property
    def _is_silent(self) -> bool:
        return monotonic() - self._heard > SILENCE_S

    def send(self, *message: Any) -> None:
        """Send a message; it is written later, in order."""
        is_dropped = message[0] == frames.WORKER and self._log_bytes > MAX_WAITING_BYTES
        if is_dropped or not self.is_usable:
            return
        data = frames.packed(*message)
        self._log.append(data)
        self._log_bytes += len(data)
        self._unsent += 1
        self._wake.set()

    def ask(self, question: str, argument: object = None, timeout_s: float = 2.0) -> Any:
        """Return what the exporter answers to a question, once it has taken in all that was said before.

        Raises:
            TimeoutError: It does not answer in time.
        """
        if not self.is_usable:
            raise TimeoutError("there is no exporter")
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = AsyncResult()
        self.send(frames.ASK, number, question, argument)
        if self._is_silent:
            gevent.sleep(0.02)  # what it said while users kept the loop is read now
        if self._is_silent:
            timeout_s = min(timeout_s, _LAST_ANSWER_S)
        try:
            return answer.get(timeout=timeout_s)
        except gevent.Timeout:
            raise TimeoutError(f"the exporter did not answer within {timeout_s:g} s") from None
        finally:
            del self._answers[number]

    def close(self, interrupted: Callable[[float], bool]) -> None:
        """Have the exporter end, and wait for it as long as it has something to do.

        `interrupted` waits for so many seconds, and returns whether a signal has come that ends the waiting.
        """
        self.send(frames.STOP)
        if self.is_usable:
            self._presence = Presence.CLOSING
        until = monotonic() + _LAST_S
        is_hurried = False
        while self.is_usable and (not self._is_silent or monotonic() < until):
            if is_hurried:
                with contextlib.suppress(KeyboardInterrupt):
                    gevent.sleep(0.02)
            elif interrupted(0.02):
                is_hurried = True
                self.send(frames.HURRY)
        if self.is_usable:
            logger.error("The exporter did not answer for %g s and was ended; its last values are missing.", SILENCE_S)
            self._kill()
            self._end()
        gevent.killall(self._greenlets, block=False)
        self._let_go()
        while self._checkpoints:
            os.close(self._checkpoints.pop())
        self._reap()

    def _start(self) -> None:
        """Start a process, tell it the settings, and wait until it is ready."""
        self._socket, theirs = socket.socketpair()
        self._incoming = frames.Frames()
        try:
            with theirs:
                self._pid = _spawned(theirs.fileno(), self._checkpoints)
            with gevent.Timeout(START_S, ExporterGoneError(f"it was not ready within {START_S:g} s")):
                said = self._kept + len(self._log)
                settings = {**self._settings, "restarts": self.restarts, "said": said}
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
            self._let_go()
            self._reap()
            raise

    def _on_ready(self, ready: dict[str, Any]) -> None:
        """Note what the exporter has of the log: the rest is to be written."""
        self.ready = ready
        self._heard = monotonic()
        self._forget(ready["received"])
        self._unsent = len(self._log)
        self._is_ready = True
        self._wake.set()

    def _forget(self, received: int) -> None:
        """Forget the messages up to this number, which a checkpoint holds."""
        while self._kept < received and len(self._log) > self._unsent:
            self._log_bytes -= len(self._log.popleft())
            self._kept += 1

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._unsent and self._is_ready:
                to = self._socket
                data = b"".join(islice(self._log, len(self._log) - self._unsent, None))
                self._unsent, self._is_writing = 0, True
                try:
                    to.sendall(data)
                except OSError:  # it has died, which the reader sees
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
            self._heard = monotonic()
            try:
                for message in self._incoming.feed(data):
                    self._take(message)
            except frames.FrameError as error:
                logger.error("The exporter sent %s and is replaced.", error)
                self._kill()

    def _received(self) -> bytes:
        """Return what comes from the exporter; nothing where it has died."""
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
        except Exception:  # what goes wrong here must not end the reading
            logger.exception("A message of the exporter, %s, was not understood", message[0])

    def _replace(self) -> bool:
        """Start a new exporter in the place of one that died; return whether there is one."""
        while self.is_usable:
            self._let_go()
            how = self._reap()
            if self._presence is Presence.CLOSING:
                logger.error("The exporter ended with %s before all was said; its last values may be missing.", how)
                self._end()
                return False
            self._deaths.append(monotonic())
            if len(self._deaths) == MAX_DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_WITHIN_S:
                self._give_up(how)
                return False
            self.restarts += 1
            try:
                self._start()
            except (OSError, ExporterGoneError, ConfigurationError) as error:
                logger.debug("The exporter could not be replaced: %s", error)
                gevent.sleep(0.2)
                continue
            logger.warning("The exporter ended with %s and was replaced; every total is there again.", how)
            return True
        return False

    def _give_up(self, how: str) -> None:
        self._end()
        self._log.clear()
        self._log_bytes = self._unsent = 0
        logger.error(
            "The exporter died %d times within a minute, at last with %s. The run goes on without it: nothing more is "
            "exported, recorded or judged.",
            MAX_DEATHS,
            how,
        )

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

    def _let_go(self) -> None:
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
            except OSError:  # somebody else has reaped it
                self._pid = 0
                break
            if pid:
                self._pid = 0
                code = os.waitstatus_to_exitcode(status)
                return f"signal {-code}" if code < 0 else f"exit code {code}"
            gevent.sleep(0.01)
        return "an unknown status"

    def _leave(self) -> None:
        """Let go of the exporter in a child that a task has forked: it is the parent's."""
        self._end()
        self._pid = 0
        # Not closed by gevent, which waits for its loop: that may never run here, and the exporter would live on.
        null = os.open(os.devnull, os.O_RDWR)
        for file in [*([self._socket.fileno()] if self._socket is not None else []), *self._checkpoints]:
            os.dup2(null, file, inheritable=False)
        os.close(null)


def _on_log(name: str, level: int, text: str) -> None:
    logging.getLogger(name).log(level, "%s", text)


def _memory_file() -> int:
    """Return a file that has no name, and lives as long as somebody has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("locust-otel-checkpoint")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _spawned(theirs: int, checkpoints: list[int]) -> int:
    """Start an exporter that has these files open, and return its process id.

    Not by `subprocess`, which gevent replaces: its fork copies every greenlet. Signals are blocked until the exporter
    ignores them: Ctrl-C goes to it too, and its Locust says when it is to end.
    """
    if not sys.executable:
        raise OSError(errno.ENOENT, "there is no Python to start it with (sys.executable is empty)")
    # glibc gives each thread a heap of its own by default: 14 MiB more where gRPC pushes 1,000 series (2026-11).
    environment = {"MALLOC_ARENA_MAX": "1", **os.environ}
    home = str(Path(__file__).parents[2])
    if home not in (*site.getsitepackages(), site.getusersitepackages()):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH"))))
    # Copied out of the way first: one of them may have the number that another is to get.
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
