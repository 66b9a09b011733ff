"""Tests of the writer of a run record: what was written is read back."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from pathlib import Path

import pytest

from locust_otel.core.snapshot import ErrorKey, SeriesKey
from locust_otel.review.record.reader import RecordStream, load
from locust_otel.wire.record import Mark, RecordedEvent
from locust_otel.wire.report import Piece, SeriesReport, fingerprint
from tests.unit.factories import ODD_TEXTS, Load, record, rich_load, worker
from tests.unit.tapes import HOME, Tape, facts, lines


def test_round_trip(tmp_path: Path) -> None:
    """Everything that was recorded is read back: series, errors, users, workers, marks, events, and the end."""
    tape = Tape(
        tmp_path,
        rich_load(),
        run_id="nightly",
        info={"host": "http://shop", "team": 'q"\n\\ü'},
        workers=(worker("host-0", lags_s=(0.001, 0.02)), worker("host-1", reasons=("lag",), cpu_ratio=None)),
        worker_states={"running": 2, "missing": 1},
        workers_expected=3,
    )
    mark, event = Mark(0.5, "latency", "fault"), RecordedEvent(0.75, "locust.run.start", "It starts", "INFO", {"n": 1})
    tape.interval(1.0, marks=(mark,), events=(event,))
    record(tape.aggregate, HOME, [33.3], 5)
    tape.aggregate.count_error("GET", "/", "500", 3)
    tape.interval(2.0, users={"Shopper": 9})
    tape.end()

    read = load(tape.path)

    assert tape.path == tmp_path / "nightly.jsonl.gz"
    assert (read.run_id, read.start_time, read.interval_s, read.slo) == ("nightly", 1_764_000_000.25, 1.0, None)
    assert read.info == {"host": "http://shop", "team": 'q"\n\\ü'}
    assert read.is_complete
    assert read.layout == tape.aggregate.merged.layout
    expected = tape.aggregate.snapshot()
    assert facts(read.requests()) == facts(expected)
    assert read.requests().errors == expected.errors
    assert read.requests().user_errors == expected.user_errors == {("Shopper", "KeyError"): 9}
    first, second = read.intervals
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0.0, 1.0, 1.0, 2.0)
    assert second.errors == {ErrorKey("GET", "/", "500"): 3}
    delta = second.counts[read.series.index(HOME)]
    assert (delta.measured, delta.unmeasured, delta.body_bytes, sum(delta.counts.values())) == (1, 0, 5, 1)
    assert delta.sum_s == pytest.approx(0.0333)
    assert (first.users, second.users) == ({"Shopper": 7, "Admin": 2}, {"Shopper": 9})
    assert second.users_target == {"Shopper": 10, "Admin": 3}
    assert (first.worker_states, first.workers_expected) == ({"running": 2, "missing": 1}, 3)
    one, other = read.workers
    assert (one.worker, one.cpu_ratio, one.memory_bytes, one.users) == ("host-0", 0.25, 64_000_000, 7)
    assert (sum(one.lag_counts.values()), one.lag_sum_s) == (2, 0.021)
    assert (other.cpu_ratio, other.reasons) == (None, ("lag",))
    assert (first.cpu_ratio, first.reasons) == (0.25, frozenset({"lag", "workers"}))
    assert (read.marks, read.events) == ([mark], [event])
    assert (read.intervals[-1].locust_total, read.verdict, read.is_aborted) == (expected.total, None, False)
    assert (first.locust_total, second.locust_total) == (13, 14)


def test_texts_of_any_kind(tmp_path: Path) -> None:
    """Names with quotes, newlines, lone surrogates and the like come back as they were."""
    aggregate = Load(slow_s=5.0, max_names=100)
    keys = [SeriesKey("GET", text, "User", "success") for text in (*ODD_TEXTS, "\udc80")]
    series = tuple(SeriesReport(key, 0, 0.005, 0, {60: 1}, {}) for key in keys)
    aggregate.merged.merge("host-0", Piece("run-1", fingerprint(aggregate.requests.layout), series, (), (), None))
    tape = Tape(tmp_path, aggregate)
    tape.interval(1.0)
    tape.end()
    assert load(tape.path).series == keys


def test_an_attribute_that_json_has_not_is_a_text(tmp_path: Path) -> None:
    """An event with NaN in it does not break the record."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=10))
    tape.interval(1.0, events=(RecordedEvent(0.5, "e", "", "WARN", {"a": float("nan")}),))
    tape.end()
    assert load(tape.path).events[0].attributes == {"a": "nan"}


def test_a_worker_that_comes_back_counts_anew(tmp_path: Path) -> None:
    """Delays of a worker that were counted from 0 again are added to those before."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=10))
    for second, lags_s in enumerate([(0.5, 0.5), (0.25,), (3.0,), (3.0, 0.25), (3.0, 0.25)], 1):
        tape.interval(float(second), workers=(worker("host-0", lags_s=lags_s),))
    tape.end()
    stream = RecordStream(tape.path)
    read = [stream.record.workers[0] for _ in stream.intervals()]
    assert [sum(snapshot.lag_counts.values()) for snapshot in read] == [2, 3, 4, 5, 5]
    assert [snapshot.lag_sum_s for snapshot in read] == [1.0, 1.25, 4.25, 4.5, 4.5]
    assert [w["is_new"] for line in lines(tape.path) for w in line.get("workers", ())] == [True] * 3 + [False] * 2


def test_after_the_stop_time_goes_on(tmp_path: Path) -> None:
    """Intervals after the stop, whose clock stands still, follow one another too."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=10))
    tape.interval(1.0)
    for _ in range(3):
        tape.interval(1.5, active=False, state="stopped")
    tape.end()
    read = load(tape.path)
    assert all(before.end_s == after.start_s for before, after in pairwise(read.intervals))
    assert [interval.elapsed_s for interval in read.intervals] == [1.0, 1.5, 1.5, 1.5]
    assert read.elapsed_s == 1.5


def test_an_interval_holds_what_has_changed(tmp_path: Path) -> None:
    """Series, buckets and errors that have not changed are left out, and the numbers are those since the start."""
    tape = Tape(tmp_path, Load(slow_s=2.0, thresholds_s=(0.3,)))
    other = SeriesKey("GET", "/other", "Shopper", "success")
    record(tape.aggregate, HOME, [10, 10, 200], 5)
    record(tape.aggregate, other, [10])
    tape.aggregate.count_error("GET", "/", "500", 2)
    tape.aggregate.count_error("GET", "/", "503")
    tape.aggregate.count_user_error("Shopper", "KeyError", 2)
    tape.interval(1.0)
    record(tape.aggregate, HOME, [200], 5)
    tape.aggregate.count_error("GET", "/", "503")
    tape.interval(2.0)
    tape.interval(3.0)
    tape.end()
    first, second, third = (line for line in lines(tape.path) if line["type"] == "interval")
    ten, two_hundred = (bisect_left(tape.aggregate.merged.layout.bounds, s) for s in (0.01, 0.2))
    gap = two_hundred - ten
    assert first["series"] == [
        [0, 0, pytest.approx(0.22), 15, [ten + 1, 2, gap, 1]],
        [1, 0, 0.01, 0, [ten + 1, 1]],
    ]
    assert second["series"] == [[0, 0, pytest.approx(0.42), 20, [two_hundred + 1, 2]]]
    assert third["series"] == []
    assert [line["errors"] for line in (first, second, third)] == [[[0, 2], [1, 1]], [[1, 2]], []]
    assert [line["user_errors"] for line in (first, second, third)] == [[["Shopper", "KeyError", 2]], [], []]


def test_the_end_says_how_the_run_ended(tmp_path: Path) -> None:
    """A run whose Locust has vanished is lost, and its record is complete all the same."""
    tape = Tape(tmp_path, Load())
    tape.interval(1.0)
    tape.interval(1.5, active=False, state="lost")
    tape.end("lost")
    read = load(tape.path)
    assert (read.end and read.end.state, read.is_complete) == ("lost", True)
    assert [interval.state for interval in read.intervals] == ["running", "lost"]
