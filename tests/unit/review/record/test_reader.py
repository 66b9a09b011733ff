"""Tests of the reader of run records: a file that was cut off is read up to there, a damaged file is refused."""

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
    """Return the sums of two spans by series, without the durations."""
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
    """Return a complete small record."""
    return small(tmp_path_factory.mktemp("record"))


def test_truncated_at_every_byte(intact: Tape, tmp_path: Path) -> None:
    """A file that was cut off at any byte is read up to its last flush, and is not complete."""
    data, whole = intact.path.read_bytes(), load(intact.path)
    path = tmp_path / "cut.jsonl.gz"
    assert whole.is_complete
    assert len(whole.intervals) == 4
    for size in range(len(data)):
        path.write_bytes(data[:size])
        flushed = sum(size >= end for end in intact.sizes)
        try:
            read = load(path)
        except RecordError as error:
            assert (error.slug, flushed) == ("record-empty", 0)  # noqa: PT017  # the first line may be there before
            continue
        assert not read.is_complete
        assert read.intervals == whole.intervals[: len(read.intervals)]
        assert len(read.intervals) >= flushed - 1
        assert read.run_id == whole.run_id


def test_damage_is_found(intact: Tape, tmp_path: Path) -> None:
    """A changed byte is an error of the record, or changes nothing."""
    data, whole = intact.path.read_bytes(), load(intact.path)
    path = tmp_path / "damaged.jsonl.gz"
    errors = 0
    places = range(0, len(data), 3)
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        try:
            read = load(path)
        except LocustOtelError as error:
            assert str(path) in str(error)  # noqa: PT017  # not for each byte
            errors += 1
        else:
            assert read.intervals == whole.intervals
            assert place < 10 or not read.is_complete  # the header of gzip
    assert errors > 0.9 * len(places)


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
    """A file that is not a record is refused."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=slug):
        load(path)


def test_more_after_the_end_is_refused(intact: Tape, tmp_path: Path) -> None:
    """A file with two records, or with other bytes after a record, is refused."""
    path = tmp_path / "two"
    for more, slug in ((intact.path.read_bytes(), "record-rubbish"), (b"more", "record-damaged")):
        path.write_bytes(intact.path.read_bytes() + more)
        with pytest.raises(RecordError, match=slug):
            load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file, and a folder, are errors with their name."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(RecordError, match=rf"^{path}: .*\(record-unreadable\)"):
            load(path)


def test_a_record_is_read_interval_by_interval(intact: Tape) -> None:
    """A stream has the intervals of `load`, and is complete after the last one."""
    stream = RecordStream(intact.path)
    assert not stream.record.is_complete
    assert list(stream.intervals()) == load(intact.path).intervals
    assert stream.record.is_complete


PARTS = (["GET", "POST"], ["/", "/a", "/b"], ["", "Shopper"], ["success", "failure"])
KEYS = st.builds(SeriesKey, *map(st.sampled_from, PARTS))
TIMES = st.lists(st.one_of(st.floats(0, 1e6), st.integers(0, 700_000), st.just(-1)), max_size=5)
SECONDS = st.lists(st.lists(st.tuples(KEYS, TIMES), max_size=4), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(SECONDS, st.integers(0, 6))
def test_spans_add_up(tmp_path_factory: pytest.TempPathFactory, seconds: list[Any], cut: int) -> None:
    """The whole record has the requests of the whole run, and so have two adjacent spans together."""
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
    """Gzip members that begin at any line, and chunks of any size, are read as one record."""
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
