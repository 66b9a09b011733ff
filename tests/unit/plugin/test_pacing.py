"""Tests of how late tasks begin against their schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from locust import User, between, constant_pacing, constant_throughput
from locust.env import Environment

from locust_otel.plugin import pacing
from locust_otel.plugin.pacing import SCHEDULE_LAYOUT, Pacing


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
    monkeypatch.setattr(pacing, "perf_counter", clock)
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
    assert sum(measure.counts) == 4
    assert measure.counts[0] == 2
    assert SCHEDULE_LAYOUT.above(measure.counts, 1.0) == 1


def test_a_new_run_begins_at_zero(clock: Clock) -> None:
    """What was measured before is gone, and the user goes on to be measured."""
    measure = Pacing()
    user = paced(measure, constant_pacing(1))
    for _ in range(3):
        clock.now += user.wait_time() + 2
    assert sum(measure.counts) == 2
    measure.start_run()
    assert (sum(measure.counts), measure.sum_s) == (0, 0)
    user.wait_time()
    assert sum(measure.counts) == 1


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
