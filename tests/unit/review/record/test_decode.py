"""Tests of the decoder of records: each violation of the format is an error with its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.errors import LocustOtelError
from locust_otel.review.record.reader import load
from locust_otel.wire.record import Mark, RecordedEvent, RecordError
from tests.unit.factories import record, rich_load, worker
from tests.unit.spoiling import changed, paths
from tests.unit.tapes import HOME, Tape, lines, packed, small


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """Return a complete small record."""
    return small(tmp_path_factory.mktemp("record"))


def _changed(place: int = 0, /, **changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Return a function that changes an interval, by default the first."""

    def change(entries: list[dict[str, Any]]) -> None:
        [entry for entry in entries if entry["type"] == "interval"][place].update(changes)

    return change


def _first(**changes: Any) -> Callable[[list[dict[str, Any]]], None]:
    """Return a function that changes the first line."""

    def change(entries: list[dict[str, Any]]) -> None:
        entries[0].update(changes)

    return change


RUBBISH: dict[str, tuple[Callable[[list[dict[str, Any]]], None], str]] = {
    "a later version": (_first(version=3), "record-version"),
    "no version": (_first(version=None), "record-version"),
    "another format": (_first(format="other"), "record-format"),
    "no first line": (lambda entries: entries.reverse(), "record-format"),
    "other edges": (_first(bounds=[0.0, 1.0]), "record-rubbish"),
    "no start": (_first(start_time=None), "record-rubbish"),
    "an unknown type": (lambda entries: entries.insert(1, {"type": "?"}), "record-rubbish"),
    "no type": (lambda entries: entries.insert(1, {"a": 1}), "record-rubbish"),
    "a line after the end": (lambda entries: entries.append({"type": "warm", "at": 1}), "record-rubbish"),
    "an unknown series": (_changed(series=[[7, 0, 1.0, 0, [5, 1]]]), "record-rubbish"),
    "a series twice": (_changed(series=[[0, 0, 1.0, 0, 5, 1], [0, 0, 1.0, 0, [5, 1]]]), "record-rubbish"),
    "a bucket beyond": (_changed(series=[[0, 0, 1.0, 0, [999, 1]]]), "record-rubbish"),
    "a count below zero": (_changed(series=[[0, 0, 1.0, 0, [5, -1]]]), "record-rubbish"),
    "half a pair": (_changed(series=[[0, 0, 1.0, 0, [5]]]), "record-rubbish"),
    "a fraction as count": (_changed(series=[[0, 0, 1.0, 0, [5, 1.5]]]), "record-rubbish"),
    "a sum below zero": (_changed(series=[[0, 0, -1.0, 0, [5, 1]]]), "record-rubbish"),
    "an entry of version 1": (_changed(series=[[0, 0, 1.0, 0, 5, 1]]), "record-rubbish"),
    "a place below zero": (_changed(series=[[-1, 0, 1.0, 0, [5, 1]]]), "record-rubbish"),
    "true as place": (_changed(series=[[True, 0, 1.0, 0, [5, 1]]]), "record-rubbish"),
    "a count that falls": (_changed(2, series=[[0, 0, 9.0, 99, [111, 1], [28, 1]]]), "record-rubbish"),
    "a sum that falls": (_changed(2, series=[[0, 0, 0.25, 99, [200, 1]]]), "record-rubbish"),
    "bytes that fall": (_changed(2, series=[[0, 0, 9.0, 1, [200, 1]]]), "record-rubbish"),
    "errors that fall": (_changed(2, errors=[[0, 0]]), "record-rubbish"),
    "a time too large": (_changed(elapsed_s=10**400), "record-rubbish"),
    "a gap in time": (_changed(to=9.0), "record-rubbish"),
    "a state": (_changed(state="asleep"), "record-rubbish"),
    "an unknown error": (_changed(errors=[[3, 1]]), "record-rubbish"),
    "users": (_changed(users={"User": "many"}), "record-rubbish"),
    "a key that is missing": (lambda entries: entries[2].pop("users"), "record-rubbish"),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_violations_are_refused(intact: Tape, tmp_path: Path, name: str) -> None:
    """A violation of version 2 of the format is refused, with file and line."""
    change, slug = RUBBISH[name]
    entries = lines(intact.path)
    change(entries)
    path = packed(tmp_path / "changed.jsonl.gz", entries)
    with pytest.raises(RecordError) as caught:
        load(path)
    assert caught.value.slug == slug
    assert str(caught.value).startswith(f"{path}:")


def test_version_1_is_refused(intact: Tape, tmp_path: Path) -> None:
    """A record of version 1 is refused, and the error names the locust-otel that reads it."""
    entries = lines(intact.path)
    entries[0]["version"] = 1
    path = packed(tmp_path / "old.jsonl.gz", entries)
    with pytest.raises(RecordError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:1: this is of version 1; locust-otel 0.1 reads it. (record-version)"


def test_keys_of_later_additions_are_ignored(intact: Tape, tmp_path: Path) -> None:
    """An unknown key changes nothing."""
    entries = [{**entry, "new": [1]} for entry in lines(intact.path)]
    read = load(packed(tmp_path / "newer.jsonl.gz", entries))
    assert read.intervals == load(intact.path).intervals
    assert read.is_complete


def rich(folder: Path) -> Tape:
    """Return a record with each kind of line."""
    workers = (worker("host-0", lags_s=(0.001, 0.02)), worker("host-1", reasons=("lag",), cpu_ratio=None))
    tape = Tape(folder, rich_load(), workers=workers, worker_states={"running": 2}, workers_expected=2)
    event = RecordedEvent(0.75, "locust.run.start", "It starts", "INFO", {"n": 1})
    tape.interval(1.0, marks=(Mark(0.5, "latency", "fault"),), events=(event,))
    record(tape.aggregate, HOME, [33.3], 5)
    tape.interval(2.0)
    tape.end()
    return tape


ODD = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.integers(),
    st.sampled_from([0, -1, 1, 2**31, 2**48, 2**63, 2**64, 10**400, 1e308, -1e308, math.nan, math.inf, -math.inf, 0.5]),
    st.sampled_from([[], {}, [[]], [1, 2], [1, 2**63], [10**9, 1], [[0, 0, 1.0, 0, [1, True]]]]),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_line_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A record with one changed value is refused with its place, or all its numbers are still valid."""
    folder = tmp_path_factory.mktemp("hostile")
    entries = lines(rich(folder).path)
    way = data.draw(st.sampled_from([way for way in paths(entries, 20) if len(way) > 1]))
    path = packed(folder / "spoilt.jsonl.gz", changed(entries, way, data.draw(ODD)))
    try:
        read = load(path)
    except LocustOtelError as error:
        assert str(error).startswith(f"{path}:")  # noqa: PT017  # one of many
        return
    requests = read.requests()
    assert requests.total >= 0
    assert all(
        math.isfinite(series.sum_s) and min(series.counts.values(), default=0) >= 0 for series in requests.series
    )
    for interval in read.intervals:
        assert 0 <= interval.start_s < interval.end_s < math.inf
        for delta in interval.counts.values():
            assert delta.measured == sum(delta.counts.values()) >= 0
            assert min(delta.unmeasured, delta.body_bytes, delta.sum_s) >= 0
    for worker_snapshot in read.workers:
        assert min(worker_snapshot.lag_counts.values(), default=0) >= 0
        assert 0 <= worker_snapshot.lag_sum_s < math.inf
