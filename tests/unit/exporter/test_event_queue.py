"""Tests of the events that wait to be pushed."""

from __future__ import annotations

import pickle

import pytest

from locust_otel.core.events import Event
from locust_otel.exporter.event_queue import MAX_WAITING, EventQueue


def texts(queue: EventQueue, limit: int = 10_000) -> list[str]:
    """Return the bodies that wait."""
    return [event.body for event in queue.peek(limit)]


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


def test_a_copy_goes_on() -> None:
    """A successor of the exporter gets what waits, what was dropped, and room for more."""
    queue = EventQueue()
    for number in range(MAX_WAITING + 2):
        queue.add(Event("e", str(number)))
    queue.remove(MAX_WAITING - 1)
    copy: EventQueue = pickle.loads(pickle.dumps(queue))  # noqa: S301  # our own
    queue.add(Event("e", "not in the copy"))
    assert (texts(copy), copy.dropped) == ([str(MAX_WAITING - 1)], 2)
    copy.add(Event("e", "later"))
    assert texts(copy)[-1] == "later"
