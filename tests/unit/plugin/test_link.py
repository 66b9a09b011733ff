"""Tests of the link to the exporter, which is a greenlet here: nothing is lost, repeated or out of order."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from locust_otel.core.errors import ConfigurationError
from locust_otel.plugin import link as link_module
from locust_otel.plugin.link import MAX_DEATHS, Link
from locust_otel.wire import frames

FIRST_PID = 2**30  # of no process


class Process:
    """An exporter.

    Attributes:
        heard: The messages it was sent.
        is_dead: Whether it has ended.
    """

    def __init__(self, exporters: Exporters, fd: int, pid: int) -> None:
        self.heard: list[list[Any]] = []
        self.is_dead = False
        self.pid = pid
        self._socket = socket.socket(fileno=os.dup(fd))
        self._exporters = exporters
        self._greenlet = gevent.spawn(self._run, exporters.first_words)

    def say(self, *message: Any) -> None:
        """Send a message."""
        self._socket.sendall(frames.packed(*message))

    def say_bytes(self, data: bytes) -> None:
        """Send some bytes."""
        self._socket.sendall(data)

    def end(self) -> None:
        """Say that all is said, and end."""
        self.say(frames.DONE)
        self.is_dead = True

    def die(self) -> None:
        """End at once."""
        self.is_dead = True
        self._greenlet.kill(block=False)
        self._socket.close()

    def _run(self, first_words: Callable[[Process], None]) -> None:
        messages = frames.Frames()
        while data := self._socket.recv(65536):
            for message in messages.feed(data):
                self.heard.append(message)
                if message[0] == frames.SETTINGS:
                    first_words(self)
                elif message[0] == frames.STOP:
                    self._exporters.last_words(self)
                elif message[0] == frames.HURRY:
                    self.end()
            self._exporters.may_read.wait()


class Exporters:
    """All exporters that a link starts.

    Attributes:
        first_words: What each says to its settings.
        last_words: What each says when it is to end.
        received: Messages that a successor has from the checkpoint.
        may_read: Whether they read.
    """

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.received = 0
        self.is_able = True
        self.may_read = gevent.event.Event()
        self.may_read.set()
        self.first_words: Callable[[Process], None] = self.be_ready
        self.last_words: Callable[[Process], None] = Process.end

    def be_ready(self, process: Process) -> None:
        """Say that it is ready."""
        process.say(frames.READY, {"received": self.received, "url": "http://x"})

    def spawned(self, theirs: int, checkpoints: list[int]) -> int:
        """Start one."""
        if not self.is_able:
            raise OSError(11, "Resource temporarily unavailable")
        assert len(checkpoints) == 4
        self.processes.append(Process(self, theirs, FIRST_PID + len(self.processes)))
        return self.processes[-1].pid

    @property
    def last(self) -> Process:
        """The last one that was started."""
        return self.processes[-1]

    def kill(self, pid: int, _: int) -> None:
        """Kill one."""
        process = self.processes[pid - FIRST_PID]
        if process.is_dead:
            raise ProcessLookupError
        process.die()

    def waitpid(self, pid: int, _: int) -> tuple[int, int]:
        """Return how one has ended, by signal 9; nothing of one that has not."""
        return (pid, 9) if self.processes[pid - FIRST_PID].is_dead else (0, 0)


@pytest.fixture
def exporters(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Exporters]:
    """Have exporters be greenlets."""
    caplog.set_level(logging.INFO)
    made = Exporters()
    monkeypatch.setattr(link_module, "_spawned", made.spawned)
    monkeypatch.setattr(os, "kill", made.kill)
    monkeypatch.setattr(os, "waitpid", made.waitpid)
    yield made
    for process in made.processes:
        process.die()


@pytest.fixture
def link(exporters: Exporters) -> Iterator[Link]:
    """Start a link."""
    made = Link()
    made.start({"name": "host-0"})
    yield made
    exporters.may_read.set()
    made.close(interrupted)


def interrupted(timeout_s: float) -> bool:
    """Wait, and say that no signal has come."""
    gevent.sleep(timeout_s)
    return False


def until(condition: Callable[[], object]) -> None:
    """Let others run until something is so."""
    with gevent.Timeout(5):
        while not condition():
            gevent.sleep(0.001)


def numbers(process: Process) -> list[int]:
    """Return the numbers of the messages that an exporter was sent."""
    return [message[1] for message in process.heard if message[0] == "number"]


# ------------------------------------------------------------------------------------------------------------ start


def test_a_start(link: Link, exporters: Exporters) -> None:
    """The settings come first; what the exporter says of itself is known when the start is over."""
    assert exporters.last.heard[0] == [frames.SETTINGS, {"name": "host-0", "restarts": 0, "said": 0}]
    assert link.ready == {"received": 0, "url": "http://x"}
    assert (link.restarts, link.is_usable, link.has_room) == (0, True, True)


def test_settings_that_are_refused(exporters: Exporters, caplog: pytest.LogCaptureFixture) -> None:
    """Each problem arrives as it was told, and what the exporter has logged is logged."""

    def refuse(process: Process) -> None:
        process.say(frames.LOG, "locust_otel.exporter", logging.WARNING, "100 %s")
        process.say(frames.REFUSED, [["--a", "is none.", "Give one.", "a"], ["b.yaml:3", "is odd.", "Mend it.", "b"]])

    exporters.first_words = refuse
    with pytest.raises(ConfigurationError) as caught:
        Link().start({})
    assert [(p.where, p.found, p.remedy, p.slug) for p in caught.value.problems] == [
        ("--a", "is none.", "Give one.", "a"), ("b.yaml:3", "is odd.", "Mend it.", "b"),
    ]  # fmt: skip
    assert ("locust_otel.exporter", logging.WARNING, "100 %s") in caplog.record_tuples


@pytest.mark.parametrize(
    ("start_s", "first_words", "why"),
    [(30.0, Process.die, "it ended with signal 9"), (0.1, lambda _: None, "it was not ready within 0.1 s")],
    ids=["dies", "says nothing"],
)
def test_no_start(
    exporters: Exporters,
    monkeypatch: pytest.MonkeyPatch,
    start_s: float,
    first_words: Callable[[Process], None],
    why: str,
) -> None:
    """Where it does not come up, the load test is refused, with the reason."""
    monkeypatch.setattr(link_module, "START_S", start_s)
    exporters.first_words = first_words
    with pytest.raises(ConfigurationError, match=why) as caught:
        Link().start({})
    assert caught.value.slug == "exporter-start"
    assert exporters.last.is_dead


def test_no_process(exporters: Exporters) -> None:
    """Likewise where the system has no process for it."""
    exporters.is_able = False
    with pytest.raises(ConfigurationError, match="Resource temporarily unavailable"):
        Link().start({})


# --------------------------------------------------------------------------------------------------------- messages


def test_messages_arrive_in_order(link: Link, exporters: Exporters) -> None:
    """All of them, also while earlier ones are being written."""
    for number in range(300):
        link.send("number", number, b"x" * 2_000)
        if number % 7 == 0:
            gevent.sleep(0)
    until(lambda: len(numbers(exporters.last)) == 300)
    assert numbers(exporters.last) == list(range(300))
    assert link.has_room


def test_no_room_while_the_exporter_does_not_read(link: Link, exporters: Exporters) -> None:
    """Nothing blocks; messages wait, and go when it reads again."""
    exporters.may_read.clear()
    link.send("number", 0)
    until(lambda: link.has_room)
    for number in range(1, 40):
        link.send("number", number, b"x" * 100_000)
    assert not link.has_room
    gevent.sleep(0.01)
    assert not link.has_room
    exporters.may_read.set()
    until(lambda: len(numbers(exporters.last)) == 40)
    assert numbers(exporters.last) == list(range(40))
    until(lambda: link.has_room)


def test_reports_of_workers_are_dropped_where_too_much_waits(
    link: Link, exporters: Exporters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their next ones make up for it; nothing else is dropped."""
    monkeypatch.setattr(link_module, "MAX_WAITING_BYTES", 100_000)
    exporters.may_read.clear()
    for number in range(10):
        link.send(frames.WORKER, number, b"x" * 30_000)
    link.send("number", 7)
    exporters.may_read.set()
    until(lambda: numbers(exporters.last) == [7])
    assert [message[1] for message in exporters.last.heard if message[0] == frames.WORKER] == [0, 1, 2, 3]


def test_what_a_checkpoint_has_is_forgotten(link: Link, exporters: Exporters) -> None:
    """Messages are kept until the exporter says how many it has saved, and no longer."""
    for number in range(5):
        link.send("number", number)
    until(lambda: len(numbers(exporters.last)) == 5)
    exporters.last.say(frames.KEPT, 3)
    until(lambda: len(link._log) == 2)
    assert link._log_bytes == sum(map(len, link._log))
    exporters.last.say(frames.KEPT, 3)
    exporters.last.say(frames.KEPT, 5)
    until(lambda: not link._log)
    assert link._log_bytes == 0


def test_questions(link: Link, exporters: Exporters) -> None:
    """Each gets its own answer; one that comes too late, or to no question, does nothing."""
    asked = [gevent.spawn(link.ask, f"question {number}", number) for number in range(3)]
    until(lambda: len(exporters.last.heard) == 4)
    exporters.last.say(frames.ANSWER, 99, "to nobody")
    for name, number, question, argument in reversed(exporters.last.heard[1:]):
        assert (name, question) == (frames.ASK, f"question {argument}")
        exporters.last.say(frames.ANSWER, number, argument * 10)
    assert [greenlet.get(timeout=5) for greenlet in asked] == [0, 10, 20]
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.01 s"):
        link.ask("verdict", timeout_s=0.01)
    exporters.last.say(frames.ANSWER, 4, "late")
    late = gevent.spawn(link.ask, "again")
    until(lambda: len(exporters.last.heard) == 6)
    exporters.last.say(frames.ANSWER, 5, None)
    assert late.get(timeout=5) is None


def test_messages_of_the_exporter(link: Link, exporters: Exporters, caplog: pytest.LogCaptureFixture) -> None:
    """Each has its command; one that is unknown or makes no sense does not end the reading."""
    aborted: list[str] = []
    link.commands[frames.ABORT] = aborted.append
    for message in ((frames.ABORT, 1, 2, 3), ("news",), (frames.KEPT,), (frames.ABORT, "run-1")):
        exporters.last.say(*message)
    until(lambda: aborted)
    assert aborted == ["run-1"]
    assert [record.getMessage() for record in caplog.records] == [
        "A message of the exporter, abort, was not understood", "A message of the exporter, kept, was not understood",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ death


def test_a_successor_gets_what_no_checkpoint_has(
    link: Link, exporters: Exporters, caplog: pytest.LogCaptureFixture
) -> None:
    """What the checkpoint holds is not told again, whether that was said in time or not; all later messages are."""
    for number in range(6):
        link.send("number", number)
    until(lambda: len(numbers(exporters.last)) == 6)
    exporters.last.say(frames.KEPT, 2)
    until(lambda: len(link._log) == 4)
    exporters.received = 4  # saved, and killed before that was said
    exporters.last.die()
    link.send("number", 6)
    until(lambda: len(exporters.processes) == 2 and len(numbers(exporters.last)) == 3)
    link.send("number", 7)
    until(lambda: len(numbers(exporters.last)) == 4)
    assert numbers(exporters.last) == [4, 5, 6, 7]
    assert exporters.last.heard[0] == [frames.SETTINGS, {"name": "host-0", "restarts": 1, "said": 7}]
    assert link.restarts == 1
    assert [record.getMessage() for record in caplog.records] == [
        "The exporter ended with signal 9 and was replaced; every total is there again."
    ]
    exporters.last.say(frames.KEPT, 8)
    until(lambda: not link._log)


def test_nothing_is_said_before_a_successor_is_ready(link: Link, exporters: Exporters) -> None:
    """What is to be said while it starts waits for its turn: said at once, it would come first, and then again."""
    link.send("number", 0)
    until(lambda: numbers(exporters.last) == [0])
    exporters.first_words = lambda _: None
    exporters.last.die()
    until(lambda: len(exporters.processes) == 2 and exporters.last.heard)
    for number in (1, 2):
        link.send("number", number)
        gevent.sleep(0.01)
    assert numbers(exporters.last) == []
    exporters.be_ready(exporters.last)
    until(lambda: len(numbers(exporters.last)) >= 3)
    gevent.sleep(0.01)
    assert numbers(exporters.last) == [0, 1, 2]


def test_an_exporter_that_dies_while_it_does_not_read(link: Link, exporters: Exporters) -> None:
    """What was half written goes to the successor, from the first message that no checkpoint has."""
    exporters.may_read.clear()
    for number in range(40):
        link.send("number", number, b"x" * 100_000)
    gevent.sleep(0.01)
    assert not link.has_room
    exporters.may_read.set()
    exporters.last.die()
    until(lambda: len(exporters.processes) == 2 and len(numbers(exporters.last)) == 40)
    assert numbers(exporters.last) == list(range(40))


def test_rubbish_is_a_death(link: Link, exporters: Exporters, caplog: pytest.LogCaptureFixture) -> None:
    """An exporter that sends what is no message is ended and replaced."""
    exporters.last.say_bytes(b"\xff" * 10)
    until(lambda: link.restarts == 1 and link.is_usable)
    assert exporters.processes[0].is_dead
    assert "The exporter sent a message without a name and is replaced." in caplog.text


def test_three_deaths_within_a_minute(link: Link, exporters: Exporters, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on without an exporter; that is logged once, and costs nothing any more."""
    for number in range(MAX_DEATHS):
        until(lambda number=number: len(exporters.processes) == number + 1 and link.restarts == number)  # type: ignore[misc]
        exporters.last.die()
    until(lambda: not link.is_usable)
    link.send("number", 1)
    assert (link.is_usable, link.has_room, len(link._log)) == (False, True, 0)
    with pytest.raises(TimeoutError):
        link.ask("verdict")
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert error == (
        "The exporter died 3 times within a minute, at last with signal 9. The run goes on without it: nothing more is "
        "exported, recorded or judged."
    )


def test_deaths_far_apart(link: Link, exporters: Exporters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is replaced, however many there are."""
    now = iter(range(0, 10**9, 40))
    monkeypatch.setattr(link_module, "monotonic", lambda: next(now))
    for number in range(2 * MAX_DEATHS):
        until(lambda number=number: len(exporters.processes) == number + 1 and link.restarts == number)  # type: ignore[misc]
        exporters.last.die()
    until(lambda: link.restarts == 2 * MAX_DEATHS)
    assert link.is_usable


def test_a_successor_that_cannot_be_started(link: Link, exporters: Exporters, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again a little later; each time counts as a death."""
    exporters.is_able = False
    exporters.last.die()
    until(lambda: link.restarts == 1)
    exporters.is_able = True
    until(lambda: len(exporters.processes) == 2)
    link.send("number", 1)
    until(lambda: numbers(exporters.last) == [1])
    assert link.is_usable


# -------------------------------------------------------------------------------------------------------------- end


def test_an_end(exporters: Exporters, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is told, and waited for as long as it says something."""
    monkeypatch.setattr(link_module, "SILENCE_S", 0.5)
    link = Link()
    link.start({})
    process = exporters.last

    def slowly(process: Process) -> None:
        for number in range(7):
            gevent.sleep(0.1)
            process.say(frames.KEPT, number)
        process.end()

    exporters.last_words = slowly
    link.send("number", 1)
    link.close(interrupted)
    assert [message[0] for message in process.heard] == [frames.SETTINGS, "number", frames.STOP]
    assert not link.is_usable
    link.send("number", 2)
    assert numbers(process) == [1]


def test_a_signal_at_the_end(exporters: Exporters) -> None:
    """A further signal is told, once, and the exporter waited for all the same."""
    link = Link()
    link.start({})
    process = exporters.last
    exporters.last_words = lambda _: None

    link.close(lambda _: True)
    assert [message[0] for message in process.heard[1:]] == [frames.STOP, frames.HURRY]


def test_an_exporter_that_says_nothing_at_the_end(
    exporters: Exporters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is ended, and what may be missing is said."""
    monkeypatch.setattr(link_module, "SILENCE_S", 0.3)
    link = Link()
    link.start({})
    exporters.last_words = lambda _: None
    link.close(interrupted)
    assert exporters.last.is_dead
    assert "The exporter did not answer for 0.3 s and was ended; its last values are missing." in caplog.text


def test_an_exporter_that_was_silent_before_the_end(
    exporters: Exporters, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is given less time for an answer and for its end than one that was well."""
    monkeypatch.setattr(link_module, "_LAST_ANSWER_S", 0.05)
    monkeypatch.setattr(link_module, "_LAST_S", 0.05)
    link = Link()
    link.start({})
    exporters.last_words = lambda _: None
    gevent.sleep(link_module.SILENCE_S + 0.05)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        link.ask("verdict", timeout_s=60)
    link.close(interrupted)
    assert exporters.last.is_dead
    assert "and was ended; its last values are missing." in caplog.text


def test_an_exporter_that_dies_at_the_end(exporters: Exporters, caplog: pytest.LogCaptureFixture) -> None:
    """It is not replaced, and what may be missing is said."""
    link = Link()
    link.start({})
    exporters.last_words = Process.die
    link.close(interrupted)
    assert len(exporters.processes) == 1
    assert "The exporter ended with signal 9 before all was said; its last values may be missing." in caplog.text


def test_a_child_lets_go(link: Link, exporters: Exporters) -> None:
    """In a process that a task has forked nothing is sent, asked or ended: the exporter is the parent's."""
    link._leave()
    link.send("number", 1)
    with pytest.raises(TimeoutError):
        link.ask("verdict")
    link.close(interrupted)
    assert numbers(exporters.last) == []
    assert not exporters.last.is_dead


def test_no_exporter() -> None:
    """A worker whose master has the only one tells and asks nothing."""
    link = Link()
    link.send("number", 1)
    link.close(interrupted)
    assert (link.ready, link.has_room, link.is_usable, link.restarts) == ({}, True, False, 0)
    with pytest.raises(TimeoutError):
        link.ask("verdict")
