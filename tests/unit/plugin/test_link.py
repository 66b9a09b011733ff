"""Tests of the link to an exporter that is a greenlet: no message is lost, repeated or out of order."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.queue import Queue

from locust_otel.core.errors import ConfigurationError
from locust_otel.plugin import link as link_module
from locust_otel.plugin.link import MAX_DEATHS, Link
from locust_otel.wire import frames
from tests.unit.plugin.clocks import Clock

FIRST_PID = 2**30  # of no process
FIRST_FD = 2**20  # of no file
BUFFER = 64 * 1024
"""Bytes that a connection takes while the other end does not read."""


class Connection:
    """One end of a connection in memory, with the methods of a socket that the link uses."""

    peer: Connection

    def __init__(self, fd: int) -> None:
        self.is_closed = False
        self.reads = Event()
        self.reads.set()
        self._fd = fd
        self._received = Queue[bytes]()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the exporter has a copy."""

    def fileno(self) -> int:
        """Return the number of the file."""
        return self._fd

    def sendall(self, data: bytes) -> None:
        """Send data; wait if it is too much for an end that does not read."""
        if len(data) > BUFFER:
            self.peer.reads.wait()
        if self.peer.is_closed:
            raise BrokenPipeError
        self.peer._received.put(data)

    def recv(self, _: int) -> bytes:
        """Wait for data; nothing if the other end is closed."""
        data: bytes = self._received.get()
        return data

    def close(self) -> None:
        """Close this end."""
        self.is_closed = True
        self.reads.set()
        self.peer._received.put(b"")


class Process:
    """An exporter.

    Attributes:
        heard: The messages that it has received.
        is_dead: Whether it has ended.
    """

    def __init__(self, exporters: Exporters, connection: Connection) -> None:
        self.heard: list[list[Any]] = []
        self.is_dead = False
        self.connection = connection
        self._exporters = exporters
        self._greenlet = gevent.spawn(self._run)

    def say(self, *message: Any) -> None:
        """Send a message."""
        self.connection.sendall(frames.packed(*message))

    def end(self) -> None:
        """Send the last message, and end."""
        self.say(frames.DONE)
        self.is_dead = True

    def die(self) -> None:
        """End at once."""
        self.is_dead = True
        self._greenlet.kill(block=False)
        self.connection.close()

    def numbers(self) -> list[int]:
        """Return the numbers of the messages `number` that it has received."""
        return [message[1] for message in self.heard if message[0] == "number"]

    def _run(self) -> None:
        messages = frames.Frames()
        while data := self.connection.recv(BUFFER):
            for message in messages.feed(data):
                self.heard.append(message)
                if message[0] == frames.SETTINGS:
                    self._exporters.first_words(self)
                elif message[0] == frames.STOP:
                    self._exporters.last_words(self)
                elif message[0] == frames.HURRY:
                    self.end()
            self.connection.reads.wait()


class Exporters:
    """All exporters that a link starts.

    Attributes:
        first_words: Called when an exporter gets its settings.
        last_words: Called when an exporter is asked to end.
        received: Messages that a successor has from the checkpoint.
        refusals: Starts that fail from now on.
        log: What the link has logged.
    """

    def __init__(self, clock: Clock, log: pytest.LogCaptureFixture) -> None:
        self.log = log
        self._clock = clock
        self.processes: list[Process] = []
        self.received = 0
        self.refusals = 0
        self.first_words: Callable[[Process], None] = self.be_ready
        self.last_words: Callable[[Process], None] = Process.end
        self._theirs: dict[int, Connection] = {}

    def be_ready(self, process: Process) -> None:
        """Send the first message."""
        process.say(frames.READY, {"received": self.received, "url": "http://x"})

    def connect(self) -> tuple[Connection, Connection]:
        """Return both ends of a connection, as `socketpair` does."""
        number = FIRST_FD + 2 * len(self._theirs)
        ours, theirs = Connection(number), Connection(number + 1)
        ours.peer, theirs.peer = theirs, ours
        self._theirs[number + 1] = theirs
        return ours, theirs

    def spawned(self, theirs: int, checkpoints: list[int]) -> int:
        """Start an exporter."""
        assert len(checkpoints) == 4
        if self.refusals:
            self.refusals -= 1
            raise OSError(11, "Resource temporarily unavailable")
        self.processes.append(Process(self, self._theirs[theirs]))
        return FIRST_PID + len(self.processes) - 1

    @property
    def last(self) -> Process:
        """The exporter that was started last."""
        return self.processes[-1]

    def not_interrupted(self, timeout_s: float) -> bool:
        """Wait, and return that no signal has come."""
        self._clock.sleep(timeout_s)
        return False

    def stop_reading(self) -> None:
        """Let the last exporter read no further message."""
        self.last.connection.reads.clear()

    def kill(self, pid: int, _: int) -> None:
        """Kill an exporter."""
        process = self.processes[pid - FIRST_PID]
        if process.is_dead:
            raise ProcessLookupError
        process.die()

    def waitpid(self, pid: int, _: int) -> tuple[int, int]:
        """Return the end of an exporter, by signal 9; zeros while it is running."""
        return (pid, 9) if self.processes[pid - FIRST_PID].is_dead else (0, 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock and the sleep of the module."""
    clock = Clock()
    monkeypatch.setattr(link_module, "monotonic", clock)
    names = {name: getattr(gevent, name) for name in ("spawn", "killall", "Timeout")}
    monkeypatch.setattr(link_module, "gevent", SimpleNamespace(sleep=clock.sleep, **names))
    return clock


@pytest.fixture
def exporters(clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Exporters]:
    """Replace exporter processes by greenlets."""
    caplog.set_level(logging.INFO)
    exporters = Exporters(clock, caplog)
    monkeypatch.setattr(link_module, "_spawned", exporters.spawned)
    monkeypatch.setattr(link_module, "socket", SimpleNamespace(socketpair=exporters.connect))
    monkeypatch.setattr(os, "kill", exporters.kill)
    monkeypatch.setattr(os, "waitpid", exporters.waitpid)
    yield exporters
    for process in exporters.processes:
        process.die()


@pytest.fixture
def link(exporters: Exporters) -> Iterator[Link]:
    """Return a link with an exporter."""
    link = Link()
    link.start({"name": "host-0"})
    yield link
    exporters.last.connection.reads.set()
    link.close(exporters.not_interrupted)


def until(condition: Callable[[], object]) -> None:
    """Let other greenlets run until a condition holds."""
    for _ in range(10_000):
        if condition():
            return
        gevent.sleep(0)
    raise AssertionError(condition)


def some_turns() -> None:
    """Let other greenlets run."""
    for _ in range(20):
        gevent.sleep(0)


# ------------------------------------------------------------------------------------------------------------ start


def test_a_start(link: Link, exporters: Exporters) -> None:
    """The settings come first; the exporter's first message is known when the start is over."""
    assert exporters.last.heard[0] == [frames.SETTINGS, {"name": "host-0", "restarts": 0, "said": 0}]
    assert link.ready == {"received": 0, "url": "http://x"}
    assert (link.restarts, link.is_usable, link.has_room) == (0, True, True)


def test_refused_settings(exporters: Exporters) -> None:
    """The error has all problems of the exporter, and the log has its log lines."""

    def refuse(process: Process) -> None:
        process.say(frames.LOG, "locust_otel.exporter", logging.WARNING, "100 %s")
        process.say(frames.REFUSED, [["--a", "is odd.", "Give one.", "a"], ["b.yaml:3", "is odd.", "Fix it.", "b"]])

    exporters.first_words = refuse
    with pytest.raises(ConfigurationError) as caught:
        Link().start({})
    assert [(p.where, p.found, p.remedy, p.slug) for p in caught.value.problems] == [
        ("--a", "is odd.", "Give one.", "a"), ("b.yaml:3", "is odd.", "Fix it.", "b"),
    ]  # fmt: skip
    assert ("locust_otel.exporter", logging.WARNING, "100 %s") in exporters.log.record_tuples


@pytest.mark.parametrize(
    ("start_s", "first_words", "reason"),
    [(30.0, Process.die, "it ended with signal 9"), (0.0, lambda _: None, "it was not ready within 0 s")],
    ids=["dies", "says nothing"],
)
def test_no_start(
    exporters: Exporters,
    monkeypatch: pytest.MonkeyPatch,
    start_s: float,
    first_words: Callable[[Process], None],
    reason: str,
) -> None:
    """If the exporter does not start, the load test is refused with the reason."""
    monkeypatch.setattr(link_module, "START_S", start_s)
    exporters.first_words = first_words
    with pytest.raises(ConfigurationError, match=f"the exporter process did not start: {reason}") as caught:
        Link().start({})
    assert caught.value.slug == "exporter-start"
    assert exporters.last.is_dead


def test_no_process(exporters: Exporters) -> None:
    """The load test is also refused if the system cannot start a process."""
    exporters.refusals = 1
    with pytest.raises(ConfigurationError, match="Resource temporarily unavailable"):
        Link().start({})


# --------------------------------------------------------------------------------------------------------- messages


def test_messages_arrive_in_order(link: Link, exporters: Exporters) -> None:
    """All of them arrive, also those that are queued while earlier ones are written."""
    for number in range(300):
        link.send("number", number, b"x" * 2_000)
        if number % 7 == 0:
            gevent.sleep(0)
    until(lambda: len(exporters.last.numbers()) == 300)
    assert exporters.last.numbers() == list(range(300))
    assert link.has_room


def test_no_room_while_the_exporter_does_not_read(link: Link, exporters: Exporters) -> None:
    """Messages wait without blocking, and are written when the exporter reads again."""
    exporters.stop_reading()
    link.send("number", 0)
    until(lambda: link.has_room)
    for number in range(1, 40):
        link.send("number", number, b"x" * 10_000)
    assert not link.has_room
    some_turns()
    assert not link.has_room
    exporters.last.connection.reads.set()
    until(lambda: len(exporters.last.numbers()) == 40)
    assert exporters.last.numbers() == list(range(40))
    until(lambda: link.has_room)


def test_reports_of_workers_are_dropped_above_a_limit(
    link: Link, exporters: Exporters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later reports have the same totals; no other message is dropped."""
    monkeypatch.setattr(link_module, "MAX_WAITING_BYTES", 100_000)
    exporters.stop_reading()
    for number in range(10):
        link.send(frames.WORKER, number, b"x" * 30_000)
    link.send("number", 7)
    exporters.last.connection.reads.set()
    until(lambda: exporters.last.numbers() == [7])
    assert [message[1] for message in exporters.last.heard if message[0] == frames.WORKER] == [0, 1, 2, 3]


def test_messages_of_the_checkpoint_are_dropped(link: Link, exporters: Exporters) -> None:
    """Messages are kept until the exporter confirms that its checkpoint contains them."""
    for number in range(5):
        link.send("number", number)
    until(lambda: len(exporters.last.numbers()) == 5)
    exporters.last.say(frames.KEPT, 3)
    until(lambda: len(link._log) == 2)
    assert link._log_bytes == sum(map(len, link._log))
    exporters.last.say(frames.KEPT, 3)
    exporters.last.say(frames.KEPT, 5)
    until(lambda: not link._log)
    assert link._log_bytes == 0


def test_questions(link: Link, exporters: Exporters) -> None:
    """Each gets its own answer; a late answer, or one without a question, is ignored."""
    asked = [gevent.spawn(link.ask, f"question {number}", number) for number in range(3)]
    until(lambda: len(exporters.last.heard) == 4)
    exporters.last.say(frames.ANSWER, 99, "without a question")
    for name, number, question, argument in reversed(exporters.last.heard[1:]):
        assert (name, question) == (frames.ASK, f"question {argument}")
        exporters.last.say(frames.ANSWER, number, argument * 10)
    assert [greenlet.get(timeout=5) for greenlet in asked] == [0, 10, 20]
    with pytest.raises(TimeoutError, match=r"did not answer within 0 s"):
        link.ask("verdict", timeout_s=0)
    exporters.last.say(frames.ANSWER, 4, "late")
    again = gevent.spawn(link.ask, "again")
    until(lambda: len(exporters.last.heard) == 6)
    exporters.last.say(frames.ANSWER, 5, None)
    assert again.get(timeout=5) is None


def test_messages_of_the_exporter(link: Link, exporters: Exporters) -> None:
    """Each has its command; an unknown or invalid one does not end the reading."""
    aborted: list[str] = []
    link.commands[frames.ABORT] = aborted.append
    for message in ((frames.ABORT, 1, 2, 3), ("news",), (frames.KEPT,), (frames.ABORT, "run-1")):
        exporters.last.say(*message)
    until(lambda: aborted)
    assert aborted == ["run-1"]
    assert exporters.log.messages == [
        "The message abort of the exporter was not understood", "The message kept of the exporter was not understood",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ death


def test_a_successor_gets_the_messages_after_the_checkpoint(link: Link, exporters: Exporters) -> None:
    """No message of the checkpoint is repeated, also if it was not confirmed; all later messages are sent."""
    for number in range(6):
        link.send("number", number)
    until(lambda: len(exporters.last.numbers()) == 6)
    exporters.last.say(frames.KEPT, 2)
    until(lambda: len(link._log) == 4)
    exporters.received = 4  # saved, and killed before that was confirmed
    exporters.last.die()
    link.send("number", 6)
    until(lambda: len(exporters.processes) == 2 and len(exporters.last.numbers()) == 3)
    link.send("number", 7)
    until(lambda: len(exporters.last.numbers()) == 4)
    assert exporters.last.numbers() == [4, 5, 6, 7]
    assert exporters.last.heard[0] == [frames.SETTINGS, {"name": "host-0", "restarts": 1, "said": 7}]
    assert link.restarts == 1
    assert exporters.log.messages == ["The exporter ended with signal 9 and was replaced; no total is lost."]
    exporters.last.say(frames.KEPT, 8)
    until(lambda: not link._log)


def test_no_message_before_a_successor_is_ready(link: Link, exporters: Exporters) -> None:
    """A message during its start waits; sent at once, it would arrive first, and then a second time."""
    link.send("number", 0)
    until(lambda: exporters.last.numbers() == [0])
    exporters.first_words = lambda _: None
    exporters.last.die()
    until(lambda: len(exporters.processes) == 2 and exporters.last.heard)
    for number in (1, 2):
        link.send("number", number)
        some_turns()
    assert exporters.last.numbers() == []
    exporters.be_ready(exporters.last)
    until(lambda: len(exporters.last.numbers()) >= 3)
    some_turns()
    assert exporters.last.numbers() == [0, 1, 2]


def test_an_exporter_that_dies_while_it_does_not_read(link: Link, exporters: Exporters) -> None:
    """The successor gets the messages from the first one that the checkpoint does not contain."""
    exporters.stop_reading()
    for number in range(40):
        link.send("number", number, b"x" * 10_000)
    some_turns()
    assert not link.has_room
    exporters.last.die()
    until(lambda: len(exporters.processes) == 2 and len(exporters.last.numbers()) == 40)
    assert exporters.last.numbers() == list(range(40))


def test_an_invalid_message_is_a_death(link: Link, exporters: Exporters) -> None:
    """The exporter is killed and replaced."""
    exporters.last.connection.sendall(b"\xff" * 10)
    until(lambda: link.restarts == 1 and link.is_usable)
    assert exporters.processes[0].is_dead
    assert "The exporter sent a message without a name and is replaced." in exporters.log.text


def test_three_deaths_within_a_minute(link: Link, exporters: Exporters) -> None:
    """The run continues without an exporter; one error is logged, and no message is kept any more."""
    for _ in range(MAX_DEATHS):
        until(lambda: not exporters.last.is_dead and len(exporters.processes) == link.restarts + 1)
        exporters.last.die()
        some_turns()
    until(lambda: not link.is_usable)
    link.send("number", 1)
    assert (link.is_usable, link.has_room, len(link._log)) == (False, True, 0)
    with pytest.raises(TimeoutError, match="there is no exporter"):
        link.ask("verdict")
    (error,) = [record.getMessage() for record in exporters.log.records if record.levelno == logging.ERROR]
    assert error == (
        "The exporter died 3 times within a minute, the last time with signal 9. The run continues without it: no "
        "numbers are exported, recorded or judged any more."
    )


def test_deaths_far_apart(link: Link, exporters: Exporters, clock: Clock) -> None:
    """Each time the exporter is replaced."""
    for number in range(2 * MAX_DEATHS):
        clock.now_s += 40
        exporters.last.die()
        until(lambda number=number: len(exporters.processes) == number + 2 and link.restarts == number + 1)  # type: ignore[misc]
    assert link.is_usable


def test_a_successor_that_does_not_start(link: Link, exporters: Exporters, clock: Clock) -> None:
    """The link tries again after 0.2 s."""
    exporters.refusals = 1
    exporters.last.die()
    until(lambda: len(exporters.processes) == 2)
    assert link.restarts == 2
    assert clock.now_s == pytest.approx(1_000.2)
    link.send("number", 1)
    until(lambda: exporters.last.numbers() == [1])
    assert link.is_usable


# -------------------------------------------------------------------------------------------------------------- end


def test_an_end(link: Link, exporters: Exporters, clock: Clock) -> None:
    """The link waits for the exporter while it sends messages, and sends none after the end."""
    process = exporters.last

    def slowly(process: Process) -> None:
        for number in range(20):
            clock.sleep(1)
            process.say(frames.KEPT, number)
        process.end()

    exporters.last_words = slowly
    link.send("number", 1)
    link.close(exporters.not_interrupted)
    assert clock.now_s > 1_020
    assert [message[0] for message in process.heard] == [frames.SETTINGS, "number", frames.STOP]
    assert not link.is_usable
    link.send("number", 2)
    assert process.numbers() == [1]


def test_a_signal_at_the_end(link: Link, exporters: Exporters) -> None:
    """A further signal is sent once, and the link still waits for the end."""
    exporters.last_words = lambda _: None
    link.close(lambda _: True)
    assert [message[0] for message in exporters.last.heard[1:]] == [frames.STOP, frames.HURRY]


@pytest.mark.parametrize(("silent_s", "waited_s"), [(0, 5), (6, 1)], ids=["now silent", "silent before"])
def test_an_exporter_that_sends_nothing_at_the_end(
    link: Link, exporters: Exporters, clock: Clock, silent_s: float, waited_s: float
) -> None:
    """It is killed after 5 s, or after 1 s if it was silent before."""
    exporters.last_words = lambda _: None
    clock.now_s += silent_s
    started_s = clock.now_s
    link.close(exporters.not_interrupted)
    assert clock.now_s - started_s == pytest.approx(waited_s, abs=0.1)
    assert exporters.last.is_dead
    (record,) = exporters.log.records
    assert record.getMessage() == "The exporter did not answer for 5 s and was killed; its last values are missing."


def test_a_question_to_a_silent_exporter(
    link: Link, exporters: Exporters, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has less time for an answer, unless it has answered while users blocked the loop."""
    monkeypatch.setattr(link_module, "_LAST_ANSWER_S", 0)
    clock.now_s += 6
    exporters.last.say(frames.KEPT, 0)
    asked = gevent.spawn(link.ask, "verdict", timeout_s=60)
    some_turns()
    exporters.last.say(frames.ANSWER, 1, 3)
    assert asked.get(timeout=5) == 3
    clock.now_s += 6
    with pytest.raises(TimeoutError, match=r"within 0 s"):
        link.ask("verdict", timeout_s=60)


def test_an_exporter_that_dies_at_the_end(link: Link, exporters: Exporters) -> None:
    """It is not replaced, and the log says that values may be missing."""
    exporters.last_words = Process.die
    link.close(exporters.not_interrupted)
    assert len(exporters.processes) == 1
    assert "The exporter ended with signal 9 before it was done; its last values may be missing." in exporters.log.text


def test_a_forked_child(link: Link, exporters: Exporters, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that a task has forked closes its copies, and sends nothing: the exporter belongs to the parent."""
    replaced: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup2", lambda _, fd, **__: replaced.append(fd))
        link._leave()
    link.send("number", 1)
    with pytest.raises(TimeoutError):
        link.ask("verdict")
    assert replaced == [FIRST_FD, *link._checkpoints]
    link.close(exporters.not_interrupted)
    assert exporters.last.numbers() == []
    assert not exporters.last.is_dead


def test_no_exporter() -> None:
    """A worker whose master has the only exporter sends no message and gets no answer."""
    link = Link()
    link.send("number", 1)
    link.close(lambda _: False)
    assert (link.ready, link.has_room, link.is_usable, link.restarts) == ({}, True, False, 0)
    with pytest.raises(TimeoutError):
        link.ask("verdict")
