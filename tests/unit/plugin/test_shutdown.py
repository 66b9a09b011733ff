"""Tests of the end of a process, with the greenlets and signals that Locust ends it by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import gevent
import pytest

from locust_otel.plugin import shutdown
from locust_otel.plugin.shutdown import TERMINATION_GRACE_S, Shutdown

LAST_MOMENT_S = 0.05


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shutdown]:
    """Make one whose last moment is short, and let nobody wait for it at the end."""
    monkeypatch.setattr(shutdown, "_LAST_MOMENT_S", LAST_MOMENT_S)
    made = Shutdown()
    yield made
    made.end()


def elsewhere(act: Callable[[], Any]) -> Any:
    """Act in another greenlet, as a signal's handler does, and return what came of it."""
    return gevent.spawn(act).get(timeout=1)


def interrupt_soon(delay_s: float = 0.02) -> gevent.Greenlet:
    """Raise KeyboardInterrupt in the main greenlet, as a Ctrl-C does while it waits."""
    hub = gevent.get_hub()

    def interrupt() -> None:
        gevent.sleep(delay_s)
        hub.loop.run_callback(hub.parent.throw, KeyboardInterrupt())

    return gevent.spawn(interrupt)


def test_nothing_happened(ending: Shutdown) -> None:
    """At first no end is near, and there is all the time in the world."""
    assert not ending.is_near
    assert ending.grace_s == math.inf
    assert not ending.interrupted(0)


def test_normal_end(ending: Shutdown) -> None:
    """The main greenlet ends the process by itself: no signal, no hurry."""
    ending.quitting()
    assert ending.is_near
    assert ending.begin()
    assert ending.grace_s == math.inf
    assert not ending.interrupted(0.01)


def test_grace_after_a_signal(ending: Shutdown, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal leaves eight seconds from when it came, and a further one, or the main greenlet, no new ones."""
    now = 100.0
    monkeypatch.setattr(shutdown, "monotonic", lambda: now)
    elsewhere(ending.quitting)
    assert ending.grace_s == TERMINATION_GRACE_S == 8.0
    now = 103.0
    ending.quitting()
    elsewhere(ending.quitting)
    assert ending.grace_s == 5.0
    now = 109.0
    assert ending.grace_s == -1.0


def test_two_greenlets_of_sigterm(ending: Shutdown) -> None:
    """SIGTERM ends the process in two greenlets: the main one waits for the first, and ends no waiting of it."""
    order: list[str] = []

    def first() -> None:
        ending.quitting()
        gevent.sleep(0.01)
        assert ending.begin()
        order.append("first waits")
        assert not ending.interrupted(0.1)
        order.append("first ends")
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0)
    ending.quitting()  # the main greenlet, whose runner has ended
    order.append("second goes on")
    assert not ending.begin()
    ending.wait_for_first()
    handler.get(timeout=1)
    assert order == ["first waits", "first ends", "second goes on"]


def test_last_moment(ending: Shutdown) -> None:
    """Who waited in `quitting` leaves the first a moment to end the process, before it would do the same again."""

    def first() -> None:
        ending.quitting()
        gevent.sleep(0.05)
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0)
    started = perf_counter()
    ending.quitting()
    assert perf_counter() - started >= 0.05 + LAST_MOMENT_S - 0.01
    handler.get(timeout=1)


def test_first_that_fails(ending: Shutdown) -> None:
    """Where the first ends without having ended the process, nobody waits for it for ever."""
    elsewhere(ending.quitting)
    with gevent.Timeout(1):
        ending.quitting()
        ending.wait_for_first()


def test_main_greenlet_quits_twice(ending: Shutdown) -> None:
    """The greenlet that is the first itself waits for nobody."""
    started = perf_counter()
    ending.quitting()
    assert ending.begin()
    ending.quitting()
    assert perf_counter() - started < LAST_MOMENT_S


def test_begin_before_quitting(ending: Shutdown) -> None:
    """An embedded use that ends it without `quitting` is an end too, and the first one only."""
    assert ending.begin()
    assert ending.is_near
    assert [ending.begin(), ending.begin()] == [False, False]


def test_second_signal(ending: Shutdown) -> None:
    """A further signal ends the waiting, at once and for good; its own greenlet goes on after the first."""
    order: list[str] = []

    def further() -> None:
        ending.quitting()
        order.append("further goes on")

    ending.quitting()
    assert ending.begin()
    handler = gevent.spawn_later(0.02, further)
    started = perf_counter()
    assert ending.interrupted(5)
    assert ending.interrupted(5)
    assert perf_counter() - started < 1
    gevent.sleep(2 * LAST_MOMENT_S)
    order.append("first ends")
    ending.end()
    handler.get(timeout=1)
    assert order == ["first ends", "further goes on"]


def test_second_sigterm(ending: Shutdown) -> None:
    """After two SIGTERM, the waiting of the first one's greenlet is over, and its time is still that of the first."""
    waited: list[bool] = []

    def first() -> None:
        ending.quitting()
        assert ending.begin()
        waited.append(ending.interrupted(5))
        assert 7 < ending.grace_s <= 8
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0.01)
    gevent.spawn(ending.quitting).get(timeout=1)
    handler.get(timeout=1)
    assert waited == [True]


def test_second_signal_before_the_waiting(ending: Shutdown) -> None:
    """A second signal that comes while the runner is still being stopped leaves nothing to wait for either."""
    elsewhere(ending.quitting)
    elsewhere(ending.quitting)
    assert ending.begin()
    assert ending.interrupted(0.01)


def test_first_signal_during_the_waiting(ending: Shutdown) -> None:
    """Where the run ended by itself, the first signal is the one that ends the waiting."""
    ending.quitting()
    assert ending.begin()
    gevent.spawn(ending.quitting)
    assert ending.interrupted(5)


def test_main_greenlet_is_no_signal(ending: Shutdown) -> None:
    """Where the main greenlet quits while a signal's waits, that is the same signal's second half."""
    waited: list[bool] = []

    def first() -> None:
        ending.quitting()
        assert ending.begin()
        waited.append(ending.interrupted(0.05))
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0.01)
    ending.quitting()
    handler.get(timeout=1)
    assert waited == [False]


def test_keyboard_interrupt_while_waiting_for_scrapers(ending: Shutdown) -> None:
    """Ctrl-C while the main greenlet waits for scrapers ends that, without a traceback."""
    ending.quitting()
    assert ending.begin()
    interrupt_soon()
    started = perf_counter()
    assert ending.interrupted(5)
    assert perf_counter() - started < 1
    assert ending.interrupted(0)


def test_keyboard_interrupt_while_waiting_for_the_first(ending: Shutdown) -> None:
    """Ctrl-C while the main greenlet waits for the first tells that one, and goes on waiting for it."""
    seen: list[bool] = []

    def first() -> None:
        ending.quitting()
        assert ending.begin()
        seen.append(ending.interrupted(5))
        gevent.sleep(0.03)
        seen.append(True)
        ending.end()

    handler = gevent.spawn(first)
    gevent.sleep(0)
    assert not ending.begin()
    interrupt_soon()
    started = perf_counter()
    ending.wait_for_first()
    assert perf_counter() - started < 1
    assert seen == [True, True]
    handler.get(timeout=1)


def test_wait_for_what_has_ended(ending: Shutdown) -> None:
    """Who comes after the end does not wait."""
    ending.end()
    started = perf_counter()
    ending.wait_for_first()
    assert perf_counter() - started < 0.1


def test_join(ending: Shutdown) -> None:
    """What is bounded in itself is waited for, whatever signals come; they are remembered."""
    done: list[int] = []

    def work() -> None:
        gevent.sleep(0.1)
        done.append(1)

    interrupt_soon(0.01)
    interrupt_soon(0.03)
    ending.join(gevent.spawn(work))
    assert done == [1]
    assert ending.interrupted(0)


def test_join_what_has_ended_or_failed(ending: Shutdown) -> None:
    """What has ended already, or ends in an exception, holds nobody up."""

    def broken() -> None:
        gevent.get_hub().NOT_ERROR += (ValueError,)
        raise ValueError("broken")

    over = gevent.spawn(lambda: None)
    over.join()
    ending.join(over)
    errors = gevent.get_hub().NOT_ERROR
    try:
        ending.join(gevent.spawn(broken))
    finally:
        gevent.get_hub().NOT_ERROR = errors
    assert not ending.interrupted(0)


def test_draining_ends_when_the_runner_is_through(ending: Shutdown) -> None:
    """It is waited for as long as it takes, and had its time."""
    done: list[int] = []

    def quit_runner() -> None:
        gevent.sleep(0.2)
        done.append(1)

    assert ending.drain(quit_runner)
    assert done == [1]


def test_draining_ends_at_a_further_signal(ending: Shutdown) -> None:
    """It is not waited for any longer, and the answer says so."""
    interrupt_soon(0.05)
    started = perf_counter()
    assert not ending.drain(lambda: gevent.sleep(30))
    assert perf_counter() - started < 5
    assert ending.interrupted(0)


def test_a_signal_that_hits_the_draining_itself(ending: Shutdown, capsys: pytest.CaptureFixture[str]) -> None:
    """Python throws KeyboardInterrupt into whatever runs: that ends the draining too, and nobody sees a traceback."""

    def quit_runner() -> None:
        raise KeyboardInterrupt

    assert not ending.drain(quit_runner)
    assert ending.interrupted(0)
    assert capsys.readouterr().err == ""


def test_no_timeout_is_left_behind(ending: Shutdown, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may hit gevent as it starts a `Timeout`, which then is raised at the very end: none is ever started."""
    monkeypatch.delattr(gevent.Timeout, "_start_new_or_dummy")
    assert not ending.interrupted(0.01)
    gevent.spawn_later(0.05, ending.end)
    ending.wait_for_first()
    assert ending.drain(lambda: gevent.sleep(0.01))
    interrupt_soon(0.01)
    assert ending.interrupted(1)
