"""Tests of objectives during a run: warm-up, burn rates, abort."""

from __future__ import annotations

import pickle
from dataclasses import replace
from decimal import Decimal

import pytest

from locust_otel.core.snapshot import SeriesKey
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Window
from locust_otel.slo.progress import Progress
from locust_otel.slo.verdict import Status
from tests.unit.factories import Load, objectives, record

GOOD, BAD = SeriesKey("GET", "/", "Shopper", "success"), SeriesKey("GET", "/", "Shopper", "failure")
CRITICAL = Window("critical", Decimal(120), Decimal(30), Decimal("0.2"))
START = 1_764_000_000.0  # 2025-11-24 16:00:00 UTC


def aggregate() -> Load:
    """Return no requests, with the bounds that the objectives need."""
    return Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,))


def progress(warmup_s: int = 0) -> Progress:
    """Return the objectives at the start of a run with a warm-up."""
    return Progress(objectives(warmup_s=Decimal(warmup_s), windows=(CRITICAL,)), START)


def observe(run: Progress, requests: Load, elapsed_s: float, *, keeps_up: bool = True) -> list[str]:
    """Observe a run, and return the objectives that burn."""
    invalid = () if keeps_up else ("cpu",)
    return [pair.objective.name for pair in run.observe(requests.snapshot(), elapsed_s, invalid=invalid)]


def counts(run: Progress, requests: Load, elapsed_s: float) -> dict[str, Counts]:
    """Return the judged requests by objective."""
    return {result.objective.name: result.counts for result in run.judge(requests.snapshot(), elapsed_s).results}


def test_without_a_warmup_all_is_judged() -> None:
    """Requests are judged from the start, even before the first look."""
    run, requests = progress(), aggregate()
    record(requests, GOOD, [100, 500])
    assert not run.is_warming_up
    assert counts(run, requests, 0.1) == {
        "availability": Counts(2, 0), "latency": Counts(1, 1), "mean": Counts(2, 0, 0.6),
    }  # fmt: skip


def test_the_warmup_is_not_judged() -> None:
    """Requests of the warm-up are never judged, and nothing burns during it."""
    run, requests = progress(30), aggregate()
    record(requests, BAD, [5_000] * 100)
    assert observe(run, requests, 29.9) == []
    assert run.is_warming_up
    standing = run.judge(requests.snapshot(), 29.9)
    assert standing.is_warming_up
    assert standing.judged_s == 0
    assert {result.status for result in standing.results} == {Status.UNDECIDED}
    assert all(result.counts == Counts() for result in standing.results)

    record(requests, BAD, [5_000] * 7)
    assert observe(run, requests, 30.4) == []
    assert not run.is_warming_up
    record(requests, GOOD, [100] * 20)
    record(requests, BAD, [5_000])
    since_warmup_s = counts(run, requests, 31)["mean"].sum_s
    assert since_warmup_s == pytest.approx(7)
    assert counts(run, requests, 31) == {
        "availability": Counts(20, 1), "latency": Counts(20, 1), "mean": Counts(21, 0, since_warmup_s),
    }  # fmt: skip
    assert run.judge(requests.snapshot(), 45).judged_s == 15
    assert run.judge(requests.snapshot(), 45).is_warming_up is False


def test_an_endpoint_that_comes_after_the_warmup() -> None:
    """All requests of an endpoint without requests in the warm-up are judged."""
    run, requests = progress(30), aggregate()
    record(requests, GOOD, [100])
    observe(run, requests, 30)
    record(requests, SeriesKey("GET", "/new", "", "failure"), [100, 100])
    assert counts(run, requests, 31)["availability"] == Counts(0, 2)
    (first, *_) = run.judge(requests.snapshot(), 31).results
    assert first.worst is not None
    assert (first.worst.name, first.worst.counts) == ("/new", Counts(0, 2))


def test_rates() -> None:
    """Each pair of windows has its burn rates and says whether it burns; a mean has none."""
    run, requests = progress(), aggregate()
    record(requests, BAD, [10] * 10)
    observe(run, requests, 5)
    availability, latency, mean = run.slo.objectives
    ((window, long_rate, short_rate, burns),) = run.rates(availability)
    assert (window, burns) == (CRITICAL, True)
    assert long_rate == pytest.approx(100)
    assert short_rate == pytest.approx(100)
    assert list(run.rates(latency)) == [(CRITICAL, 0.0, 0.0, False)]
    assert list(run.rates(mean)) == []


def test_a_late_generator_is_taken_into_account() -> None:
    """A miss that only requests of the late generator cause is not valid."""
    run, requests = progress(), aggregate()
    record(requests, GOOD, [100] * 20)
    observe(run, requests, 5)
    record(requests, GOOD, [5_000] * 20)
    observe(run, requests, 6, keeps_up=False)
    statuses = {result.objective.name: result.status for result in run.judge(requests.snapshot(), 6).results}
    assert statuses == {"availability": Status.MET, "latency": Status.INVALID, "mean": Status.INVALID}


def test_counts_never_fall() -> None:
    """Judged counts only increase, from zero at the end of the warm-up."""
    run, requests = progress(10), aggregate()
    last = Counts()
    for second in range(40):
        record(requests, GOOD if second % 3 else BAD, [50 * second])
        observe(run, requests, float(second))
        now = counts(run, requests, float(second))["latency"]
        assert now.good >= last.good
        assert now.bad >= last.bad
        last = now


def test_burning() -> None:
    """A total outage burns as soon as there are enough requests; the standing has the pair."""
    run, requests = progress(), aggregate()
    record(requests, BAD, [10] * 9)
    assert observe(run, requests, 5) == []
    record(requests, BAD, [10])
    assert observe(run, requests, 6) == ["availability"]
    standing = run.judge(requests.snapshot(), 6)
    assert [(pair.window, pair.factor) for pair in standing.burning] == [(CRITICAL, 3)]
    assert standing.burning[0].long_rate == pytest.approx(100)
    assert standing.aborted is None
    run.aborted = standing.burning[0]
    aborted = run.judge(requests.snapshot(), 6)
    assert aborted.aborted == standing.burning[0]
    verdicts = [replace(moment, results=()).verdict for moment in (standing, aborted)]
    assert verdicts == [Status.UNDECIDED, Status.MISSED]


@pytest.mark.parametrize("second", [5, 29, 30, 45, 100])
def test_a_pickled_copy(second: int) -> None:
    """A pickled copy has the same results from then on, in the warm-up and after it."""
    run, requests = progress(30), aggregate()
    for elapsed_s in range(150):
        record(requests, BAD if 40 <= elapsed_s < 60 else GOOD, [10 * elapsed_s] * 3)
        if elapsed_s == second:
            copy = pickle.loads(pickle.dumps(run))  # noqa: S301
        burns = observe(run, requests, elapsed_s, keeps_up=elapsed_s % 7 > 0)
        if elapsed_s >= second:
            assert observe(copy, requests, elapsed_s, keeps_up=elapsed_s % 7 > 0) == burns
            standing = run.judge(requests.snapshot(), elapsed_s)
            assert copy.judge(requests.snapshot(), elapsed_s) == standing
            for objective in run.slo.objectives:
                assert list(copy.rates(objective)) == list(run.rates(objective))
    assert standing.burning
    assert standing.doubt.late


@pytest.mark.parametrize("keeps_up", [True, False])
def test_critical(keeps_up: bool) -> None:
    """A critical pair that burns may end a run, unless a late generator may be the cause."""
    run, requests = progress(), aggregate()
    for second in range(1, 31):
        record(requests, GOOD, [10] * 3)
        observe(run, requests, float(second))
    assert run.critical() is None
    for second in range(31, 50):
        record(requests, GOOD, [1000] * 30)
        burns = observe(run, requests, float(second), keeps_up=keeps_up)
    assert burns == ["latency"]
    pair = run.critical()
    assert (pair is not None and pair.objective.name) == ("latency" if keeps_up else False)


def test_points() -> None:
    """The exported values are those of the results."""
    run, requests = progress(), aggregate()
    record(requests, GOOD, [100] * 9 + [5_000])
    points = {point.name: point for point in run.judge(requests.snapshot(), 5).points()}
    assert [*points] == ["availability", "latency", "mean"]
    latency = points["latency"]
    assert (latency.service, latency.target, latency.within_s, latency.min_requests) == ("shop", 0.75, 0.3, 10)
    assert (latency.good, latency.bad, latency.status) == (9, 1, "met")
    assert points["mean"].target is None
    assert points["mean"].sum_s == pytest.approx(5.9)
    assert (points["mean"].good, points["mean"].status) == (10, "missed")
    assert points["availability"].within_s is None
