"""Tests of the pools of the demo shop, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from locust_otel.demo.pool import Pool
from tests.analysis.virtual import Clock, patched


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Run the pools in virtual time."""
    clock = Clock()
    with patched(clock):
        yield clock


class Visits:
    """Requests that hold a place, and when each got and left it; -1 without a place."""

    def __init__(self, clock: Clock, pool: Pool, timeout_s: float = 100) -> None:
        self.times: list[tuple[float, float]] = []
        self._clock, self._pool, self._timeout_s = clock, pool, timeout_s

    def start(self, number: int, seconds: float) -> None:
        """Start requests now."""
        for _ in range(number):
            self._clock.spawn(lambda: self._visit(seconds))

    def _visit(self, seconds: float) -> None:
        with self._pool.place(self._timeout_s) as has_place:
            begin_s = self._clock.now_s
            if has_place:
                self._pool.occupy(seconds)
            self.times.append((begin_s, self._clock.now_s if has_place else -1))


def test_requests_wait_for_a_place(clock: Clock) -> None:
    """Three requests on two places: the third starts when the first has left."""
    visits = Visits(clock, Pool(2))
    visits.start(3, 5)
    clock.run(100)
    assert visits.times == [(0, 5), (0, 5), (5, 10)]


def test_a_request_gives_up_after_the_timeout(clock: Clock) -> None:
    """It has no place then, and leaves the queue: later requests are not held up."""
    visits = Visits(clock, Pool(1), timeout_s=3)
    visits.start(2, 5)
    clock.run(6)
    visits.start(1, 5)
    clock.run(100)
    assert visits.times == [(3, -1), (0, 5), (6, 11)]


def test_a_new_size_holds_at_once(clock: Clock) -> None:
    """More places admit waiting requests; with fewer places, those that are taken stay taken."""
    pool = Pool(1)
    visits = Visits(clock, pool)
    visits.start(4, 5)
    clock.run(1)
    pool.resize(3)
    clock.run(2)
    pool.resize(1)
    clock.run(100)
    assert visits.times == [(0, 5), (1, 6), (1, 6), (6, 11)]
