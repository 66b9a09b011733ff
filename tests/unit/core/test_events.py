"""Tests of events: a bounded queue in order, and a bounded rate."""

from __future__ import annotations

from time import time

import pytest

from locust_otel.core.events import MAX_WAITING, Event, EventQueue, RateLimit


def texts(queue: EventQueue, limit: int = 10_000) -> list[str]:
    """Return the bodies that wait."""
    return [event.body for event in queue.peek(limit)]


def test_defaults() -> None:
    """An event is of now, for information, without attributes and trace, and cannot be changed."""
    before = time()
    event = Event("locust.run.start", "text")
    assert before <= event.timestamp <= time()
    assert (event.severity, dict(event.attributes), event.trace_id, event.span_id) == ("INFO", {}, "", "")
    with pytest.raises(AttributeError):
        event.body = "other"  # type: ignore[misc]
    assert Event("a", "b").attributes is not event.attributes


def test_order() -> None:
    """Events come out in the order in which they came in; looking leaves them there."""
    queue = EventQueue()
    for number in range(5):
        queue.add(Event("e", str(number)))
    assert texts(queue, 3) == ["0", "1", "2"]
    assert texts(queue) == ["0", "1", "2", "3", "4"]
    queue.remove(2)
    queue.add(Event("e", "5"))
    assert texts(queue) == ["2", "3", "4", "5"]
    assert queue.dropped == 0


def test_bound() -> None:
    """Of too many the later ones are dropped and counted; a place that was freed is taken again."""
    queue = EventQueue()
    for number in range(MAX_WAITING + 3):
        queue.add(Event("e", str(number)))
    assert len(texts(queue)) == MAX_WAITING == 500
    assert texts(queue)[-1] == str(MAX_WAITING - 1)
    assert queue.dropped == 3
    queue.remove(1)
    queue.add(Event("e", "late"))
    assert texts(queue)[-1] == "late"
    assert queue.dropped == 3


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_remove(count: int) -> None:
    """No more is removed than there is."""
    queue = EventQueue()
    queue.add(Event("e", "0"))
    queue.add(Event("e", "1"))
    queue.remove(count)
    assert texts(queue) == ["0", "1"][count:]


def test_empty() -> None:
    """An empty queue has nothing to look at."""
    assert EventQueue().peek(10) == []
    assert EventQueue().peek(0) == []


class Clock:
    """A clock to turn."""

    now = 50.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


def test_rate() -> None:
    """A burst of ten, then one a second, and after a long pause again no more than the burst."""
    clock = Clock()
    rate = RateLimit(clock=clock)
    assert [rate.allows() for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 0.5
    assert not rate.allows()
    clock.now += 0.5
    assert [rate.allows(), rate.allows()] == [True, False]
    clock.now += 3600
    assert [rate.allows() for _ in range(12)] == [True] * 10 + [False] * 2


@pytest.mark.parametrize(("burst", "per_second"), [(1, 2.0), (10, 1.0), (5, 0.5)])
def test_rate_in_the_long_run(burst: float, per_second: float) -> None:
    """Over an hour of steady demand as many are allowed as burst and rate say, refused ones count for nothing."""
    clock = Clock()
    rate = RateLimit(burst, per_second, clock)
    allowed = 0
    for _ in range(3600 * 8):
        allowed += rate.allows()
        clock.now += 1 / 8
    assert allowed == pytest.approx(burst + per_second * 3600, abs=2)
