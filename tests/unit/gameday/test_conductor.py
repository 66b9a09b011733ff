"""Tests of the conductor: whatever ends a game day, what it has broken is mended. No server, no load: fakes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from locust_otel.gameday import conductor as module
from locust_otel.gameday.conductor import Conductor, GameDayFailed, Stage
from locust_otel.gameday.journal import Journal
from locust_otel.gameday.observer import Seen
from locust_otel.gameday.plan import Fault, GameDay, Step


class FakeObserver:
    """Sees nothing, and says that the game day must stop where it is told to."""

    seen = Seen()

    def __init__(self) -> None:
        self.why = ""
        self.stopped = 0

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
def stage(tmp_path: Path) -> Any:
    """A stage with one fault of 0.4 s, made at once."""
    fault = Fault("db", "echo made >> log", "echo mended >> log", Decimal("0.4"), Decimal(5))
    day = GameDay("test", tmp_path / "day.yaml", (Step(Decimal(0), fault),))
    parts: Any = {"server": FakeServer(), "observer": FakeObserver(), "view": FakeView()}
    return Stage(day=day, journal=Journal(day.source), run_id="r", folder=tmp_path, **parts)


def log(stage: Stage) -> list[str]:
    """Return what the commands of the fault have written."""
    path = stage.folder / "log"
    return path.read_text().split() if path.exists() else []


def over(stage: Any) -> None:
    """Assert that nothing is left: fault, journal, observer, signal handlers."""
    assert log(stage) == ["made", "mended"]
    assert not stage.journal.path.exists()
    assert stage.observer.stopped == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_as_planned(stage: Any) -> None:
    """The fault is made and mended at its times, and what cannot be marked is said once."""
    played = Conductor(stage).play()
    (done,) = played.done
    assert (played.aborted, played.left, done.failed) == ("", (), "")
    assert done.begun_at is not None
    assert done.ended_at is not None
    assert 0.3 < done.ended_at - done.begun_at < 3
    assert len([text for text in stage.view.said if "no marks" in text]) == 1
    over(stage)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal(stage: Any, number: signal.Signals) -> None:
    """A signal in the middle of a fault ends the game day, and the fault; a second one does not hurt."""
    stage.view.on["show"] = lambda: os.kill(os.getpid(), number)
    assert Conductor(stage).play().aborted == number.name
    over(stage)


def test_the_stop_condition(stage: Any) -> None:
    """What must stop stops."""
    stage.observer.why = "too many failures"
    assert Conductor(stage).play().aborted == "too many failures"
    over(stage)


def test_stop_after(stage: Any) -> None:
    """A game day with a limit ends there."""
    stage.stop_after_s = 0.1
    assert Conductor(stage).play().aborted == "--stop-after 0.1 s"
    over(stage)


def test_a_crash_of_ours(stage: Any) -> None:
    """An error nobody expected leaves the shop whole, and is raised."""

    def crash() -> None:
        raise ZeroDivisionError

    stage.view.on["show"] = crash
    with pytest.raises(ZeroDivisionError):
        Conductor(stage).play()
    over(stage)


def test_an_undo_that_fails_is_left(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be mended is told of, and stays in the journal."""
    monkeypatch.setattr("locust_otel.gameday.injection._BETWEEN_TRIES_S", 0.0)
    fault = Fault("db", "true", "exit 1", Decimal("0.1"), Decimal(5))
    object.__setattr__(stage.day, "steps", (Step(Decimal(0), fault),))
    assert Conductor(stage).play().left == ("db",)
    assert stage.journal.path.exists()


def test_a_fault_that_fails_is_mended_at_once(stage: Any) -> None:
    """Its step is over: nobody waits for alerts of what has not happened."""
    fault = Fault("db", "echo made >> log; exit 3", "echo mended >> log", Decimal(60), Decimal(5))
    object.__setattr__(stage.day, "steps", (Step(Decimal(0), fault),))
    stage.stop_after_s = 1.0
    (done,) = Conductor(stage).play().done
    assert done.failed == "its command did not do it: exit code 3"
    over(stage)


def test_a_run_that_is_not_seen(stage: Any) -> None:
    """Without the run in Prometheus nothing is broken."""
    stage.server.knows = False
    stage.startup_s = 0.2
    with pytest.raises(GameDayFailed, match="does not see run r"):
        Conductor(stage).play()
    assert log(stage) == []
    assert not stage.journal.path.exists()


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
