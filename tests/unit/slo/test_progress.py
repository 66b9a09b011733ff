"""Tests of objectives while a run goes on: warm-up, baseline, abort."""

from __future__ import annotations

import pickle
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
    """Return nothing, with the bounds that the objectives need."""
    return Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,))


def progress(warmup_s: int = 0) -> Progress:
    """Return objectives with a warm-up at the start of a run."""
    return Progress(objectives(warmup_s=Decimal(warmup_s), windows=(CRITICAL,)), START)


def observe(of: Progress, requests: Load, elapsed_s: float, *, keeps_up: bool = True) -> list[str]:
    """Look at a run, and return what burns."""
    invalid = () if keeps_up else ("cpu",)
    return [pair.objective.name for pair in of.observe(requests.snapshot(), elapsed_s, invalid=invalid)]


def counts(of: Progress, requests: Load, elapsed_s: float) -> dict[str, Counts]:
    """Return the judged requests by objective."""
    return {result.objective.name: result.counts for result in of.judge(requests.snapshot(), elapsed_s).results}


def test_without_a_warmup_all_is_judged() -> None:
    """Requests are judged from the first on, before anybody looked."""
    of, requests = progress(), aggregate()
    record(requests, GOOD, [100, 500])
    assert not of.is_warming_up
    assert counts(of, requests, 0.1) == {
        "availability": Counts(2, 0), "latency": Counts(1, 1), "mean": Counts(2, 0, 0.6),
    }  # fmt: skip


def test_the_warmup_is_left_out() -> None:
    """What came until the warm-up's end is judged nowhere, and nothing burns in it."""
    of, requests = progress(30), aggregate()
    record(requests, BAD, [5_000] * 100)
    assert observe(of, requests, 29.9) == []
    assert of.is_warming_up
    standing = of.judge(requests.snapshot(), 29.9)
    assert standing.is_warming_up
    assert standing.judged_s == 0
    assert {result.status for result in standing.results} == {Status.UNDECIDED}
    assert all(result.counts == Counts() for result in standing.results)

    record(requests, BAD, [5_000] * 7)
    assert observe(of, requests, 30.4) == []
    assert not of.is_warming_up
    record(requests, GOOD, [100] * 20)
    record(requests, BAD, [5_000])
    since_warmup_s = counts(of, requests, 31)["mean"].sum_s
    assert since_warmup_s == pytest.approx(7)
    assert counts(of, requests, 31) == {
        "availability": Counts(20, 1), "latency": Counts(20, 1), "mean": Counts(21, 0, since_warmup_s),
    }  # fmt: skip
    assert of.judge(requests.snapshot(), 45).judged_s == 15
    assert of.judge(requests.snapshot(), 45).is_warming_up is False


def test_an_endpoint_that_comes_after_the_warmup() -> None:
    """An endpoint the baseline does not know is judged whole."""
    of, requests = progress(30), aggregate()
    record(requests, GOOD, [100])
    observe(of, requests, 30)
    record(requests, SeriesKey("GET", "/new", "", "failure"), [100, 100])
    assert counts(of, requests, 31)["availability"] == Counts(0, 2)
    (first, *_) = of.judge(requests.snapshot(), 31).results
    assert first.worst is not None
    assert (first.worst.name, first.worst.counts) == ("/new", Counts(0, 2))


def test_counts_never_fall() -> None:
    """Judged counts grow with the run, from zero at the end of the warm-up."""
    of, requests = progress(10), aggregate()
    last = Counts()
    for second in range(40):
        record(requests, GOOD if second % 3 else BAD, [50 * second])
        observe(of, requests, float(second))
        found = counts(of, requests, float(second))["latency"]
        assert found.good >= last.good
        assert found.bad >= last.bad
        last = found


def test_what_burns_is_told() -> None:
    """A total outage burns once there are requests enough, in the look and in the standing."""
    of, requests = progress(), aggregate()
    record(requests, BAD, [10] * 9)
    assert observe(of, requests, 5) == []
    record(requests, BAD, [10])
    assert observe(of, requests, 6) == ["availability"]
    standing = of.judge(requests.snapshot(), 6)
    assert [(pair.window, pair.factor) for pair in standing.burning] == [(CRITICAL, 3)]
    assert standing.burning[0].long_rate == pytest.approx(100)
    assert standing.aborted is None
    of.aborted = standing.burning[0]
    assert of.judge(requests.snapshot(), 6).aborted == standing.burning[0]


@pytest.mark.parametrize("second", [5, 29, 30, 45, 100])
def test_a_successor_judges_on(second: int) -> None:
    """A pickled copy says the same from then on, in the warm-up and after it."""
    of, requests = progress(30), aggregate()
    for elapsed_s in range(150):
        record(requests, BAD if 40 <= elapsed_s < 60 else GOOD, [10 * elapsed_s] * 3)
        if elapsed_s == second:
            copy = pickle.loads(pickle.dumps(of))  # noqa: S301
        found = observe(of, requests, elapsed_s, keeps_up=elapsed_s % 7 > 0)
        if elapsed_s >= second:
            assert observe(copy, requests, elapsed_s, keeps_up=elapsed_s % 7 > 0) == found
            standing = of.judge(requests.snapshot(), elapsed_s)
            assert copy.judge(requests.snapshot(), elapsed_s) == standing
            for objective in of.slo.objectives:
                assert list(copy.rates(objective)) == list(of.rates(objective))
    assert standing.burning
    assert standing.doubt.late


@pytest.mark.parametrize("keeps_up", [True, False])
def test_what_may_end_a_run(keeps_up: bool) -> None:
    """A critical pair that burns; not where the generator was late meanwhile, whose own doing it may be."""
    of, requests = progress(), aggregate()
    for second in range(1, 31):
        record(requests, GOOD, [10] * 3)
        observe(of, requests, float(second))
    assert of.critical() is None
    for second in range(31, 50):
        record(requests, GOOD, [1000] * 30)
        burns = observe(of, requests, float(second), keeps_up=keeps_up)
    assert burns == ["latency"]
    pair = of.critical()
    assert (pair is not None and pair.objective.name) == ("latency" if keeps_up else False)


def test_a_standing_is_of_one_moment() -> None:
    """It does not change with the run."""
    of, requests = progress(), aggregate()
    record(requests, GOOD, [1] * 10)
    standing = of.judge(requests.snapshot(), 5)
    record(requests, BAD, [1] * 10)
    assert of.judge(requests.snapshot(), 6).results[0].counts == Counts(10, 10)
    assert standing.results[0].counts == Counts(10, 0)


def test_points() -> None:
    """The values that are exported are those of the results."""
    of, requests = progress(), aggregate()
    record(requests, GOOD, [100] * 9 + [5_000])
    points = {point.name: point for point in of.judge(requests.snapshot(), 5).points()}
    assert [*points] == ["availability", "latency", "mean"]
    latency = points["latency"]
    assert (latency.service, latency.target, latency.within_s, latency.min_requests) == ("shop", 0.75, 0.3, 10)
    assert (latency.good, latency.bad, latency.status) == (9, 1, "met")
    assert points["mean"].target is None
    assert points["mean"].sum_s == pytest.approx(5.9)
    assert (points["mean"].good, points["mean"].status) == (10, "missed")
    assert points["availability"].within_s is None
