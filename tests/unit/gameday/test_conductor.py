"""Tests of the conductor, with fakes and a clock of its own: however a game day ends, its faults are undone."""

# ruff: noqa: ARG002  # the fakes have the signatures of the real classes

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from locust_otel.gameday import conductor as module
from locust_otel.gameday.conductor import Conductor, GameDayFailed
from locust_otel.gameday.injection import Active, Journal
from locust_otel.gameday.mark_client import MarkSender
from locust_otel.gameday.observer import Observation
from locust_otel.gameday.schema import FaultShape
from tests.unit.gameday.days import day, fault, step

BEGIN = 1_000_000.0
FIRING = Observation((("LocustSLOBudgetBurn", "critical", "availability", "firing"),))


class Clock:
    """Stands in for the module `time`: sleeping takes no time."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        """Return the seconds since the start of the test."""
        return self.now_s

    def time(self) -> float:
        """Return the Unix time."""
        return BEGIN + self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


class FakeObserver:
    """An observer that sees nothing, and gives a reason to stop."""

    def __init__(self) -> None:
        self.latest = Observation()
        self.reason = ""
        self.stopped = 0
        self.silences = [(1.0, 2.0)]

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Count the end."""
        self.stopped += 1

    def must_stop(self) -> str:
        """Return the reason."""
        return self.reason


class FakeView:
    """Keeps its lines, and calls `act` each time it is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown = 0
        self.act: Callable[[], None] = lambda: None

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    def show(self, now_s: float, observation: Observation) -> None:
        """Act."""
        self.shown += 1
        self.act()


class FakeServer:
    """A Prometheus that knows the run, which begins now, and not its address."""

    url = "http://prometheus"
    knows_run = True

    def latest(self, selector: str, lookback: str) -> list[tuple[dict[str, str], float]]:
        """Return the start of the run."""
        return [({}, BEGIN)] if self.knows_run else []

    def query(self, promql: str) -> list[Any]:
        """Return nothing."""
        return []


class EndedLoad:
    """A load that ends after some polls, with a reason in its output."""

    process = None

    def __init__(self, polls: int) -> None:
        self._polls = polls

    @property
    def code(self) -> int | None:
        """Exit code, once it has ended."""
        self._polls -= 1
        return None if self._polls >= 0 else 1

    def last_lines(self) -> tuple[str, ...]:
        """Return its last output."""
        return ("Traceback (most recent call last):", "ImportError: no module shop")

    def metrics_url(self) -> str:
        """Return nothing: it served no metrics."""
        return ""

    def stop(self) -> None:
        """Do nothing."""


class FakeFaults:
    """Faults without commands; an injection ends as `failed` says, and with `is_stuck` an undo fails."""

    failed = ""
    is_stuck = False
    calls: list[str]

    def __init__(self, folder: Path, journal: Journal, *_: object) -> None:
        self._journal = journal
        FakeFaults.calls = []

    def inject(self, shape: FaultShape) -> str:
        """Add the fault to the journal."""
        self.calls.append(f"inject {shape.name}")
        self._journal.active[shape.name] = Active(name=shape.name, undo="", timeout_s=1, run_id="r")
        return self.failed

    def undo(self, name: str) -> bool:
        """Remove the fault from the journal, unless the undo fails."""
        self.calls.append(f"undo {name}")
        if not self.is_stuck:
            self._journal.active.pop(name, None)
        return not self.is_stuck

    def undo_all(self) -> list[str]:
        """Undo all faults."""
        return [name for name in list(self._journal.active) if not self.undo(name)]


@pytest.fixture
def clock() -> Clock:
    """Make the clock of the conductor."""
    return Clock()


@pytest.fixture
def conductor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Any:
    """Make the conductor of a game day with one fault of 10 s, from the start."""
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "TICK_S", 0.001)
    monkeypatch.setattr(module, "Faults", FakeFaults)
    monkeypatch.setattr(FakeFaults, "failed", "")
    monkeypatch.setattr(FakeFaults, "is_stuck", False)
    planned = day(step("0", fault()), source=tmp_path / "day.yaml")
    parts: Any = {"server": FakeServer(), "observer": FakeObserver(), "view": FakeView()}
    conductor = Conductor(day=planned, journal=Journal(planned.source), run_id="r", folder=tmp_path, **parts)
    conductor._began = 0.0  # the default is of the real clock
    return conductor


def check_over(conductor: Any) -> None:
    """Check that fault, journal, observer and signal handlers are as before."""
    assert FakeFaults.calls[:2] == ["inject db", "undo db"]
    assert conductor.journal.active == {}
    assert not conductor.journal.path.exists()
    assert conductor.observer.stopped == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_as_planned(conductor: Any) -> None:
    """The fault is injected and undone at its times, and the problem of the marks is reported once."""
    played = conductor.play()
    (injected,) = played.faults
    assert (played.aborted, played.left, injected.failed, played.silences) == ("", (), "", ((1.0, 2.0),))
    assert (injected.begun_at, injected.ended_at) == pytest.approx((BEGIN, BEGIN + 10), abs=0.01)
    assert conductor.view.lines[0] == "fault db"
    assert [line for line in conductor.view.lines if "no marks" in line] == list(played.notes)
    assert len(played.notes) == 1
    check_over(conductor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(conductor: Any, number: signal.Signals) -> None:
    """A signal during a fault ends the game day, and a second one changes nothing."""
    conductor.view.act = lambda: os.kill(os.getpid(), number)
    assert conductor.play().aborted == number.name
    check_over(conductor)


@pytest.mark.parametrize(("reason", "stop_after_s"), [("too many failures", None), ("--stop-after 1 s", 1.0)])
def test_a_condition_ends_it(conductor: Any, reason: str, stop_after_s: float | None) -> None:
    """The stop condition and the limit of --stop-after end a game day during a fault."""
    conductor.observer.reason, conductor.stop_after_s = "" if stop_after_s else reason, stop_after_s
    played = conductor.play()
    assert played.aborted == reason
    assert played.faults[0].ended_at - BEGIN <= 1.1
    check_over(conductor)


def test_an_error_ends_it(conductor: Any) -> None:
    """An unexpected error is raised after the undo."""

    def crash() -> None:
        raise ZeroDivisionError

    conductor.view.act = crash
    with pytest.raises(ZeroDivisionError):
        conductor.play()
    check_over(conductor)


def test_a_fault_that_fails_is_undone_at_once(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step ends without the wait for its duration."""
    monkeypatch.setattr(FakeFaults, "failed", "exit code 3")
    (injected,) = conductor.play().faults
    assert injected.failed == "its command failed: exit code 3"
    assert injected.ended_at - injected.begun_at < 1
    check_over(conductor)


def test_an_undo_that_fails_is_left(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is reported, and stays in the journal."""
    monkeypatch.setattr(FakeFaults, "is_stuck", True)
    assert conductor.play().left == ("db",)
    assert conductor.journal.path.exists()
    assert "undo db FAILED: the fault is still active" in conductor.view.lines


def test_a_run_that_is_not_seen(conductor: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run in Prometheus no fault is injected; the limit without a run counts from the start."""
    conductor.server.knows_run = False
    monkeypatch.setattr(module, "STARTUP_S", 2.0)
    with pytest.raises(GameDayFailed, match=r"^Prometheus at http://prometheus does not see run r"):
        conductor.play()
    conductor.stop_after_s = clock.now_s + 1
    with pytest.raises(GameDayFailed, match=r"^Ended before the first fault: --stop-after .* does not see run r"):
        conductor.play()
    assert FakeFaults.calls == []
    assert not conductor.journal.path.exists()


def test_a_load_that_ends_at_the_start(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has its exit code and its last output; no progress is shown, for the game day never began."""
    conductor.server.knows_run = False
    monkeypatch.setattr(conductor, "_child", EndedLoad(0))
    with pytest.raises(GameDayFailed) as raised:
        conductor.play()
    assert str(raised.value) == (
        "The load ended with exit code 1. Its last output:\n"
        "Traceback (most recent call last):\nImportError: no module shop"
    )
    assert conductor.view.shown == 0


def test_a_load_that_ends_early(conductor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The game day ends with the exit code of the load, and has its last output."""
    monkeypatch.setattr(conductor, "_child", EndedLoad(2))
    played = conductor.play()
    assert played.aborted == "the load ended before its time, with exit code 1"
    assert played.load_output[-1] == "ImportError: no module shop"
    check_over(conductor)


@pytest.mark.parametrize(("stop_after_s", "settled_s"), [(None, 16.0), (12.0, 12.0)])
def test_an_active_alert_is_watched_after_the_end(
    conductor: Any, clock: Clock, stop_after_s: float | None, settled_s: float
) -> None:
    """At most for 6 s, and not beyond --stop-after."""
    conductor.observer.latest, conductor.stop_after_s = FIRING, stop_after_s
    assert conductor.play().aborted == ""
    assert clock.now_s == pytest.approx(settled_s, abs=0.1)


def test_an_answer(conductor: Any) -> None:
    """Results and errors are passed on; after the end of the game day a missing answer is an error."""

    def fail() -> None:
        raise ZeroDivisionError

    assert conductor.answer(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        conductor.answer(fail)
    conductor.stop_after_s = 0.0
    assert conductor.answer(lambda: 5, 60.0) == 5


@pytest.fixture
def hang() -> Iterator[Callable[..., None]]:
    """Give a function that returns at the end of the test."""
    released = threading.Event()
    yield lambda *_: released.wait(60)  # type: ignore[misc]
    released.set()


def test_a_hanging_answer_is_abandoned(conductor: Any, hang: Callable[..., None]) -> None:
    """After the grace time the error names the server."""
    conductor.stop_after_s = 0.0
    with pytest.raises(GameDayFailed, match="http://prometheus"):
        conductor.answer(hang, 0.002)


def test_a_hanging_mark_delays_nothing(
    conductor: Any, hang: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the game day is over, the fault is undone without the answer to its mark."""
    conductor.metrics_url, conductor.stop_after_s = "http://127.0.0.1:1/metrics", 0.0
    monkeypatch.setattr(MarkSender, "mark", hang)
    monkeypatch.setattr(Conductor.answer, "__defaults__", (0.002,))
    monkeypatch.setattr(conductor, "_wait_for_run", lambda: BEGIN)
    monkeypatch.setattr(conductor, "_wait", lambda *_, **__: None)
    conductor.play()
    check_over(conductor)
