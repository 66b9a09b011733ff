"""Tests of the counts of our own exports, and of the events that wait to be pushed."""

from __future__ import annotations

import pickle
from time import time

import pytest

from locust_otel.core.events import Event
from locust_otel.core.snapshot import ExportCount
from locust_otel.exporter.exports import MAX_WAITING, EventQueue, Exports


def test_empty() -> None:
    """Before anything was declared there is nothing."""
    exports = Exports()
    assert (exports.counts(), exports.last_success, exports.rejected) == ((), {}, {})


def test_declare() -> None:
    """A declared exporter is there with both outcomes at 0, and to declare it again changes nothing."""
    exports = Exports()
    exports.declare("otlp_logs")
    exports.note("otlp_logs", ok=True, seconds=0.5, rejected=2)
    exports.declare("otlp_logs")
    assert set(exports.counts()) == {
        ExportCount("otlp_logs", "success", 1, 0.5),
        ExportCount("otlp_logs", "failure", 0, 0.0),
    }
    assert exports.rejected == {"otlp_logs": 2}
    exports.declare("prometheus")
    assert exports.rejected["prometheus"] == 0
    assert "prometheus" not in exports.last_success


def test_note() -> None:
    """Exports, their seconds and what was rejected add up by exporter and outcome."""
    exports = Exports()
    for name, ok, seconds, rejected in (
        ("a", True, 0.25, 0),
        ("a", True, 0.5, 3),
        ("a", False, 2.0, 0),
        ("b", False, 1.0, 0),
        ("a", True, 0.0, 4),
    ):
        exports.note(name, ok=ok, seconds=seconds, rejected=rejected)
    assert set(exports.counts()) == {
        ExportCount("a", "success", 3, 0.75),
        ExportCount("a", "failure", 1, 2.0),
        ExportCount("b", "failure", 1, 1.0),
    }
    assert exports.rejected == {"a": 7}


def test_last_success() -> None:
    """Only a success is remembered as the last one."""
    exports = Exports()
    exports.note("a", ok=False, seconds=1.0)
    assert exports.last_success == {}
    before = time()
    exports.note("a", ok=True, seconds=1.0)
    last = exports.last_success["a"]
    assert before <= last <= time()
    exports.note("a", ok=False, seconds=1.0)
    assert exports.last_success == {"a": last}


def test_counts_do_not_change() -> None:
    """What was returned once stays as it was."""
    exports = Exports()
    exports.note("a", ok=True, seconds=1.0)
    counts = exports.counts()
    exports.note("a", ok=True, seconds=1.0)
    assert counts == (ExportCount("a", "success", 1, 1.0),)


def test_each_export_is_saved() -> None:
    """At once, before anybody sees its count; another process goes on from what was saved last."""
    exports, saved = Exports(), list[bytes]()
    exports.save = saved.append
    exports.declare("a")
    for number in range(3):
        exports.note("a", ok=True, seconds=1.0, rejected=1)
        assert len(saved) == number + 1
    later = Exports()
    later.restore(saved[-1])
    assert (later.counts(), later.rejected, later.last_success) == (
        exports.counts(), exports.rejected, exports.last_success,
    )  # fmt: skip
    later.note("a", ok=True, seconds=1.0)
    assert ExportCount("a", "success", 4, 4.0) in later.counts()


def test_each_change_is_saved_at_once() -> None:
    """Another process goes on with what was saved, and no count is lost to a disk that is full."""
    saved: list[bytes] = []
    exports, successor = Exports(), Exports()
    exports.save = saved.append
    exports.note("a", ok=True, seconds=0.5, rejected=2)
    exports.note("a", ok=False, seconds=1.0)
    successor.restore(saved[-1])
    for each in (exports, successor):
        each.save = _full
        each.note("a", ok=True, seconds=0.25)
    assert successor.counts() == exports.counts()
    assert successor.rejected == exports.rejected == {"a": 2}
    assert successor.last_success.keys() == {"a"}


def _full(_: bytes) -> None:
    raise OSError(28, "No space left on device")


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


def test_empty_queue() -> None:
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
