"""Tests of the run record: what was written is read back, whatever happened to the file, or refused with a reason."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.errors import LocustOtelError
from locust_otel.core.snapshot import ErrorKey, RequestsSnapshot, SeriesKey
from locust_otel.plugin.series import Aggregate
from locust_otel.review.record.reader import Record, RecordStream, load
from locust_otel.wire.record import Mark, RecordedEvent, RecordError
from tests.unit.factories import ODD_TEXTS, record, rich_aggregate, worker
from tests.unit.tapes import FAILED, HOME, Tape, lines, packed, small


def facts(requests: RequestsSnapshot) -> dict[SeriesKey, tuple[Any, ...]]:
    """Return what is known of each series that has requests."""
    return {
        s.key: (list(s.counts), s.measured, s.unmeasured, s.sum_s, s.body_bytes) for s in requests.series if s.total
    }


def added(first: RequestsSnapshot, second: RequestsSnapshot) -> dict[SeriesKey, tuple[Any, ...]]:
    """Return what two spans hold together, without the sums of durations."""
    result: dict[SeriesKey, tuple[Any, ...]] = {}
    for s in (*first.series, *second.series):
        counts, *numbers = result.get(s.key, ([0] * len(s.counts), 0, 0, 0))
        result[s.key] = (
            [a + b for a, b in zip(counts, s.counts, strict=True)],
            *(a + b for a, b in zip(numbers, (s.measured, s.unmeasured, s.body_bytes), strict=True)),
        )
    return result


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """Give a complete small record."""
    return small(tmp_path_factory.mktemp("record"))


def test_round_trip(tmp_path: Path) -> None:
    """Everything that was recorded is read back: series, errors, users, workers, marks, events, and the end."""
    tape = Tape(
        tmp_path,
        rich_aggregate(),
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
    assert read.layout == tape.aggregate.layout
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
    one, other = first.workers
    assert (one.worker, one.cpu_ratio, one.memory_bytes, one.users) == ("host-0", 0.25, 64_000_000, 7)
    assert (sum(one.lag_counts.values()), one.lag_sum_s) == (2, 0.021)
    assert (other.cpu_ratio, other.reasons, first.reasons) == (None, ("lag",), frozenset({"lag", "workers"}))
    assert second.workers[0].lag_counts == {}
    assert (read.marks, read.events) == ([mark], [event])
    assert (read.locust_total, read.verdict, read.is_aborted) == (expected.total, None, False)
    assert (first.locust_total, second.locust_total) == (13, 14)


def test_texts_of_any_kind(tmp_path: Path) -> None:
    """Names with quotes, newlines, lone surrogates and the like come back as they were."""
    aggregate = Aggregate(slow_s=5.0, max_names=100)
    keys = [SeriesKey("GET", text, "User", "success") for text in (*ODD_TEXTS, "\udc80")]
    for key in keys:
        record(aggregate, key, [5])
    tape = Tape(tmp_path, aggregate)
    tape.interval(1.0)
    tape.end()
    assert load(tape.path).series == keys


def test_an_attribute_that_json_has_not_is_a_text(tmp_path: Path) -> None:
    """An event with NaN in it does not break the record."""
    tape = Tape(tmp_path, Aggregate(slow_s=5.0, max_names=10))
    tape.interval(1.0, events=(RecordedEvent(0.5, "e", "", "WARN", {"a": float("nan")}),))
    tape.end()
    assert load(tape.path).events[0].attributes == {"a": "nan"}


def test_a_worker_that_comes_back_counts_anew(tmp_path: Path) -> None:
    """Delays of a worker that were counted from 0 again are all new."""
    tape = Tape(tmp_path, Aggregate(slow_s=5.0, max_names=10))
    tape.interval(1.0, workers=(worker("host-0", lags_s=(0.5, 0.5)),))
    tape.interval(2.0, workers=(worker("host-0", lags_s=(0.25,)),))
    tape.end()
    first, second = load(tape.path).intervals
    assert (sum(first.workers[0].lag_counts.values()), sum(second.workers[0].lag_counts.values())) == (2, 1)
    assert (first.workers[0].lag_sum_s, second.workers[0].lag_sum_s) == (1.0, 0.25)


def test_after_the_stop_time_goes_on(tmp_path: Path) -> None:
    """Intervals after the stop, whose clock stands still, follow one another too."""
    tape = Tape(tmp_path, Aggregate(slow_s=5.0, max_names=10))
    tape.interval(1.0)
    for _ in range(3):
        tape.interval(1.5, active=False, state="stopped")
    tape.end()
    read = load(tape.path)
    assert all(before.end_s == after.start_s for before, after in pairwise(read.intervals))
    assert [interval.elapsed_s for interval in read.intervals] == [1.0, 1.5, 1.5, 1.5]
    assert read.elapsed_s == 1.5


def test_truncated_at_every_byte(intact: Tape, tmp_path: Path) -> None:
    """Wherever a file is cut off, all that was flushed before is read, and the record says that it is not complete."""
    data, whole = intact.path.read_bytes(), load(intact.path)
    path = tmp_path / "cut.jsonl.gz"
    assert whole.is_complete
    assert len(whole.intervals) == 4
    for size in range(len(data)):
        path.write_bytes(data[:size])
        flushed = sum(size >= end for end in intact.sizes)
        if not flushed:
            try:
                read = load(path)
            except RecordError as error:
                assert error.slug == "record-empty"  # noqa: PT017  # for most sizes, but the end of a line may be there
                continue
        else:
            read = load(path)
        assert not read.is_complete
        assert read.intervals == whole.intervals[: len(read.intervals)]
        assert len(read.intervals) >= flushed - 1
        assert read.run_id == whole.run_id


def test_damage_is_found(intact: Tape, tmp_path: Path) -> None:
    """A byte that has changed is told of, unless it is one that says nothing; nothing else is ever raised."""
    data, whole = intact.path.read_bytes(), load(intact.path)
    path = tmp_path / "damaged.jsonl.gz"
    found = 0
    places = range(0, len(data), 3)
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        try:
            read = load(path)
        except LocustOtelError as error:
            assert str(path) in str(error)  # noqa: PT017  # most of many
            found += 1
        else:
            assert read.intervals == whole.intervals
            assert place < 10 or not read.is_complete  # the header of gzip
    assert found > 0.9 * len(places)


def _changed(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Return what changes an interval."""

    def change(entries: list[dict[str, Any]]) -> None:
        next(entry for entry in entries if entry["type"] == "interval").update(changes)

    return change


def _first(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[0].update(changes)

    return change


RUBBISH: dict[str, tuple[Callable[[list[dict[str, Any]]], None], str]] = {
    "a later version": (_first(version=2), "record-version"),
    "another format": (_first(format="other"), "record-format"),
    "no first line": (lambda entries: entries.reverse(), "record-format"),
    "other edges": (_first(bounds=[0.0, 1.0]), "record-rubbish"),
    "no start": (_first(start_time=None), "record-rubbish"),
    "an unknown type": (lambda entries: entries.insert(1, {"type": "?"}), "record-rubbish"),
    "no type": (lambda entries: entries.insert(1, {"a": 1}), "record-rubbish"),
    "a line after the end": (lambda entries: entries.append({"type": "warm", "at": 1}), "record-rubbish"),
    "a series that is none": (_changed(series=[[7, 0, 1.0, 0, 5, 1]]), "record-rubbish"),
    "a series twice": (_changed(series=[[0, 0, 1.0, 0, 5, 1], [0, 0, 1.0, 0, 5, 1]]), "record-rubbish"),
    "a bucket beyond": (_changed(series=[[0, 0, 1.0, 0, 999, 1]]), "record-rubbish"),
    "a count below zero": (_changed(series=[[0, 0, 1.0, 0, 5, -1]]), "record-rubbish"),
    "half a pair": (_changed(series=[[0, 0, 1.0, 0, 5]]), "record-rubbish"),
    "a count that is none": (_changed(series=[[0, 0, 1.0, 0, 5, 1.5]]), "record-rubbish"),
    "a sum below zero": (_changed(series=[[0, 0, -1.0, 0, 5, 1]]), "record-rubbish"),
    "a time too large": (_changed(elapsed_s=10**400), "record-rubbish"),
    "a gap in time": (_changed(to=9.0), "record-rubbish"),
    "a state": (_changed(state="asleep"), "record-rubbish"),
    "an error that is none": (_changed(errors=[[3, 1]]), "record-rubbish"),
    "users": (_changed(users={"User": "many"}), "record-rubbish"),
    "a key that is missing": (lambda entries: entries[2].pop("users"), "record-rubbish"),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_is_refused(intact: Tape, tmp_path: Path, name: str) -> None:
    """What no version 1 says is refused, with the file, the line and what is wrong there."""
    change, slug = RUBBISH[name]
    entries = lines(intact.path)
    change(entries)
    path = packed(tmp_path / "changed.jsonl.gz", entries)
    with pytest.raises(RecordError) as caught:
        load(path)
    assert caught.value.slug == slug
    assert str(caught.value).startswith(f"{path}:")


def test_keys_of_later_additions_are_ignored(intact: Tape, tmp_path: Path) -> None:
    """A key that version 1 does not know yet changes nothing."""
    entries = [{**entry, "new": [1]} for entry in lines(intact.path)]
    read = load(packed(tmp_path / "newer.jsonl.gz", entries))
    assert read.intervals == load(intact.path).intervals
    assert read.is_complete


@pytest.mark.parametrize(
    ("content", "slug"),
    [
        (b"", "record-empty"),
        (b"no gzip at all", "record-damaged"),
        (gzip.compress(b"{}\n"), "record-format"),
        (gzip.compress(b"[" * 100_000 + b"\n"), "record-rubbish"),
        (gzip.compress(b"\xff\n"), "record-rubbish"),
        (gzip.compress(b"no newline"), "record-empty"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, slug: str) -> None:
    """What is no record is refused."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=slug):
        load(path)


def test_more_after_the_end_is_refused(intact: Tape, tmp_path: Path) -> None:
    """Two records in one file are none."""
    path = tmp_path / "two"
    path.write_bytes(intact.path.read_bytes() * 2)
    with pytest.raises(RecordError, match="more after its end"):
        load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file, and a folder, are told of by name."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(RecordError, match="record-unreadable"):
            load(path)


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    """Another record of the same run id gets a name of its own."""
    paths = [small(tmp_path).path for _ in range(3)]
    assert [path.name for path in paths] == ["run-1.jsonl.gz", "run-1.2.jsonl.gz", "run-1.3.jsonl.gz"]
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_record_is_read_interval_by_interval(intact: Tape) -> None:
    """A stream gives what `load` gives, and knows the end once it is there."""
    stream = RecordStream(intact.path)
    assert not stream.is_complete
    assert list(stream.intervals()) == load(intact.path).intervals
    assert stream.is_complete


@pytest.fixture
def limit() -> Iterator[Callable[[int | None], None]]:
    """Give what limits the size of files this process writes; the limit goes with the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def to(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield to
    to(None)


def test_a_full_disk_costs_nothing_once_there_is_room(tmp_path: Path, limit: Callable[[int | None], None]) -> None:
    """What could not be written is written later, and what happened meanwhile is in one long interval."""
    tape = Tape(tmp_path, Aggregate(slow_s=5.0, max_names=10))
    record(tape.aggregate, HOME, [1, 2, 3])
    tape.interval(1.0)
    limit(tape.sizes[-1] + 10)
    record(tape.aggregate, HOME, [4, 5])
    with pytest.raises(OSError, match="too large"):
        tape.interval(2.0)
    assert tape.writer.is_behind
    assert tape.path.stat().st_size == tape.sizes[-1] + 10
    assert len(load(tape.path).intervals) == 1
    with pytest.raises(OSError, match="too large"):
        tape.writer.retry()
    limit(None)
    tape.writer.retry()
    record(tape.aggregate, HOME, [6])
    tape.interval(5.0)
    tape.end()
    read = load(tape.path)
    assert read.is_complete
    assert [interval.end_s for interval in read.intervals] == [1.0, 2.0, 5.0]
    assert facts(read.requests()) == facts(tape.aggregate.snapshot())


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    """What was written before the folder was removed is in the new file too."""
    folder = tmp_path / "runs"
    tape = Tape(folder, Aggregate(slow_s=5.0, max_names=10))
    record(tape.aggregate, HOME, [1])
    tape.interval(1.0)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    record(tape.aggregate, HOME, [2])
    with pytest.raises(OSError, match="exists"):
        tape.interval(2.0)
    folder.unlink()
    tape.writer.retry()
    record(tape.aggregate, FAILED, [2])
    tape.interval(3.0)
    tape.end()
    assert facts(load(tape.path).requests()) == facts(tape.aggregate.snapshot())
    assert len(load(tape.path).intervals) == 3


def test_a_record_that_is_finished_holds_no_file(tmp_path: Path) -> None:
    """The file is closed at the end."""
    before = len(os.listdir("/proc/self/fd"))
    small(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


KEYS = st.builds(
    SeriesKey,
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/", "/a", "/b"]),
    st.sampled_from(["", "Shopper"]),
    st.sampled_from(["success", "failure"]),
)
TIMES = st.lists(st.one_of(st.floats(0, 1e6), st.integers(0, 700_000), st.just(-1)), max_size=5)
SECONDS = st.lists(st.lists(st.tuples(KEYS, TIMES), max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(SECONDS, st.integers(0, 6))
def test_spans_add_up(tmp_path_factory: pytest.TempPathFactory, seconds: list[Any], cut: int) -> None:
    """Whatever was requested when, the whole record is the whole run, and two spans side by side hold it too."""
    tape = Tape(tmp_path_factory.mktemp("tape"), Aggregate(slow_s=2.0, max_names=10, thresholds_s=(0.3,)))
    for number, requests in enumerate(seconds, 1):
        for key, times in requests:
            record(tape.aggregate, key, times, 3)
        tape.interval(float(number))
    tape.end()
    read: Record = load(tape.path)
    expected = tape.aggregate.snapshot()
    assert facts(read.requests()) == facts(expected)
    both = added(read.requests(end_s=cut), read.requests(start_s=cut))
    assert both == {key: (*fact[:3], fact[4]) for key, fact in facts(expected).items()}
