"""Tests of the conductor: whatever ends a game day, what it has broken is mended. No server, no load: fakes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locust_otel.gameday import conductor as module
from locust_otel.gameday.conductor import Conductor, GameDayFailed, Unanswered
from locust_otel.gameday.injection import Journal
from locust_otel.gameday.mark_client import MarkSender
from locust_otel.gameday.observer import Seen
from tests.unit.gameday.days import day, fault, step


class FakeObserver:
    """Sees nothing, and says that the game day must stop where it is told to."""

    seen = Seen()

    def __init__(self) -> None:
        self.why = ""
        self.stopped = 0
        self.silences = [(1.0, 2.0)]

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Note that it is over."""
        self.stopped += 1

    def must_stop(self) -> str:
        """Return why it must stop."""
        return self.why


class FakeView:
    """Notes what is said, and does something when a text comes."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.on: dict[str, Callable[[], None]] = {}

    def say(self, text: str) -> None:
        """Take a line."""
        self.said.append(text)
        self.on.get(text, lambda: None)()

    def show(self, now_s: float, seen: Seen) -> None:  # noqa: ARG002  # the view's signature
        """Do what is to be done while a fault is active."""
        self.on.get("show", lambda: None)()


class FakeServer:
    """Knows the run, which has begun just now, and no address of it."""

    url = "http://prometheus"
    knows = True

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Answer a query."""
        return [({}, time.time())] if self.knows and "start_time" in promql else []


@pytest.fixture
def conductor(tmp_path: Path) -> Any:
    """A game day with one fault of 0.4 s, made at once."""
    planned = day(step("0", fault("echo made >> log", "echo mended >> log", "400ms")), source=tmp_path / "day.yaml")
    parts: Any = {"server": FakeServer(), "observer": FakeObserver(), "view": FakeView()}
    return Conductor(day=planned, journal=Journal(planned.source), run_id="r", folder=tmp_path, **parts)


def log(conductor: Conductor) -> list[str]:
    """Return what the commands of the fault have written."""
    path = conductor.folder / "log"
    return path.read_text().split() if path.exists() else []


def over(conductor: Any) -> None:
    """Assert that nothing is left: fault, journal, observer, signal handlers."""
    assert log(conductor) == ["made", "mended"]
    assert not conductor.journal.path.exists()
    assert conductor.observer.stopped == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_as_planned(conductor: Any) -> None:
    """The fault is made and mended at its times, and what cannot be marked is said once."""
    played = conductor.play()
    (done,) = played.done
    assert (played.aborted, played.left, done.failed) == ("", (), "")
    assert done.begun_at is not None
    assert done.ended_at is not None
    assert 0.3 < done.ended_at - done.begun_at < 3
    assert len([text for text in conductor.view.said if "no marks" in text]) == 1
    over(conductor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal(conductor: Any, number: signal.Signals) -> None:
    """A signal in the middle of a fault ends the game day, and the fault; a second one does not hurt."""
    conductor.view.on["show"] = lambda: os.kill(os.getpid(), number)
    assert conductor.play().aborted == number.name
    over(conductor)


@pytest.mark.parametrize(("why", "stop_after_s"), [("too many failures", None), ("--stop-after 1 s", 1.0)])
def test_a_condition_ends_it(conductor: Any, why: str, stop_after_s: float | None) -> None:
    """The stop condition, or the limit of --stop-after, ends a game day during a fault."""
    long = fault("echo made >> log", "echo mended >> log", "60s")
    object.__setattr__(conductor.day, "steps", (step("0", long),))
    conductor.observer.why, conductor.stop_after_s = "" if stop_after_s else why, stop_after_s
    assert conductor.play().aborted == why
    over(conductor)


def hang(*_: object) -> Any:
    """Give no answer for a minute."""
    threading.Event().wait(60)


def test_a_command_that_hangs_does_not_outlive_the_limit(conductor: Any) -> None:
    """The fault's own timeout is longer: --stop-after ends its command, and the fault is undone."""
    slow = fault("echo made >> log; sleep 60", "echo mended >> log", "60s", "60s")
    object.__setattr__(conductor.day, "steps", (step("0", slow), step("0", fault("echo next >> log", name="next"))))
    conductor.stop_after_s = 1.0
    began = time.monotonic()
    played = conductor.play()
    assert time.monotonic() - began < 5
    (done,) = played.done
    assert done.failed == "its command did not do it: the game day ended before"
    assert played.aborted == "--stop-after 1 s"
    over(conductor)


def test_a_query_that_hangs_does_not_outlive_the_limit(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no run has been seen, the limit counts from the start of the game day; the message names the server."""
    monkeypatch.setattr(conductor.server, "query", hang)
    conductor.stop_after_s = 0.5
    began = time.monotonic()
    with pytest.raises(GameDayFailed, match=r"before the first fault: --stop-after 0.5 s\. .* http://prometheus .*"):
        conductor.play()
    assert 0.4 < time.monotonic() - began < 5
    assert log(conductor) == []


def test_a_mark_that_hangs_does_not_outlive_the_limit(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that gives no answer to a mark delays neither the undo nor the end."""
    object.__setattr__(conductor.day, "steps", (step("0", fault("true", "echo mended >> log", "60s")),))
    conductor.metrics_url = "http://127.0.0.1:1/metrics"
    monkeypatch.setattr(MarkSender, "mark", hang)
    conductor.stop_after_s = 0.5
    began = time.monotonic()
    assert conductor.play().aborted == "--stop-after 0.5 s"
    assert time.monotonic() - began < 8
    assert log(conductor)[-1] == "mended"


def test_the_limit_ends_the_settling(conductor: Any) -> None:
    """An alert that goes on at the end is not watched beyond --stop-after."""
    conductor.observer.seen = Seen((("LocustSLOBudgetBurn", "critical", "availability", "firing"),))
    conductor.stop_after_s = 1.0
    began = time.monotonic()
    assert conductor.play().aborted == ""
    assert time.monotonic() - began < 4


def test_an_answer(conductor: Any) -> None:
    """An answer and an error come as they are; none is waited for once the game day is over."""

    def fail() -> None:
        raise ZeroDivisionError

    assert conductor.answer(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        conductor.answer(fail)
    conductor.stop_after_s = 0.0
    assert conductor.answer(lambda: 5) == 5
    with pytest.raises(Unanswered, match="http://prometheus"):
        conductor.answer(hang, 0.2)


def test_silences_are_handed_on(conductor: Any) -> None:
    """When Alertmanager did not answer is part of what was played."""
    assert conductor.play().silences == ((1.0, 2.0),)


def test_a_crash_of_ours(conductor: Any) -> None:
    """An error nobody expected leaves the shop whole, and is raised."""

    def crash() -> None:
        raise ZeroDivisionError

    conductor.view.on["show"] = crash
    with pytest.raises(ZeroDivisionError):
        conductor.play()
    over(conductor)


def test_an_undo_that_fails_is_left(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be mended is told of, and stays in the journal."""
    monkeypatch.setattr("locust_otel.gameday.injection._BETWEEN_TRIES_S", 0.0)
    object.__setattr__(conductor.day, "steps", (step("0", fault("true", "exit 1", "100ms")),))
    assert conductor.play().left == ("db",)
    assert conductor.journal.path.exists()


def test_a_fault_that_fails_is_mended_at_once(conductor: Any) -> None:
    """Its step is over: nobody waits for alerts of what has not happened."""
    broken = fault("echo made >> log; exit 3", "echo mended >> log", "60s")
    object.__setattr__(conductor.day, "steps", (step("0", broken),))
    conductor.stop_after_s = 1.0
    (done,) = conductor.play().done
    assert done.failed == "its command did not do it: exit code 3"
    over(conductor)


def test_a_run_that_is_not_seen(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run in Prometheus nothing is broken."""
    conductor.server.knows = False
    monkeypatch.setattr(module, "STARTUP_S", 0.2)
    with pytest.raises(GameDayFailed, match="does not see run r"):
        conductor.play()
    assert log(conductor) == []
    assert not conductor.journal.path.exists()


def test_it_needs_no_locust() -> None:
    """Neither Locust nor gevent is loaded by what plays a game day."""
    import subprocess
    import sys

    code = "import sys, locust_otel.gameday.playing, locust_otel.gameday.chaostoolkit\n" + (
        "sys.exit([n for n in ('locust', 'gevent', 'chaoslib') if n in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert module.TICK_S <= 0.5
