"""Tests of the writer of a run record, by the reader."""

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
    """The reader returns everything that was recorded: series, errors, users, workers, marks, events, and the end."""
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
    local, remote = read.workers
    assert (local.worker, local.cpu_ratio, local.memory_bytes, local.users) == ("host-0", 0.25, 64_000_000, 7)
    assert (sum(local.lag_counts.values()), local.lag_sum_s) == (2, 0.021)
    assert (remote.cpu_ratio, remote.reasons) == (None, ("lag",))
    assert (first.cpu_ratio, first.reasons) == (0.25, frozenset({"lag", "workers"}))
    assert (read.marks, read.events) == ([mark], [event])
    assert (read.intervals[-1].locust_total, read.verdict, read.is_aborted) == (expected.total, None, False)
    assert (first.locust_total, second.locust_total) == (13, 14)


def test_texts_of_any_kind(tmp_path: Path) -> None:
    """Names with quotes, newlines and lone surrogates are read unchanged."""
    aggregate = Load(slow_s=5.0, max_names=100)
    keys = [SeriesKey("GET", text, "User", "success") for text in (*ODD_TEXTS, "\udc80")]
    series = tuple(SeriesReport(key, 0, 0.005, 0, {60: 1}, {}) for key in keys)
    aggregate.merged.merge("host-0", Piece("run-1", fingerprint(aggregate.requests.layout), series, (), (), None))
    tape = Tape(tmp_path, aggregate)
    tape.interval(1.0)
    tape.end()
    assert load(tape.path).series == keys


def test_an_attribute_without_a_form_in_json_is_a_text(tmp_path: Path) -> None:
    """An event with NaN in it does not break the record."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=10))
    tape.interval(1.0, events=(RecordedEvent(0.5, "e", "", "WARN", {"a": float("nan")}),))
    tape.end()
    assert load(tape.path).events[0].attributes == {"a": "nan"}


def test_a_restarted_worker(tmp_path: Path) -> None:
    """A restarted worker counts its delays from 0, and the reader adds them to those before."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=10))
    for second, lags_s in enumerate([(0.5, 0.5), (0.25,), (3.0,), (3.0, 0.25), (3.0, 0.25)], 1):
        tape.interval(float(second), workers=(worker("host-0", lags_s=lags_s),))
    tape.end()
    stream = RecordStream(tape.path)
    read = [stream.record.workers[0] for _ in stream.intervals()]
    assert [sum(snapshot.lag_counts.values()) for snapshot in read] == [2, 3, 4, 5, 5]
    assert [snapshot.lag_sum_s for snapshot in read] == [1.0, 1.25, 4.25, 4.5, 4.5]
    assert [w["is_new"] for line in lines(tape.path) for w in line.get("workers", ())] == [True] * 3 + [False] * 2


def test_time_after_the_stop(tmp_path: Path) -> None:
    """Intervals after the stop follow one another, although the clock of the run has stopped."""
    tape = Tape(tmp_path, Load(slow_s=5.0, max_names=10))
    tape.interval(1.0)
    for _ in range(3):
        tape.interval(1.5, active=False, state="stopped")
    tape.end()
    read = load(tape.path)
    assert all(before.end_s == after.start_s for before, after in pairwise(read.intervals))
    assert [interval.elapsed_s for interval in read.intervals] == [1.0, 1.5, 1.5, 1.5]
    assert read.elapsed_s == 1.5


def test_an_interval_has_the_changes(tmp_path: Path) -> None:
    """Series, buckets and errors without a change are left out; the numbers are those since the start of the run."""
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
