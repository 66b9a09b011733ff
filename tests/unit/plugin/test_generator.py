"""Tests of the generator's health and of the delays of tasks, on a clock and a loop of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import locust.user.users
import locust.user.wait_time
import pytest
from locust import User, between, constant_pacing, constant_throughput
from locust.env import Environment

from locust_otel.core.histogram import layout
from locust_otel.plugin import generator
from locust_otel.plugin.generator import PROBE_INTERVAL_S, TICKS_JUDGED, Generator, Pacing
from tests.unit.plugin.clocks import Clock

LATE = [*[0.0] * 6, 0.13] * 30
"""Delays of wake-ups: more than a tenth of them are late by 0.1 s."""


class Loop:
    """An event loop that wakes the probe with given delays, and then ends it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.cpu = 0.0
        self.cpu_share = 0.25
        self.seconds = 0
        self.mean_s = 1.0
        self.lags: Iterator[float] = iter(())
        monkeypatch.setattr(generator, "monotonic", self.clock)
        monkeypatch.setattr(generator, "process_time", lambda: self.cpu)
        monkeypatch.setattr(generator, "gevent", SimpleNamespace(sleep=self._sleep, spawn=gevent.spawn))
        self.generator = Generator(self._second)

    def _second(self) -> tuple[int, float]:
        self.seconds += 1
        return self.seconds * 100, self.seconds * 100 * self.mean_s

    def _sleep(self, duration: float) -> None:
        lag = next(self.lags, None)
        if lag is None:
            raise gevent.GreenletExit
        assert duration >= 0
        self.cpu += (duration + lag) * self.cpu_share
        self.clock.now_s += duration + lag

    def run(self, lags: Iterable[float]) -> Generator:
        """Run the probe with these delays in seconds."""
        self.lags = iter(lags)
        with pytest.raises(gevent.GreenletExit):
            self.generator._run()
        return self.generator


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """Return a loop that replaces the real one."""
    return Loop(monkeypatch)


def test_delays_are_counted(loop: Loop) -> None:
    """Each wake-up is one count in the bucket of its delay, and the delays add up."""
    lags = [0.0, 0.001, 0.004, 0.02, 0.02, 0.3, 0.0]
    taken = loop.run(lags)
    assert sum(taken.lag_counts.values()) == len(lags)
    assert taken.lag_sum_s == pytest.approx(sum(lags))
    for edge in (0.005, 0.025, 0.5):
        assert layout().above(taken.lag_counts, edge) == sum(lag > edge for lag in lags)


def test_a_delay_does_not_shift_later_wake_ups(loop: Loop) -> None:
    """The next wake-up is due at its fixed time."""
    taken = loop.run([0.03] + [0.0] * 50)
    assert taken.lag_sum_s == pytest.approx(0.03)
    assert loop.clock.now_s == pytest.approx(1_000 + 51 * PROBE_INTERVAL_S)


def test_once_a_second(loop: Loop) -> None:
    """The callback is called once a second, and CPU is the share of a core over the last second."""
    assert (loop.generator.cpu_ratio, loop.generator.memory_bytes) == (None, None)
    taken = loop.run([0.0] * int(5.5 / PROBE_INTERVAL_S))
    assert loop.seconds == 5
    assert taken.cpu_ratio == pytest.approx(0.25)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    assert taken.memory_bytes == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.2)


@pytest.mark.parametrize(
    ("lags", "mean_s", "cpu_share", "reasons"),
    [
        ([0.01, 0.02, *[0.0] * 36, 0.12, 0.09] * 5, 1.0, 0.25, ()),  # one late wake-up in twenty
        (LATE, 1.0, 0.25, ("lag",)),
        ([0.2] * 12, 1.0, 0.25, ("lag",)),  # late from the first wake-up on: two seconds are enough
        ([0.049] * 250, 1.0, 0.25, ()),  # 5 % of the mean duration
        ([0.051] * 250, 1.0, 0.25, ("lag",)),
        ([0.0019] * 250, 0.01, 0.25, ()),  # 2 ms at least
        ([0.0021] * 250, 0.01, 0.25, ("lag",)),
        ([0.0019] * 250, 0.0, 0.25, ()),
        ([*[0.0] * 3, 0.05, *[0.0] * 6] * 25, 0.01, 0.25, ()),  # each of the rare delays counts as 10 ms
        ([0.0, 0.02, 0.0, 0.05, 0.0, 0.0, 0.03, *[0.0] * 3] * 25, 0.01, 0.25, ("lag",)),
        ([*[0.0] * 60, 3.0, *[0.0] * 60], 1.0, 0.25, ("lag",)),  # one stall is sixty late wake-ups
        ([0.9, *[0.0] * 4], 1.0, 0.99, ()),  # a busy first second
        ([0.0] * 230, 1.0, 0.92, ("cpu",)),
        ([0.0] * 230, 1.0, 0.89, ()),
    ],
)
def test_reasons(loop: Loop, lags: list[float], mean_s: float, cpu_share: float, reasons: tuple[str, ...]) -> None:
    """Latencies are trusted as long as delays are small or rare, and CPU is left."""
    loop.mean_s, loop.cpu_share = mean_s, cpu_share
    taken = loop.run(lags)
    assert taken.reasons == reasons
    assert sum(taken.lag_counts.values()) == len(lags)


def test_only_the_recent_past_counts(loop: Loop) -> None:
    """After ten good seconds a generator that was late keeps up again."""
    assert loop.run(LATE).reasons
    assert loop.run([0.0] * int(2 / PROBE_INTERVAL_S)).reasons
    assert not loop.run([0.0] * int((TICKS_JUDGED + 2) / PROBE_INTERVAL_S)).reasons


def test_a_new_run_is_judged_alone(loop: Loop) -> None:
    """Delays before the start of a run do not count, nor does a blocked loop at its start."""
    assert loop.run([0.2] * 25).reasons
    loop.generator.start_run()
    assert not loop.generator.reasons
    assert not loop.run([2.5, *[0.0] * 30]).reasons
    assert sum(loop.generator.lag_counts.values()) == 30


def test_start_and_stop(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A greenlet measures from the start until it is stopped; a stop before the start does nothing."""
    loop.generator.stop()
    loop.lags = iter([0.0] * 7)
    loop.generator.start()
    gevent.sleep(0)
    assert sum(loop.generator.lag_counts.values()) == 7
    forever = gevent.event.Event()
    monkeypatch.setattr(generator, "gevent", SimpleNamespace(sleep=lambda _: forever.wait(), spawn=gevent.spawn))
    loop.generator.start()
    gevent.sleep(0)
    loop.generator.stop()
    gevent.sleep(0)
    forever.set()
    gevent.sleep(0)
    assert sum(loop.generator.lag_counts.values()) == 7


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clocks of Locust's schedule and ours."""
    clock = Clock()
    monkeypatch.setattr(generator, "perf_counter", clock)
    for module in (locust.user.wait_time, locust.user.users):
        for name in ("perf_counter", "time"):
            if callable(getattr(module, name, None)):
                monkeypatch.setattr(module, name, clock)
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


def paced(pacing: Pacing, wait_time: Any) -> User:
    """Return a user with this `wait_time`."""
    user_class = type("Paced", (User,), {"wait_time": wait_time})
    pacing.instrument([user_class])
    user: User = user_class(Environment())
    return user


@pytest.mark.parametrize("wait_time", [lambda: constant_pacing(2), lambda: constant_throughput(0.5)])
def test_delays_of_a_schedule_of_two_seconds(clock: Clock, wait_time: Callable[[], Any]) -> None:
    """After tasks of 0.5, 3, 2 and 7 s, the next ones begin 0, 1, 0 and 5 s late; a new run begins at 0."""
    pacing = Pacing()
    user = paced(pacing, wait_time())
    clock.now_s += user.wait_time()
    for task_s in (0.5, 3.0, 2.0, 7.0):
        clock.now_s += task_s
        wait_s = user.wait_time()
        assert wait_s == pytest.approx(max(2 - task_s, 0))
        clock.now_s += wait_s
    assert pacing.sum_s == pytest.approx(6)
    assert sum(pacing.counts.values()) == 4
    assert pacing.counts[0] == 2
    assert layout().above(pacing.counts, 1.0) == 1
    pacing.start_run()
    assert (sum(pacing.counts.values()), pacing.sum_s) == (0, 0)
    clock.now_s += 3
    user.wait_time()
    assert sum(pacing.counts.values()) == 1
    assert pacing.sum_s == pytest.approx(1)


def test_classes_are_wrapped_once_and_others_not_at_all() -> None:
    """A second run does not measure twice; `between` and a method of the user have no schedule."""
    pacing = Pacing()

    class Between(User):
        wait_time = between(1, 2)

    class Method(User):
        def wait_time(self) -> float:
            return 1.0

    class Paced(User):
        wait_time = constant_pacing(1)

    class Child(Paced):
        pass

    unpaced = {user_class: vars(user_class)["wait_time"] for user_class in (Between, Method)}
    pacing.instrument([Between, Method, Paced, Child])
    wrapped = Paced.wait_time
    pacing.instrument([Between, Method, Paced, Child])
    assert Paced.wait_time is wrapped
    assert Child.wait_time is wrapped
    assert {user_class: vars(user_class)["wait_time"] for user_class in (Between, Method)} == unpaced
