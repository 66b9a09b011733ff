"""Tests of the generator's own health and of how late tasks begin, on a clock and a loop of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from locust import User, between, constant_pacing, constant_throughput
from locust.env import Environment

from locust_otel.plugin import generator
from locust_otel.plugin.generator import LAG_LAYOUT, PROBE_INTERVAL_S, SCHEDULE_LAYOUT, TICKS_JUDGED, Generator, Pacing


class Loop:
    """An event loop that wakes the probe as late as it is told, and then ends it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.cpu = 0.0
        self.cpu_share = 0.25
        self.seconds = 0
        self.mean_s = 1.0
        self._lags: Iterator[float] = iter(())
        monkeypatch.setattr(generator, "monotonic", lambda: self.now)
        monkeypatch.setattr(generator, "process_time", lambda: self.cpu)
        monkeypatch.setattr(generator, "gevent", SimpleNamespace(sleep=self._sleep))
        self.generator = Generator(self._second)

    def _second(self) -> tuple[int, float]:
        self.seconds += 1
        return self.seconds * 100, self.seconds * 100 * self.mean_s

    def _sleep(self, duration: float) -> None:
        try:
            lag = next(self._lags)
        except StopIteration:
            raise gevent.GreenletExit from None
        assert duration >= 0
        self.now += duration + lag
        self.cpu += (duration + lag) * self.cpu_share

    def run(self, lags: Iterable[float]) -> Generator:
        """Run the probe, late by these seconds in turn."""
        self._lags = iter(lags)
        with pytest.raises(gevent.GreenletExit):
            self.generator._run()
        return self.generator


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """Make a loop."""
    return Loop(monkeypatch)


def test_lags_are_counted(loop: Loop) -> None:
    """Each wake-up is one count in the bucket of its delay, and the delays add up."""
    lags = [0.0, 0.001, 0.004, 0.02, 0.02, 0.3, 0.0]
    taken = loop.run(lags)
    assert sum(taken.lag_counts.values()) == len(lags)
    assert taken.lag_sum_s == pytest.approx(sum(lags))
    for edge in (0.005, 0.025, 0.5):
        assert LAG_LAYOUT.above(taken.lag_counts, edge) == sum(lag > edge for lag in lags)


def test_delays_do_not_add_up_in_the_schedule(loop: Loop) -> None:
    """A small delay does not shift the wake-ups after it: the next one is due at its fixed time."""
    taken = loop.run([0.03] + [0.0] * 50)
    assert taken.lag_sum_s == pytest.approx(0.03)
    assert loop.now == pytest.approx(1_000 + 51 * PROBE_INTERVAL_S)


def test_once_a_second(loop: Loop) -> None:
    """What is due once a second is called once a second."""
    loop.run([0.0] * int(5.5 / PROBE_INTERVAL_S))
    assert loop.seconds == 5


def test_cpu_and_memory(loop: Loop) -> None:
    """CPU is the share of a core over the last second, memory that of this process; both are unknown before."""
    assert (loop.generator.cpu_ratio, loop.generator.memory_bytes) == (None, None)
    taken = loop.run([0.0] * 30)
    assert taken.cpu_ratio == pytest.approx(0.25)
    assert taken.memory_bytes is not None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    assert taken.memory_bytes == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.2)


def test_a_generator_that_keeps_up(loop: Loop) -> None:
    """Small delays, and one late wake-up in twenty, are what a busy loop has: latencies are believed."""
    assert not loop.generator.reasons
    assert not loop.run([0.01, 0.02, *[0.0] * 36, 0.12, 0.09] * 5).reasons


def test_a_generator_that_is_late(loop: Loop) -> None:
    """More than a tenth of the wake-ups late by 0.1 s: latencies are not believed."""
    assert loop.run([*[0.0] * 6, 0.13] * 30).reasons


@pytest.mark.parametrize(
    ("mean_s", "lag_s", "reasons"),
    [(1.0, 0.049, ()), (1.0, 0.051, ("lag",)), (0.01, 0.0019, ()), (0.01, 0.0021, ("lag",)), (0.0, 0.0019, ())],
)
def test_a_loop_that_is_always_a_little_late(loop: Loop, mean_s: float, lag_s: float, reasons: tuple[str, ...]) -> None:
    """What counts is the mean delay against the requests' mean duration, and 2 ms at least."""
    loop.mean_s = mean_s
    assert loop.run([lag_s] * 250).reasons == reasons


def test_rare_delays_are_no_lateness(loop: Loop) -> None:
    """On a fast service one wake-up in ten may be very late, since it counts as 10 ms; three in ten may not."""
    loop.mean_s = 0.01
    assert not loop.run([0.0, 0.0, 0.0, 0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] * 25).reasons
    assert loop.run([0.0, 0.02, 0.0, 0.05, 0.0, 0.0, 0.03, 0.0, 0.0, 0.0] * 25).reasons == ("lag",)


def test_a_busy_first_second_is_forgiven(loop: Loop) -> None:
    """A start that blocks the loop for a second, at full CPU, does not yet say that the generator is too slow."""
    loop.cpu_share = 0.99
    assert not loop.run([0.9, *[0.0] * 4]).reasons


def test_what_was_before_a_run_does_not_count(loop: Loop) -> None:
    """A generator that was late until its run began, and in the middle of a second, starts it with a clean sheet."""
    assert loop.run([0.2] * 25).reasons
    loop.generator.start_run()
    assert not loop.generator.reasons
    assert not loop.run([2.5, *[0.0] * 30]).reasons
    assert sum(loop.generator.lag_counts.values()) == 30


def test_two_seconds_of_lateness_at_the_start_are_enough(loop: Loop) -> None:
    """A generator that is late from the first wake-up on is found after two seconds, and not only after ten."""
    assert loop.run([0.2] * 12).reasons


def test_one_long_stall_counts_for_all_wake_ups_it_swallowed(loop: Loop) -> None:
    """A stall of three seconds is not one late wake-up of two hundred, but sixty."""
    generator_ = loop.run([*[0.0] * 60, 3.0, *[0.0] * 60])
    assert generator_.reasons
    assert sum(generator_.lag_counts.values()) >= 121


def test_a_generator_without_cpu_left(loop: Loop) -> None:
    """Above 90 % of a core over the time judged there is nothing left to catch up with."""
    loop.cpu_share = 0.92
    assert loop.run([0.0] * 60).reasons == ("cpu",)
    loop.cpu_share = 0.89
    assert not loop.run([0.0] * 230).reasons


def test_a_bad_time_is_forgotten(loop: Loop) -> None:
    """What counts is the recent past: after ten good seconds it keeps up again."""
    bad = [*[0.0] * 6, 0.13] * 10
    assert loop.run(bad).reasons
    assert loop.run([0.0] * int(2 / PROBE_INTERVAL_S)).reasons
    assert not loop.run(chain(repeat(0.0, int((TICKS_JUDGED + 2) / PROBE_INTERVAL_S)))).reasons


def test_in_a_real_loop() -> None:
    """Started, it measures a real loop that somebody blocks; stopped, it measures no more."""
    real = Generator(lambda: (0, 0.0))
    real.start()
    try:
        gevent.sleep(0.06)
        _block(0.1)
        gevent.sleep(0.06)
    finally:
        real.stop()
    gevent.sleep(0)
    counted = sum(real.lag_counts.values())
    assert 2 <= counted <= 5
    assert 0.03 < real.lag_sum_s < 0.5
    gevent.sleep(0.06)
    assert sum(real.lag_counts.values()) == counted


def _block(seconds: float) -> None:
    """Hold the loop, as a computation does."""
    from time import perf_counter

    until = perf_counter() + seconds
    while perf_counter() < until:
        pass


def test_stop_without_start() -> None:
    """Stopping what never started is harmless."""
    Generator(lambda: (0, 0.0)).stop()


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock of Locust's schedule and of ours."""
    import locust.user.users
    import locust.user.wait_time

    clock = Clock()
    monkeypatch.setattr(generator, "perf_counter", clock)
    for module in (locust.user.wait_time, locust.user.users):
        for name in ("perf_counter", "time"):
            if callable(getattr(module, name, None)):
                monkeypatch.setattr(module, name, clock)
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


def paced(measure: Pacing, wait_time: Any) -> User:
    """Return a user with this `wait_time`."""
    user_class = type("Paced", (User,), {"wait_time": wait_time})
    measure.instrument([user_class])
    user: User = user_class(Environment())
    return user


@pytest.mark.parametrize("wait_time", [lambda: constant_pacing(2), lambda: constant_throughput(0.5)])
def test_delays_of_a_schedule_of_two_seconds(clock: Clock, wait_time: Callable[[], Any]) -> None:
    """Tasks of 0.5, 3, 2 and 7 s: the next ones begin 0, 1, 0 and 5 s late."""
    measure = Pacing()
    user = paced(measure, wait_time())
    clock.now += user.wait_time()
    for task_s in (0.5, 3.0, 2.0, 7.0):
        clock.now += task_s
        wait_s = user.wait_time()
        assert wait_s == pytest.approx(max(2 - task_s, 0))
        clock.now += wait_s
    assert measure.sum_s == pytest.approx(6)
    assert sum(measure.counts.values()) == 4
    assert measure.counts[0] == 2
    assert SCHEDULE_LAYOUT.above(measure.counts, 1.0) == 1


def test_a_new_run_begins_at_zero(clock: Clock) -> None:
    """What was measured before is gone, and the user goes on to be measured."""
    measure = Pacing()
    user = paced(measure, constant_pacing(1))
    for _ in range(3):
        clock.now += user.wait_time() + 2
    assert sum(measure.counts.values()) == 2
    measure.start_run()
    assert (sum(measure.counts.values()), measure.sum_s) == (0, 0)
    user.wait_time()
    assert sum(measure.counts.values()) == 1


def test_classes_are_wrapped_once_and_others_left_alone() -> None:
    """A second run does not measure twice; `between` and a method of one's own have no schedule."""
    measure = Pacing()

    class Own(User):
        wait_time = between(1, 2)

    class Method(User):
        def wait_time(self) -> float:
            return 1.0

    class Paced(User):
        wait_time = constant_pacing(1)

    class Child(Paced):
        pass

    before = {one: vars(one)["wait_time"] for one in (Own, Method)}
    measure.instrument([Own, Method, Paced, Child])
    once = Paced.wait_time
    measure.instrument([Own, Method, Paced, Child])
    assert Paced.wait_time is once
    assert Child.wait_time is once
    assert {one: vars(one)["wait_time"] for one in (Own, Method)} == before
