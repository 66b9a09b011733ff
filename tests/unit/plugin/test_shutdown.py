"""Tests of the end of a process, with the greenlets and signals that end Locust, on a clock of the tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from locust_otel.plugin import shutdown
from locust_otel.plugin.shutdown import TERMINATION_GRACE_S, Shutdown
from tests.unit.plugin.clocks import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock and the sleep of the module."""
    clock = Clock()
    monkeypatch.setattr(shutdown, "monotonic", clock)
    replaced = SimpleNamespace(sleep=clock.sleep, spawn=gevent.spawn, get_hub=gevent.get_hub)
    monkeypatch.setattr(shutdown, "gevent", replaced)
    return clock


@pytest.fixture
def ending(clock: Clock) -> Iterator[Shutdown]:
    """Return the state of an end; after the test no greenlet waits for it."""
    ending = Shutdown()
    yield ending
    ending.end()


def elsewhere(act: Callable[[], Any]) -> None:
    """Call a function in another greenlet, as the handler of a signal does, and wait for it."""
    gevent.spawn(act).get(timeout=1)


def interrupt_soon(turns: int = 3) -> None:
    """Raise KeyboardInterrupt in the main greenlet after some turns of the loop, as Ctrl-C does while it waits."""
    hub = gevent.get_hub()

    def interrupt() -> None:
        for _ in range(turns):
            gevent.sleep(0)
        hub.loop.run_callback(hub.parent.throw, KeyboardInterrupt())

    gevent.spawn(interrupt)


def test_an_end_without_a_signal(ending: Shutdown, clock: Clock) -> None:
    """The main greenlet ends the process, also if it quits twice: it has no deadline, and waits for no other."""
    assert (ending.is_near, ending.grace_s, ending.interrupted(0)) == (False, math.inf, False)
    ending.quitting()
    assert ending.is_near
    assert ending.begin()
    ending.quitting()
    assert clock.now_s == 1_000.0
    assert (ending.grace_s, ending.interrupted(0.01)) == (math.inf, False)


def test_grace_after_a_signal(ending: Shutdown, clock: Clock) -> None:
    """A signal leaves 8 s; a further signal, or the main greenlet, does not extend them."""
    elsewhere(ending.quitting)
    assert ending.grace_s == TERMINATION_GRACE_S == 8.0
    clock.now_s += 3
    elsewhere(ending.quitting)
    assert ending.grace_s == 5.0
    ending.quitting()
    assert ending.grace_s == 1_008.0 - clock.now_s < 5.0


@pytest.mark.parametrize("turns", [0, 1], ids=["first has begun", "first begins later"])
def test_two_greenlets_of_sigterm(ending: Shutdown, clock: Clock, turns: int) -> None:
    """The main greenlet waits for the first one and does not interrupt it; then it leaves 5 s to end the process."""
    order: list[str] = []

    def first() -> None:
        ending.quitting()
        for _ in range(turns):
            gevent.sleep(0)
        assert ending.begin()
        order.append("first waits")
        assert not ending.interrupted(0.1)
        order.append("first ends")
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0)
    ending.quitting()
    order.append("second continues")
    assert clock.now_s > 1_005
    assert not ending.begin()
    ending.wait_for_first()
    handler.get(timeout=1)
    assert order == ["first waits", "first ends", "second continues"]


def test_a_first_greenlet_that_fails(ending: Shutdown) -> None:
    """If the first greenlet ends without ending the process, no other waits for it any more."""
    elsewhere(ending.quitting)
    ending.quitting()
    ending.wait_for_first()


def test_begin_before_quitting(ending: Shutdown) -> None:
    """An embedded use may end without `quitting`; only the first call begins the end."""
    assert [ending.begin(), ending.begin(), ending.begin()] == [True, False, False]
    assert ending.is_near


def test_a_further_signal(ending: Shutdown, clock: Clock) -> None:
    """It ends the wait at once and for good; its own greenlet continues after the first."""
    order: list[str] = []

    def further() -> None:
        ending.quitting()
        order.append("further continues")

    ending.quitting()
    assert ending.begin()
    handler = gevent.spawn(further)
    assert ending.interrupted(5)
    assert ending.interrupted(5)
    assert clock.now_s < 1_001
    for _ in range(3):
        gevent.sleep(0)
    order.append("first ends")
    ending.end()
    handler.get(timeout=1)
    assert order == ["first ends", "further continues"]


def test_a_second_sigterm(ending: Shutdown, clock: Clock) -> None:
    """It ends the wait of the first one's greenlet, whose deadline stays that of the first."""
    waited: list[bool] = []

    def first() -> None:
        ending.quitting()
        assert ending.begin()
        waited.append(ending.interrupted(5))
        assert ending.grace_s == 1_008.0 - clock.now_s > 7
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0)
    elsewhere(ending.quitting)
    handler.get(timeout=1)
    assert waited == [True]


def test_a_second_signal_before_the_wait(ending: Shutdown) -> None:
    """If it comes while the runner stops, the later wait is over at once, too."""
    elsewhere(ending.quitting)
    elsewhere(ending.quitting)
    assert ending.begin()
    assert ending.interrupted(0.01)


def test_ctrl_c_while_the_main_greenlet_waits_for_scrapers(ending: Shutdown, clock: Clock) -> None:
    """It ends the wait without a traceback."""
    ending.quitting()
    assert ending.begin()
    interrupt_soon()
    assert ending.interrupted(5)
    assert clock.now_s < 1_001
    assert ending.interrupted(0)


def test_ctrl_c_while_the_main_greenlet_waits_for_the_first(ending: Shutdown) -> None:
    """It ends the wait of the first greenlet; the main one still waits for that."""
    steps: list[object] = []

    def first() -> None:
        ending.quitting()
        assert ending.begin()
        steps.append(ending.interrupted(5))
        gevent.sleep(0)
        steps.append("ends")
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0)
    assert not ending.begin()
    interrupt_soon()
    ending.wait_for_first()
    assert steps == [True, "ends"]
    handler.get(timeout=1)


def test_wait_after_the_end(ending: Shutdown, clock: Clock) -> None:
    """After the end there is no wait."""
    ending.end()
    ending.wait_for_first()
    assert clock.now_s == 1_000.0


def test_join(ending: Shutdown) -> None:
    """Signals do not end the wait for a greenlet, but they are remembered."""
    done: list[int] = []

    def work() -> None:
        for _ in range(20):
            gevent.sleep(0)
        done.append(1)

    interrupt_soon(3)
    interrupt_soon(6)
    ending.join(gevent.spawn(work))
    assert done == [1]
    assert ending.interrupted(0)


def test_join_a_greenlet_that_has_ended_or_failed(ending: Shutdown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither needs a wait, and neither counts as a signal."""

    def fail() -> None:
        raise ValueError("broken")

    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "NOT_ERROR", (*hub.NOT_ERROR, ValueError))
    over = gevent.spawn(lambda: None)
    over.join()
    ending.join(over)
    ending.join(gevent.spawn(fail))
    assert not ending.interrupted(0)


def test_drain_waits_for_the_runner(ending: Shutdown) -> None:
    """It returns when the runner has quit, however long that takes."""
    done: list[int] = []

    def quit_runner() -> None:
        for _ in range(10):
            gevent.sleep(0)
        done.append(1)

    assert ending.drain(quit_runner)
    assert done == [1]


def test_drain_ends_at_a_further_signal(ending: Shutdown, clock: Clock) -> None:
    """The wait ends, and the result says that the runner has not quit."""
    never = Event()
    interrupt_soon()
    assert not ending.drain(never.wait)
    assert clock.now_s < 1_005
    assert ending.interrupted(0)
    never.set()


def test_a_signal_inside_the_runner(ending: Shutdown, capsys: pytest.CaptureFixture[str]) -> None:
    """Python raises KeyboardInterrupt in the running greenlet: that ends the wait too, without a traceback."""

    def quit_runner() -> None:
        raise KeyboardInterrupt

    assert not ending.drain(quit_runner)
    assert ending.interrupted(0)
    assert capsys.readouterr().err == ""


def test_no_timeout_is_started(ending: Shutdown, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may interrupt gevent while it starts a `Timeout`, which then is raised at the very end."""
    monkeypatch.delattr(gevent.Timeout, "_start_new_or_dummy")
    assert not ending.interrupted(0.01)
    gevent.spawn(ending.end)
    ending.wait_for_first()
    assert ending.drain(lambda: gevent.sleep(0))
    interrupt_soon()
    assert ending.interrupted(1)
