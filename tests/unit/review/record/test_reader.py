"""Tests of the reader of run records: whatever happened to a file, it is read as far as it goes, or refused."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.errors import LocustOtelError
from locust_otel.core.snapshot import RequestsSnapshot, SeriesKey
from locust_otel.review.record.reader import Record, RecordStream, load
from locust_otel.wire.record import RecordError
from tests.unit.factories import Load, record
from tests.unit.tapes import Tape, facts, small


def added(first: RequestsSnapshot, second: RequestsSnapshot) -> dict[SeriesKey, tuple[Any, ...]]:
    """Return what two spans hold together, without the sums of durations."""
    result: dict[SeriesKey, tuple[Any, ...]] = {}
    for s in (*first.series, *second.series):
        counts, *numbers = result.get(s.key, (Counter(), 0, 0, 0))
        result[s.key] = (
            counts + Counter(s.counts),
            *(a + b for a, b in zip(numbers, (s.measured, s.unmeasured, s.body_bytes), strict=True)),
        )
    return result


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """Give a complete small record."""
    return small(tmp_path_factory.mktemp("record"))


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
    """Two records in one file are none, and neither is one with other bytes behind it."""
    path = tmp_path / "two"
    for more, slug in ((intact.path.read_bytes(), "record-rubbish"), (b"more", "record-damaged")):
        path.write_bytes(intact.path.read_bytes() + more)
        with pytest.raises(RecordError, match=slug):
            load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file, and a folder, are told of by name."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(RecordError, match="record-unreadable"):
            load(path)


def test_a_record_is_read_interval_by_interval(intact: Tape) -> None:
    """A stream gives what `load` gives, and knows the end once it is there."""
    stream = RecordStream(intact.path)
    assert not stream.record.is_complete
    assert list(stream.intervals()) == load(intact.path).intervals
    assert stream.record.is_complete


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
    tape = Tape(tmp_path_factory.mktemp("tape"), Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,)))
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


def test_gzip_members_are_one_record(intact: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever one process has taken over from another, and whatever is read at once, it is one record."""
    lines = gzip.decompress(intact.path.read_bytes()).splitlines(keepends=True)
    path, whole = tmp_path / "members", load(intact.path)
    for place in range(1, len(lines)):
        parts = [b"".join(lines[:place]), b"", b"".join(lines[place:])]
        path.write_bytes(b"".join(map(gzip.compress, parts)))
        assert load(path) == whole
        path.write_bytes(b"".join(map(gzip.compress, parts[:2])))
        cut = load(path)
        assert not cut.is_complete
        assert cut.intervals == whole.intervals[: len(cut.intervals)]
    path.write_bytes(b"".join(map(gzip.compress, lines)))
    for size in (1, 7):
        monkeypatch.setattr("locust_otel.review.record.reader._CHUNK", size)
        assert load(path) == whole
