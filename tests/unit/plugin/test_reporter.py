"""Tests of reports: pieces in any order add up to the recorded requests."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locust.stats import RequestStats

from locust_otel.core.cardinality import Names
from locust_otel.core.snapshot import ErrorKey, Exemplar, SeriesKey
from locust_otel.exporter.merged import Merged
from locust_otel.plugin.reporter import SERIES_PER_PIECE, Reporter
from locust_otel.plugin.series import Requests
from locust_otel.wire.report import Piece, decode
from tests.unit.factories import SPAN_ID, TRACE_ID, totals

KEY = SeriesKey("GET", "/", "Shopper", "success")
KEYS = [KEY._replace(name=name, outcome=outcome) for name in ("/", "/a", "/b") for outcome in ("success", "failure")]


def empty(max_names: int = 20_000) -> Requests:
    """Return no requests."""
    return Requests(slow_s=5.0, max_names=max_names)


def merged() -> Merged:
    """Return the numbers of an exporter that has received no report."""
    requests = empty()
    return Merged(requests.layout, requests.slow_s, Names(20_000))


def record(requests: Requests, *times_ms: float, key: SeriesKey = KEY, length: int = 0) -> None:
    """Record requests of one series, without counting them."""
    series = requests.of(key)
    for time_ms in times_ms:
        series.pending += (time_ms, length)
    requests.dirty[series] = None


def report(reporter: Reporter, requests: Requests) -> list[bytes]:
    """Count what is pending, and return a report."""
    requests.tally()
    return [*reporter.pieces(), reporter.last(None)]


def decoded(pieces: Iterable[bytes]) -> list[Piece]:
    """Return pieces as the exporter reads them."""
    return [decode(piece) for piece in pieces]


def merge(target: Merged, pieces: Iterable[bytes]) -> None:
    """Merge pieces as the exporter does."""
    for piece in decoded(pieces):
        target.merge("host-0", piece)


def names(pieces: list[bytes]) -> list[str]:
    """Return the names in pieces."""
    return [series.key.name for piece in decoded(pieces) for series in piece.series]


def assert_complete(target: Merged, requests: Requests) -> None:
    """Assert that the exporter has all numbers of the recorded requests."""
    snapshot = target.snapshot()
    assert {s.key: (dict(s.counts), s.unmeasured, s.body_bytes) for s in snapshot.series} == {
        key: (s.counts, s.unmeasured, s.body_bytes) for key, s in requests.series.items()
    }
    assert (snapshot.errors, snapshot.user_errors) == (requests.errors, requests.user_errors)
    assert math.fsum(s.sum_s for s in snapshot.series) == pytest.approx(requests.sum_s)
    assert snapshot.total == requests.total


STEP = st.one_of(
    st.tuples(st.just("request"), st.sampled_from(KEYS), st.integers(-1, 700_000), st.integers(0, 9)),
    st.tuples(st.just("unmeasured"), st.sampled_from(KEYS)),
    st.tuples(st.just("user error"), st.sampled_from(["KeyError", "OSError"])),
    st.tuples(st.sampled_from(["sent", "twice", "lost", "late", "reversed"])),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEP, max_size=60), st.integers(1, 3))
def test_complete_reports_what_was_recorded(steps: list[tuple[Any, ...]], ticks: int) -> None:
    """Earlier pieces may be lost, repeated, late or reversed; a second reporter without losses needs no `complete`."""
    requests = empty()
    lossy, careful = Reporter("run-1", requests), Reporter("run-1", requests)
    of_lossy, of_careful = merged(), merged()
    late: list[bytes] = []
    for action, *values in steps:
        if action == "request":
            key, time_ms, length = values
            record(requests, time_ms, key=key, length=length)
            if key.outcome == "failure":
                requests.count_error(key.method, key.name, "500" if time_ms % 2 else "Timeout")
        elif action == "unmeasured":
            requests.count_unmeasured(requests.of(values[0]), 3)
        elif action == "user error":
            requests.count_user_error("Shopper", values[0])
        else:
            merge(of_careful, report(careful, requests))
            lossy.heal(ticks)
            pieces = report(lossy, requests)
            if action == "lost":
                late += pieces
            chosen = {"sent": pieces, "twice": pieces * 2, "late": late, "reversed": pieces[::-1]}
            merge(of_lossy, chosen.get(action, []))
    merge(of_lossy, [*lossy.complete(), lossy.last(None)])
    merge(of_careful, report(careful, requests))
    assert_complete(of_lossy, requests)
    assert_complete(of_careful, requests)


def test_only_changes() -> None:
    """A report contains the series, buckets and errors that have changed since the report before."""
    requests = empty()
    reporter = Reporter("run-1", requests)
    for number in range(100):
        record(requests, 10, 20, 30, key=KEY._replace(name=f"/{number}"))
        requests.count_error("GET", f"/{number}", "500")
    first = decoded(report(reporter, requests))
    assert len({series.key for piece in first for series in piece.series}) == len(first[-1].errors) == 100
    record(requests, 20, key=KEY._replace(name="/33"))
    requests.count_error("GET", "/33", "500")
    piece, last = decoded(report(reporter, requests))
    (series,) = piece.series
    assert (series.key.name, sorted(series.counts.values())) == ("/33", [2])
    assert last.errors == ((ErrorKey("GET", "/33", "500"), 2),)
    (last,) = decoded(report(reporter, requests))
    assert (last.series, last.errors, last.run_id) == ((), (), "run-1")


@pytest.mark.parametrize("buckets", [1, 50])
def test_a_piece_is_small(buckets: int) -> None:
    """A piece has a limited number of series, and fewer if they have many buckets."""
    requests = empty()
    reporter = Reporter("run-1", requests)
    for number in range(500):
        record(requests, *(1.2**n for n in range(buckets)), key=KEY._replace(name=f"/{number}"))
    pieces = report(reporter, requests)
    assert sorted(names(pieces)) == sorted(f"/{number}" for number in range(500))
    sizes = [len(piece.series) for piece in decoded(pieces)]
    assert max(sizes) <= (SERIES_PER_PIECE if buckets == 1 else SERIES_PER_PIECE / 5)
    assert max(map(len, pieces)) < 8_000


def test_requests_during_a_report() -> None:
    """They are part of this report or of the next one."""
    requests = empty()
    reporter = Reporter("run-1", requests)
    for number in range(2 * SERIES_PER_PIECE):
        record(requests, 10, key=KEY._replace(name=f"/{number}"))
    requests.tally()
    pieces = []
    for piece in reporter.pieces():
        pieces.append(piece)
        record(requests, 20, key=KEY._replace(name="/0"))
        record(requests, 20, key=KEY._replace(name="/new"))
        requests.tally()
        if len(pieces) == 5:
            break
    target = merged()
    merge(target, [*pieces, *report(reporter, requests)])
    assert_complete(target, requests)


def test_a_lost_report_heals() -> None:
    """Series and errors of a lost report are repeated within so many calls, a part in each."""
    requests = empty()
    reporter = Reporter("run-1", requests)
    for number in range(100):
        record(requests, 10, key=KEY._replace(name=f"/{number}"))
        requests.count_error("GET", f"/{number}", "500")
    report(reporter, requests)  # lost
    target, sizes = merged(), []
    for _ in range(10):
        reporter.heal(10)
        pieces = report(reporter, requests)
        sizes.append(len(names(pieces)))
        merge(target, pieces)
    assert sum(sizes) == 100
    assert max(sizes) == 20
    assert_complete(target, requests)


def test_healing_without_series() -> None:
    """Before the first request there is nothing to repeat; later requests are repeated."""
    requests = empty()
    reporter = Reporter("run-1", requests)
    reporter.heal(10)
    record(requests, 10)
    report(reporter, requests)  # lost
    reporter.heal(10)
    assert names(report(reporter, requests)) == ["/"]


def test_memory_while_the_exporter_does_not_read() -> None:
    """The list of changes is limited by the number of buckets."""
    requests = empty()
    reporter = Reporter("run-1", requests)
    for _ in range(100):
        record(requests, *range(0, 2_000, 20))
        requests.tally()
    assert len(reporter._touched[requests.of(KEY)]) < 600
    target = merged()
    merge(target, report(reporter, requests))
    assert_complete(target, requests)


def test_exemplars_are_reported_once() -> None:
    """Each is part of the next report only."""
    requests = empty()
    reporter = Reporter("run-1", requests)
    exemplar = Exemplar(0.01, TRACE_ID, SPAN_ID, 1_764_000_000.5)
    record(requests, 10)
    requests.of(KEY).exemplars[1] = exemplar
    first, _ = decoded(report(reporter, requests))
    assert first.series[0].exemplars == {1: exemplar}
    record(requests, 10)
    second, _ = decoded(report(reporter, requests))
    assert second.series[0].exemplars == {}


def test_huge_body_lengths() -> None:
    """No body length makes a number too large for msgpack or for the exporter."""
    requests, target = empty(), merged()
    reporter = Reporter("run-1", requests)
    series = requests.of(KEY)
    series.pending += [10, 1e300, 10, 2**63, 10, 2**63]
    requests.dirty[series] = None
    merge(target, report(reporter, requests))
    assert totals(target.snapshot()) == {tuple(KEY): 3}


def test_size_is_a_part_of_locusts_own_report() -> None:
    """For 1,500 requests to 100 names, our part of a worker's report has at most 0.3 times the bytes of Locust's."""
    rng = random.Random(1)
    requests, stats = empty(), RequestStats()
    reporter = Reporter("2026-11-22T07-17-03Z-3f9a", requests)
    for _ in range(3):
        for number in range(1_500):
            name = f"/api/items/{number % 100}"
            time_ms: Any = min(rng.lognormvariate(4.5, 0.6), 60_000)
            stats.log_request("GET", name, time_ms, rng.randint(200, 5_000))
            record(requests, time_ms, key=KEY._replace(name=name), length=rng.randint(200, 5_000))
        of_locust = {
            "stats": stats.serialize_stats(),
            "stats_total": stats.total.get_stripped_report(),
            "errors": stats.serialize_errors(),
        }
        assert 0 < len(msgpack.packb(report(reporter, requests))) <= 0.3 * len(msgpack.packb(of_locust))
