"""Tests of the counts of our own exports, and of the events that wait to be pushed."""

from __future__ import annotations

import pickle
from time import time

import pytest

from locust_otel.core.events import Event
from locust_otel.core.snapshot import ExportCount
from locust_otel.exporter.exports import MAX_WAITING, EventQueue, Exports


def test_empty() -> None:
    """Undeclared exporters have no counts."""
    exports = Exports()
    assert (exports.counts(), exports.last_success, exports.rejected) == ((), {}, {})


def test_declare() -> None:
    """A declared exporter has both outcomes at 0; a second declaration changes nothing."""
    exports = Exports()
    exports.declare("otlp_logs")
    exports.note("otlp_logs", ok=True, seconds=0.5, rejected=2)
    exports.declare("otlp_logs")
    assert set(exports.counts()) == {
        ExportCount("otlp_logs", "success", 1, 0.5),
        ExportCount("otlp_logs", "failure", 0, 0.0),
    }
    exports.declare("prometheus")
    assert exports.rejected == {"otlp_logs": 2, "prometheus": 0}
    assert "prometheus" not in exports.last_success


def test_note() -> None:
    """Exports, their seconds and rejected points add up by exporter and outcome; returned counts do not change."""
    exports = Exports()
    exports.note("a", ok=True, seconds=0.25)
    first = exports.counts()
    for name, ok, seconds, rejected in (("a", True, 0.5, 3), ("a", False, 2.0, 0), ("b", False, 1.0, 0)):
        exports.note(name, ok=ok, seconds=seconds, rejected=rejected)
    exports.note("a", ok=True, seconds=0.0, rejected=4)
    assert first == (ExportCount("a", "success", 1, 0.25),)
    assert set(exports.counts()) == {
        ExportCount("a", "success", 3, 0.75),
        ExportCount("a", "failure", 1, 2.0),
        ExportCount("b", "failure", 1, 1.0),
    }
    assert exports.rejected == {"a": 7}


def test_last_success() -> None:
    """Only a success has a last time."""
    exports = Exports()
    exports.note("a", ok=False, seconds=1.0)
    assert exports.last_success == {}
    start = time()
    exports.note("a", ok=True, seconds=1.0)
    last = exports.last_success["a"]
    assert start <= last <= time()
    exports.note("a", ok=False, seconds=1.0)
    assert exports.last_success == {"a": last}


def test_each_export_is_saved_at_once() -> None:
    """A successor continues with the last saved counts, and a full disk loses no count."""
    saved: list[bytes] = []
    exports, successor = Exports(), Exports()
    exports.save = saved.append
    exports.declare("a")
    for number in range(3):
        exports.note("a", ok=number < 2, seconds=0.5, rejected=number)
        assert len(saved) == number + 1
    successor.restore(saved[-1])
    for counts in (exports, successor):
        counts.save = _full
        counts.note("a", ok=True, seconds=0.25)
    assert set(successor.counts()) == set(exports.counts()) == {
        ExportCount("a", "success", 3, 1.25), ExportCount("a", "failure", 1, 0.5)
    }  # fmt: skip
    assert successor.rejected == exports.rejected == {"a": 3}
    assert successor.last_success.keys() == {"a"}


def _full(_: bytes) -> None:
    raise OSError(28, "No space left on device")


def queue_of(count: int) -> EventQueue:
    """Return a queue to which this number of events was added."""
    queue = EventQueue()
    for number in range(count):
        queue.add(Event("e", str(number)))
    return queue


def texts(queue: EventQueue, limit: int = 10_000) -> list[str]:
    """Return the bodies of the oldest events."""
    return [event.body for event in queue.peek(limit)]


def test_order() -> None:
    """Events leave in the order of their arrival; `peek` does not remove them."""
    queue = queue_of(5)
    assert texts(queue, 3) == ["0", "1", "2"]
    assert texts(queue) == ["0", "1", "2", "3", "4"]
    queue.remove(2)
    queue.add(Event("e", "5"))
    assert texts(queue) == ["2", "3", "4", "5"]


def test_bound() -> None:
    """A full queue drops new events until some are removed."""
    queue = queue_of(MAX_WAITING + 3)
    assert len(texts(queue)) == MAX_WAITING == 500
    assert texts(queue)[-1] == str(MAX_WAITING - 1)
    queue.remove(1)
    queue.add(Event("e", "late"))
    assert texts(queue)[-1] == "late"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_remove(count: int) -> None:
    """`remove` may be called with more events than there are."""
    queue = queue_of(2)
    queue.remove(count)
    assert texts(queue) == ["0", "1"][count:]


def test_a_successor() -> None:
    """A successor gets the events that wait, and can add others."""
    queue = queue_of(2)
    copy: EventQueue = pickle.loads(pickle.dumps(queue))  # noqa: S301  # our own
    queue.add(Event("e", "not in the copy"))
    copy.add(Event("e", "later"))
    assert texts(copy) == ["0", "1", "later"]
