"""Tests of worker and master: what is merged equals what one process would have recorded alone."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locust.rpc.protocol import Message
from locust.stats import RequestStats

from locust_otel.core.catalogue import OTHER
from locust_otel.core.exposition import TextExposition
from locust_otel.core.families import families
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import ErrorKey, Exemplar, RequestsSnapshot, SeriesKey
from locust_otel.plugin.series import Aggregate
from locust_otel.wire.report import MergedRun, Reporter, ReportError, decode_counts, fingerprint, sparse
from tests.unit.factories import SPAN_ID, TRACE_ID, record, snapshot, totals

KEY = SeriesKey("GET", "/", "Shopper", "success")
RUN = "run-1"
LAYOUT = fingerprint(layout([5.0]))


def aggregate(max_names: int = 200) -> Aggregate:
    """Return an empty aggregate."""
    return Aggregate(slow_s=5.0, max_names=max_names)


def merged(max_names: int = 200) -> MergedRun:
    """Return a run of the master that nobody has reported to."""
    return MergedRun(RUN, aggregate(max_names))


def sent(report: Any) -> Any:
    """Return what comes out at the other end of Locust's wire."""
    return Message.unserialize(Message("stats", report, "host_1").serialize()).data


class Worker:
    """A worker: an aggregate and its reporter."""

    def __init__(self, client_id: str = "host_1", max_names: int = 200, run_id: str = RUN) -> None:
        self.client_id = client_id
        self.aggregate = aggregate(max_names)
        self.reporter = Reporter()
        self.reporter.start(run_id, self.aggregate)

    def report(self) -> dict[str, Any]:
        """Return the report of the current run, as it arrives."""
        report: dict[str, Any] = sent(self.reporter.report())[-1]
        return report

    def report_to(self, master: MergedRun) -> bool:
        """Report, and return whether the master wants to tell names."""
        return master.merge(self.client_id, self.report())


def numbers(requests: RequestsSnapshot) -> dict[tuple[str, ...], tuple[object, ...]]:
    """Return all that is whole numbers, by series; series of nothing left out."""
    return {
        tuple(s.key): (list(s.counts), s.unmeasured, s.body_bytes) for s in requests.series if s.total or s.body_bytes
    }


def errors(requests: RequestsSnapshot) -> tuple[dict[ErrorKey, int], dict[tuple[str, str], int]]:
    """Return the errors that happened."""
    return {k: n for k, n in requests.errors.items() if n}, {k: n for k, n in requests.user_errors.items() if n}


# ---------------------------------------------------------------------------------------------------------- the sum

_KEYS = [
    SeriesKey(m, n, u, o)
    for m in ("GET", "POST")
    for n in ("/", "/a")
    for u in ("A", "")
    for o in ("success", "failure")
]
_STEP = st.one_of(
    st.tuples(
        st.just("request"), st.integers(0, 2), st.sampled_from(_KEYS), st.integers(-1, 700_000), st.integers(0, 9)
    ),
    st.tuples(st.just("user_error"), st.integers(0, 2), st.sampled_from(["KeyError", "OSError"])),
    st.tuples(st.sampled_from(["report", "lost", "twice", "late"]), st.integers(0, 2)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEP, max_size=60))
def test_merged_equals_recorded_at_once(steps: list[tuple[Any, ...]]) -> None:
    """However requests are split over workers and reports, lost and repeated ones too, all are counted exactly once."""
    workers = [Worker(f"host_{n}") for n in range(3)]
    master, alone = merged(), aggregate()
    late: dict[int, dict[str, Any]] = {}
    for what, number, *values in steps:
        worker = workers[number]
        if what == "request":
            key, time_ms, length = values
            for target in (worker.aggregate, alone):
                record(target, key, [time_ms], length)
                if key.outcome == "failure":
                    target.count_error(key.method, key.name, "500" if time_ms % 2 else "Timeout")
        elif what == "user_error":
            for target in (worker.aggregate, alone):
                target.count_user_error("A", values[0])
        elif what == "lost":
            late[number] = worker.report()
        elif what == "late" and number in late:
            master.merge(worker.client_id, late[number])
        else:
            report = worker.report()
            for _ in range(2 if what == "twice" else 1):
                master.merge(worker.client_id, report)
    for worker in workers:
        for _ in range(10):
            worker.report_to(master)
    found, expected = master.aggregate.snapshot(), alone.snapshot()
    assert numbers(found) == numbers(expected)
    assert errors(found) == errors(expected)
    assert math.fsum(s.sum_s for s in found.series) == pytest.approx(math.fsum(s.sum_s for s in expected.series))


def test_the_same_report_twice_counts_once() -> None:
    """A report that comes again, now or later, changes nothing."""
    worker, master = Worker(), merged()
    record(worker.aggregate, KEY, [10, 20])
    worker.aggregate.count_error("GET", "/", "500", 3)
    worker.aggregate.count_user_error("Shopper", "KeyError", 2)
    report = worker.report()
    master.merge("host_1", report)
    before = (numbers(master.aggregate.snapshot()), errors(master.aggregate.snapshot()))
    for _ in range(3):
        master.merge("host_1", copy.deepcopy(report))
    assert (numbers(master.aggregate.snapshot()), errors(master.aggregate.snapshot())) == before
    assert master.aggregate.total() == 2


def test_an_older_report_that_comes_late_does_no_harm() -> None:
    """Reports that overtake each other do not take counts back."""
    worker, master = Worker(), merged()
    record(worker.aggregate, KEY, [10])
    older = worker.report()
    record(worker.aggregate, KEY, [20, 30])
    newer = worker.report()
    assert master.merge("host_1", newer) is False
    assert master.merge("host_1", older) is False
    assert master.aggregate.total() == 3


def test_a_lost_report_heals_within_ten() -> None:
    """Series that change no more, whose only report was lost, are there after ten more; and not all at once."""
    worker, master = Worker(), merged()
    for number in range(100):
        record(worker.aggregate, KEY._replace(name=f"/{number}"), [10])
        worker.aggregate.count_error("GET", f"/{number}", "500")
    worker.report()  # lost
    sizes = []
    for _ in range(10):
        report = worker.report()
        sizes.append((len(report["series"]), len(report["errors"])))
        master.merge("host_1", report)
    assert sizes == [(10, 10)] * 10
    assert master.aggregate.total() == 100
    assert sum(master.aggregate.errors.values()) == 100


def test_unchanged_series_are_left_out() -> None:
    """A report holds what changed since the one before, and a tenth of the rest."""
    worker = Worker()
    for number in range(100):
        record(worker.aggregate, KEY._replace(name=f"/{number}"), [10])
    assert len(worker.report()["series"]) == 100
    record(worker.aggregate, KEY._replace(name="/33"), [10])
    names = [entry[1] for entry in worker.report()["series"]]
    assert "/33" in names
    assert len(names) <= 11


def test_a_worker_that_left_stays_counted() -> None:
    """What a worker reported last stays, and the same machine under a new id adds to it."""
    master = merged()
    for client_id in ("host_1", "host_2"):
        worker = Worker(client_id)
        record(worker.aggregate, KEY, [10, 20, 30])
        worker.report_to(master)
    assert master.aggregate.total() == 6


def test_sums_never_decrease() -> None:
    """A histogram's sum is a counter: one that goes down by a rounding error is a reset to Prometheus."""
    rng = random.Random(1)
    master = merged()
    workers = [Worker(f"host_{n}") for n in range(3)]
    last = 0.0
    for _ in range(300):
        for worker in workers:
            if rng.random() < 0.3:
                record(worker.aggregate, KEY, [rng.uniform(1, 1000)])
            worker.report_to(master)
            (series,) = master.aggregate.snapshot().series or (None,)
            found = series.sum_s if series else 0.0
            assert found >= last
            last = found
    assert last == pytest.approx(math.fsum(w.aggregate.of(KEY).sum_s for w in workers))


# ------------------------------------------------------------------------------------------------------ run by run


def test_the_run_before_is_still_reported_after_a_restart() -> None:
    """The last requests of a run reach the master with the first reports of the next, twice, and whole."""
    worker, first, second = Worker(), merged(), MergedRun("run-2", aggregate())
    record(worker.aggregate, KEY, [10])
    worker.report_to(first)
    old = worker.aggregate
    new = aggregate()
    record(old, KEY, [20, 30])
    worker.reporter.start("run-2", new)
    record(new, KEY, [40])
    reports = [sent(worker.reporter.report()) for _ in range(4)]
    assert [[run["id"] for run in runs] for runs in reports] == [[RUN, "run-2"]] * 2 + [["run-2"]] * 2
    first.merge("host_1", reports[1][0])  # the farewell before it was lost
    second.merge("host_1", reports[1][1])
    assert first.aggregate.total() == 3
    for runs in reports[2:]:
        second.merge("host_1", runs[-1])
    for _ in range(10):
        second.merge("host_1", sent(worker.reporter.report())[-1])
    assert second.aggregate.total() == 1


def test_nothing_to_report_before_the_first_run() -> None:
    """A worker that has no run yet reports none."""
    assert Reporter().report() == []


# ----------------------------------------------------------------------------------------------------------- names


def test_names_fold_on_the_master() -> None:
    """Two workers with 150 names each and room for 200: exactly 200 have series, the rest one, and none is lost."""
    master = merged(max_names=200)
    workers = [Worker(f"host_{n}", max_names=1000) for n in range(2)]
    for number, worker in enumerate(workers):
        for name in range(150):
            record(worker.aggregate, KEY._replace(name=f"/{number}/{name}"), [10, 20])
            worker.aggregate.count_error("GET", f"/{number}/{name}", "500", 2)
    assert [worker.report_to(master) for worker in workers] == [False, True]
    assert [worker.report_to(master) for worker in workers] == [False, False]  # told once
    found = totals(master.aggregate.snapshot())
    assert len(found) == 201
    assert found["GET", OTHER, "Shopper", "success"] == 200
    assert master.aggregate.folded() == 200
    assert master.aggregate.total() == 600
    assert len(master.aggregate.names) == 200
    assert {key.name for key in master.aggregate.errors} == {name for _, name, _, _ in found}
    assert sum(master.aggregate.errors.values()) == 600

    names = sent([list(pair) for pair in master.aggregate.names])
    for worker in workers:
        worker.aggregate.admit_only((method, name) for method, name in names)
    for worker in workers:
        assert worker.aggregate.admitted("GET", "/0/7") == ("GET", "/0/7")
        assert worker.aggregate.admitted("GET", "/new") == ("GET", OTHER)
        record(worker.aggregate, KEY._replace(name=OTHER), [10])
        worker.report_to(master)
    assert master.aggregate.total() == 602
    assert len(totals(master.aggregate.snapshot())) == 201
    assert len(master.aggregate.names) == 200


def test_a_folded_series_is_cumulative() -> None:
    """Several series of a worker in one of the master's: each replaces its own last numbers only."""
    master = merged(max_names=1)
    worker = Worker(max_names=100)
    for name in ("/a", "/b", "/c"):
        record(worker.aggregate, KEY._replace(name=name), [10])
    worker.report_to(master)
    record(worker.aggregate, KEY._replace(name="/b"), [20, 30])
    for _ in range(11):
        worker.report_to(master)
    assert totals(master.aggregate.snapshot()) == {
        ("GET", "/a", "Shopper", "success"): 1,
        ("GET", OTHER, "Shopper", "success"): 4,
    }


# ------------------------------------------------------------------------------------------------------- exemplars


def test_the_newest_exemplar_wins() -> None:
    """Of two workers' exemplars of a bucket the newer stands, in whatever order they come."""
    old = Exemplar(0.010, TRACE_ID, SPAN_ID, 100.0)
    new = Exemplar(0.009, "a" * 32, "b" * 16, 200.5)
    for order in ((old, new), (new, old)):
        master = merged()
        for number, exemplar in enumerate(order):
            worker = Worker(f"host_{number}")
            record(worker.aggregate, KEY, [10])
            worker.aggregate.of(KEY).exemplars[1] = exemplar
            worker.report_to(master)
        (series,) = master.aggregate.snapshot().series
        assert series.exemplars == {1: new}


# ------------------------------------------------------------------------------------------------------- malformed

_GOOD = ["GET", "/", "Shopper", 0, 1, 1.5, 10, [3, 4], [[1, 0.01, TRACE_ID, SPAN_ID, 100.0]]]


def report_of(**changes: Any) -> dict[str, Any]:
    """Return a report with one good series, and then what is changed."""
    good: dict[str, Any] = {
        "id": RUN, "layout": LAYOUT, "series": [copy.deepcopy(_GOOD)],
        "errors": [["GET", "/", "500", 3]], "user_errors": [["Shopper", "KeyError", 2]],
    }  # fmt: skip
    return {**good, **changes}


def with_series(position: int, value: object) -> dict[str, Any]:
    """Return a report whose second series has an odd value, so a half-merged one shows."""
    odd = copy.deepcopy(_GOOD)
    odd[1], odd[position] = "/odd" if position != 1 else odd[1], value
    return report_of(series=[copy.deepcopy(_GOOD), odd])


_EXEMPLAR = [1, 0.01, TRACE_ID, SPAN_ID, 100.0]
_MALFORMED: Mapping[str, Any] = {
    "no mapping": [],
    "nothing": None,
    "text": "report",
    "empty": {},
    **{f"without {name}": {k: v for k, v in report_of().items() if k != name} for name in report_of() if name != "id"},
    "other layout": report_of(layout=LAYOUT + 1),
    "series none": report_of(series=None),
    "series number": report_of(series=7),
    "series of text": report_of(series=["x"]),
    "series short": report_of(series=[_GOOD, _GOOD[:-1]]),
    "series long": report_of(series=[_GOOD, [*_GOOD, 1]]),
    "method is a list": with_series(0, ["GET"]),
    "name is a number": with_series(1, 7),
    "class none": with_series(2, None),
    "outcome 2": with_series(3, 2),
    "outcome -1": with_series(3, -1),
    "outcome text": with_series(3, "failure"),
    "unmeasured negative": with_series(4, -1),
    "unmeasured text": with_series(4, "1"),
    "unmeasured none": with_series(4, None),
    "unmeasured infinite": with_series(4, math.inf),
    "sum nan": with_series(5, math.nan),
    "sum infinite": with_series(5, math.inf),
    "sum negative": with_series(5, -1.0),
    "sum text": with_series(5, "x"),
    "bytes negative": with_series(6, -1),
    "bytes nan": with_series(6, math.nan),
    "counts none": with_series(7, None),
    "counts odd": with_series(7, [1, 2, 3]),
    "counts text": with_series(7, "ab"),
    "counts of text": with_series(7, ["1", "2"]),
    "gap 0": with_series(7, [0, 1]),
    "gap negative": with_series(7, [5, 1, -2, 1]),
    "gap huge": with_series(7, [10**6, 1]),
    "gap a float": with_series(7, [1.5, 1]),
    "gap 1.0": with_series(7, [1.0, 1]),
    "count 0": with_series(7, [1, 0]),
    "count negative": with_series(7, [1, -4]),
    "count a float": with_series(7, [1, 1.5]),
    "count nan": with_series(7, [1, math.nan]),
    "count a list": with_series(7, [1, [1]]),
    "exemplars none": with_series(8, None),
    "exemplar short": with_series(8, [_EXEMPLAR[:-1]]),
    "exemplar index huge": with_series(8, [[999, *_EXEMPLAR[1:]]]),
    "exemplar index negative": with_series(8, [[-1, *_EXEMPLAR[1:]]]),
    "exemplar duration nan": with_series(8, [[1, math.nan, *_EXEMPLAR[2:]]]),
    "exemplar id hostile": with_series(8, [[1, 0.01, '"} 1\n', SPAN_ID, 100.0]]),
    "exemplar time text": with_series(8, [[*_EXEMPLAR[:-1], "x"]]),
    "errors none": report_of(errors=None),
    "error short": report_of(errors=[["GET", "/", 1]]),
    "error negative": report_of(errors=[["GET", "/", "500", -1]]),
    "error text": report_of(errors=[["GET", "/", "500", "x"]]),
    "user errors none": report_of(user_errors=None),
    "user error negative": report_of(user_errors=[["A", "B", -1]]),
}


@pytest.mark.parametrize("name", _MALFORMED)
def test_malformed_reports_are_refused_whole(name: str) -> None:
    """A report that makes no sense is a `ReportError`, and nothing of it is merged: neither now nor for the next."""
    master = merged()
    before = report_of()
    master.merge("host_1", before)
    known = (numbers(master.aggregate.snapshot()), errors(master.aggregate.snapshot()), master.aggregate.names)
    with pytest.raises(ReportError):
        master.merge("host_1", _MALFORMED[name])
    found = master.aggregate.snapshot()
    assert (numbers(found), errors(found), master.aggregate.names) == known
    master.merge("host_1", report_of())
    assert numbers(master.aggregate.snapshot()) == known[0]
    b"".join(
        TextExposition(is_openmetrics=True).render(families(snapshot(master.aggregate)))
    )  # nothing that breaks a scrape


def test_decode_is_the_inverse_of_sparse() -> None:
    """Counts survive the way there and back, the first and last place too."""
    rng = random.Random(3)
    for size in (1, 2, 380):
        for share in (0.0, 0.1, 1.0):
            counts = [rng.randint(1, 10**9) if rng.random() < share else 0 for _ in range(size)]
            assert decode_counts(sparse(counts), size - 1) == {i: n for i, n in enumerate(counts) if n}
    assert sparse([0, 0, 5, 0, 7]) == [3, 5, 2, 7]


def test_fingerprints_tell_layouts_apart() -> None:
    """Layouts with other bounds have other fingerprints, the same ones the same."""
    assert fingerprint(layout([5.0])) == fingerprint(layout([5.0, 2.5]))  # a classic edge adds no bound
    assert len({fingerprint(layout([threshold])) for threshold in (5.0, 5.1, 0.3)}) == 3


# ------------------------------------------------------------------------------------------------------------ size


def _busy(seed: int) -> tuple[Aggregate, RequestStats]:
    """Return 1,500 requests to 100 names, as we and as Locust hold them after one interval."""
    rng = random.Random(seed)
    ours, stats = aggregate(), RequestStats()
    for number in range(1_500):
        name = f"/api/items/{number % 100}"
        time_ms: Any = min(rng.lognormvariate(4.5, 0.6), 60_000)
        length = rng.randint(200, 5_000)
        stats.log_request("GET", name, time_ms, length)
        record(ours, KEY._replace(name=name), [time_ms], length)
    return ours, stats


@pytest.mark.parametrize("seed", range(3))
def test_size_is_below_that_of_locusts_own_report(seed: int) -> None:
    """Our part of the first report, with every series in it, is no larger than Locust's own part."""
    ours, stats = _busy(seed)
    reporter = Reporter()
    reporter.start("2026-11-22T07-17-03Z-3f9a", ours)
    of_locust = {
        "stats": stats.serialize_stats(),
        "stats_total": stats.total.get_stripped_report(),
        "errors": stats.serialize_errors(),
    }
    size, size_of_locust = len(msgpack.packb(reporter.report())), len(msgpack.packb(of_locust))
    assert 0 < size <= size_of_locust


def test_a_report_can_always_be_packed() -> None:
    """No body length, however absurd, makes Locust's report too large a number for msgpack."""
    worker, master = Worker(), merged()
    worker.aggregate.of(KEY).pending += [10, 1e300, 10, 2**63, 10, 2**63]
    worker.report_to(master)
    assert master.aggregate.total() == 3
