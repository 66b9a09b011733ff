"""Tests of the account of our own exports."""

from __future__ import annotations

import pickle
from time import time

from locust_otel.core.snapshot import ExportCount
from locust_otel.exporter.exports import Exports


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


def test_a_copy_goes_on() -> None:
    """A successor of the exporter counts on from what it gets."""
    exports = Exports()
    exports.declare("a")
    exports.note("a", ok=True, seconds=1.0, rejected=2)
    copy: Exports = pickle.loads(pickle.dumps(exports))  # noqa: S301  # our own
    exports.note("a", ok=True, seconds=1.0)
    copy.note("a", ok=False, seconds=0.5)
    assert set(copy.counts()) == {ExportCount("a", "success", 1, 1.0), ExportCount("a", "failure", 1, 0.5)}
    assert copy.rejected == {"a": 2}
    assert copy.last_success.keys() == {"a"}


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


def test_a_count_that_cannot_be_saved_counts() -> None:
    """Where there is no memory for it, an export is noted all the same."""

    def fail(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    exports = Exports()
    exports.save = fail
    exports.note("a", ok=True, seconds=1.0)
    assert exports.counts() == (ExportCount("a", "success", 1, 1.0),)


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
