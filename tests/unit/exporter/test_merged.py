"""Tests of the requests of a run: the sum of the last reports of all sources."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.cardinality import MAX_ERROR_TYPES, Names
from locust_otel.core.catalogue import OTHER
from locust_otel.core.exposition import TextExposition
from locust_otel.core.families import families
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import ErrorKey, Exemplar, RequestsSnapshot, SeriesKey
from locust_otel.exporter.merged import Merged
from locust_otel.wire.report import Piece, ReportError, SeriesReport, decode, encode, fingerprint
from tests.unit.factories import SPAN_ID, TRACE_ID, Load, record, rich_load, snapshot, totals

KEY = SeriesKey("GET", "/", "Shopper", "success")
LAYOUT = layout([5.0])


def empty(max_names: int = 200) -> Merged:
    """Return a run without requests."""
    return Merged(LAYOUT, 5.0, Names(max_names))


def series(
    name: str = "/", counts: dict[int, int] | None = None, *, unmeasured: int = 0, sum_s: float = 0.0,
    body_bytes: int = 0, outcome: str = "success", exemplars: dict[int, Exemplar] | None = None,
) -> SeriesReport:  # fmt: skip
    """Return the report of a series."""
    key = KEY._replace(name=name, outcome=outcome)
    return SeriesReport(key, unmeasured, sum_s, body_bytes, counts or {}, exemplars or {})


def piece(*reports: SeriesReport, errors: Any = (), user_errors: Any = (), layout_: int = fingerprint(LAYOUT)) -> Piece:
    """Return a piece of a report."""
    return Piece("run-1", layout_, reports, tuple(errors), tuple(user_errors), None)


def numbers(requests: RequestsSnapshot) -> dict[str, Any]:
    """Return all merged numbers."""
    return {
        "series": {
            s.key: (dict(s.counts), s.measured, s.unmeasured, s.body_bytes, s.sum_s, dict(s.exemplars))
            for s in requests.series
        },
        "errors": dict(requests.errors),
        "user_errors": dict(requests.user_errors),
    }


def only(merged: Merged) -> Any:
    """Return the only series."""
    (only_series,) = merged.snapshot().series
    return only_series


def test_sources_add_up() -> None:
    """Each bucket, sum and error is the sum of the last reports of all sources."""
    merged = empty()
    for source in ("host_1", "host_2"):
        for last in (1, 3):
            merged.merge(source, piece(
                series(counts={7: last, 9: 1}, unmeasured=last, sum_s=last / 2, body_bytes=10 * last),
                errors=[(ErrorKey("GET", "/", "500"), last)], user_errors=[(("Shopper", "KeyError"), last)],
            ))  # fmt: skip
    total = only(merged)
    assert (total.counts[7], total.counts[9], total.measured, total.unmeasured) == (6, 2, 8, 6)
    assert (total.sum_s, total.body_bytes) == (3.0, 60)
    assert merged.snapshot().errors == {ErrorKey("GET", "/", "500"): 6}
    assert merged.snapshot().user_errors == {("Shopper", "KeyError"): 6}
    assert merged.total == merged.snapshot().total == 14


def test_the_same_piece_twice_and_late_ones() -> None:
    """A repeated or late piece changes nothing; a bucket that is not reported keeps its count."""
    older = piece(series(counts={7: 2}, sum_s=1.0, body_bytes=10), errors=[(ErrorKey("GET", "/", "500"), 1)])
    newer = piece(series(counts={7: 3, 8: 1}, sum_s=2.0, body_bytes=20), errors=[(ErrorKey("GET", "/", "500"), 2)])
    other = piece(series(counts={9: 1}, sum_s=2.5, body_bytes=25))
    merged = empty()
    for report in (older, newer, other):
        merged.merge("host_1", report)
    expected = numbers(merged.snapshot())
    for report in (older, newer, other, older):
        merged.merge("host_1", report)
    assert numbers(merged.snapshot()) == expected
    assert (merged.total, only(merged).sum_s, only(merged).body_bytes) == (5, 2.5, 25)
    assert merged.snapshot().errors == {ErrorKey("GET", "/", "500"): 2}


def test_sums_never_fall() -> None:
    """A sum never falls, not even by a rounding error: Prometheus would take that for a reset."""
    rng = random.Random(1)
    merged, last = empty(), 0.0
    sums = {f"host_{n}": 0.0 for n in range(3)}
    for _ in range(1_000):
        source = rng.choice(list(sums))
        sums[source] += rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
        merged.merge(source, piece(series(counts={7: 1}, sum_s=sums[source])))
        assert only(merged).sum_s >= last
        last = only(merged).sum_s
    assert last == pytest.approx(math.fsum(sums.values()))


@pytest.mark.parametrize("bad", [piece(series(), layout_=7), piece(series(counts={7: 1}), series("/a", {10**9: 1}))])
def test_other_bounds_are_refused(bad: Piece) -> None:
    """A piece with other bounds, or with unknown buckets, is refused completely."""
    merged = empty()
    with pytest.raises(ReportError):
        merged.merge("host_1", bad)
    assert numbers(merged.snapshot()) == {"series": {}, "errors": {}, "user_errors": {}}
    assert merged.names.all == frozenset()


def test_the_last_bucket() -> None:
    """There is exactly one bucket above the last bound."""
    merged, last = empty(), len(LAYOUT.bounds)
    merged.merge("host_1", piece(series(counts={last: 2})))
    assert only(merged).counts[last] == 2
    with pytest.raises(ReportError):
        merged.merge("host_1", piece(series(counts={last + 1: 2})))


# ---------------------------------------------------------------------------------------------------------- snapshot


def test_a_snapshot_does_not_change() -> None:
    """A snapshot keeps its numbers after later requests."""
    load = rich_load()
    snapshot_ = load.snapshot()
    taken = numbers(snapshot_)
    record(load, KEY, [1, 2, 3])
    load.of(KEY).exemplars[0] = Exemplar(0.01, TRACE_ID, SPAN_ID, 1.0)
    record(load, KEY, [1])
    load.count_error("GET", "/", "500")
    load.count_user_error("Shopper", "KeyError")
    assert numbers(load.snapshot()) != taken
    assert numbers(snapshot_) == taken


def test_an_unchanged_series_is_the_same_object() -> None:
    """Two snapshots share the unchanged series, so that outputs need not compare them."""
    load = Load()
    for name in ("/a", "/b"):
        record(load, KEY._replace(name=name), [10])
    first = load.snapshot()
    assert all(one is other for one, other in zip(first.series, load.snapshot().series, strict=True))
    record(load, KEY._replace(name="/b"), [20])
    second = load.snapshot()
    assert second.series[0] is first.series[0]
    assert second.series[1] is not first.series[1]
    assert (first.series[1].total, second.series[1].total) == (1, 2)


# ------------------------------------------------------------------------------------------------------------- names


def test_names_fold() -> None:
    """Requests and errors of names beyond the limit are counted together, and none is lost."""
    merged = empty(max_names=2)
    for number, name in enumerate(("/a", "/b", "/c", "/d")):
        report = piece(series(name, {7: 10**number}), errors=[(ErrorKey("GET", name, "500"), 10**number)])
        assert merged.merge("host_1", report) == (name == "/c")  # the source gets the names once
    assert totals(merged.snapshot()) == {
        ("GET", "/a", "Shopper", "success"): 1, ("GET", "/b", "Shopper", "success"): 10,
        ("GET", OTHER, "Shopper", "success"): 1100,
    }  # fmt: skip
    assert {key.name: number for key, number in merged.snapshot().errors.items()} == {"/a": 1, "/b": 10, OTHER: 1100}
    assert merged.folded == 1100
    assert merged.merge("host_2", piece(series("/a", {7: 1}))) is False
    assert merged.merge("host_2", piece(series(OTHER, {7: 1}))) is False
    assert merged.merge("host_2", piece(series("/e", {7: 1}))) is True
    assert merged.folded == 1102


def test_a_folded_series_is_cumulative() -> None:
    """Of several series of a source in one folded series, each replaces only its own last numbers."""
    merged = empty(max_names=1)
    merged.merge("host_1", piece(*(series(name, {7: 1}) for name in ("/a", "/b", "/c"))))
    for _ in range(3):
        merged.merge("host_1", piece(series("/b", {7: 3})))
    assert totals(merged.snapshot()) == {
        ("GET", "/a", "Shopper", "success"): 1, ("GET", OTHER, "Shopper", "success"): 4,
    }  # fmt: skip


def test_error_types_are_bounded() -> None:
    """Sources with different error types share the limit, and no failure is lost."""
    merged = empty()
    for source in ("host_1", "host_2"):
        errors = [(ErrorKey("GET", "/", f"{source} {n}"), 1) for n in range(MAX_ERROR_TYPES)]
        merged.merge(source, piece(errors=errors, user_errors=[(("Shopper", f"{source} x"), 2)]))
    requests = merged.snapshot()
    assert len(requests.errors) == MAX_ERROR_TYPES + 1
    assert sum(requests.errors.values()) == 2 * MAX_ERROR_TYPES
    assert requests.user_errors == {("Shopper", OTHER): 4}


# --------------------------------------------------------------------------------------------------------- exemplars


@pytest.mark.parametrize("is_reversed", [False, True])
def test_the_newest_exemplar_wins(is_reversed: bool) -> None:
    """Of two exemplars of a bucket the newer one is kept, in any order of arrival."""
    old, new = Exemplar(0.010, TRACE_ID, SPAN_ID, 100.0), Exemplar(0.009, "a" * 32, "b" * 16, 200.5)
    merged = empty()
    for number, exemplar in enumerate((new, old) if is_reversed else (old, new)):
        merged.merge(f"host_{number}", piece(series(counts={7: 1}, exemplars={1: exemplar})))
    assert only(merged).exemplars == {1: new}


def test_exemplars_of_no_bucket() -> None:
    """An exemplar of an unknown bucket is left out, and its request is counted."""
    merged, exemplar = empty(), Exemplar(0.01, TRACE_ID, SPAN_ID, 1.0)
    last = len(LAYOUT.classic_bounds)
    merged.merge("host_1", piece(series(counts={7: 1}, exemplars={last: exemplar, last + 1: exemplar})))
    assert only(merged).exemplars == {last: exemplar}
    b"".join(TextExposition(is_openmetrics=True).render(families(snapshot_of(merged))))


def snapshot_of(merged: Merged) -> Any:
    """Return a snapshot of a run with these requests."""
    load = Load()
    load.merged = merged
    return snapshot(load)


# --------------------------------------------------------------------------------------------------------- successor

COUNTS = st.dictionaries(st.integers(0, 300), st.integers(1, 99))
STEP = st.tuples(
    st.integers(0, 2), st.sampled_from(["/", "/a", "/b", "/c"]), COUNTS, st.floats(0, 100), st.integers(0, 99),
    st.booleans(),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_a_successor(steps: list[tuple[Any, ...]]) -> None:
    """After any number of restarts the numbers are those of an exporter without a restart."""
    steady, replaced = empty(max_names=2), empty(max_names=2)
    for number, name, counts, sum_s, count, is_saved in steps:
        report = encode("run-1", fingerprint(LAYOUT), [
            ("GET", name, "Shopper", 0, count, sum_s, count, [x for i in sorted(counts) for x in (1, counts[i])], {}),
        ], [[["GET", name, str(count % 7)], count]], [[["Shopper", str(count % 5)], count]])  # fmt: skip
        results = {merged.merge(f"host_{number}", decode(report)) for merged in (steady, replaced)}
        assert len(results) == 1
        if is_saved:
            replaced.snapshot()
            replaced = pickle.loads(pickle.dumps(replaced))  # noqa: S301  # our own
    assert numbers(replaced.snapshot()) == numbers(steady.snapshot())
    assert (replaced.total, replaced.folded) == (steady.total, steady.folded)


def test_a_successor_shares_nothing() -> None:
    """New requests of a successor do not change an earlier snapshot, or the process before."""
    merged = empty()
    merged.merge("host_1", piece(series(counts={7: 1})))
    merged.snapshot()
    copy: Merged = pickle.loads(pickle.dumps(merged))  # noqa: S301  # our own
    taken = copy.snapshot()
    copy.merge("host_1", piece(series(counts={7: 5})))
    assert (taken.total, copy.snapshot().total, merged.snapshot().total) == (1, 5, 1)
