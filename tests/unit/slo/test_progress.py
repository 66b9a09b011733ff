"""Tests of objectives while a run goes on: warm-up, baseline, validity."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest

from locust_otel.core.snapshot import SeriesKey
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Window
from locust_otel.slo.progress import Progress, Validity
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
    assert {result.status for result in standing.results} == {Status.INVALID}


@pytest.mark.parametrize(("slow_s", "expected"), [(10, Status.MET), (11, Status.INVALID)])
def test_a_share_of_time_may_be_invalid(slow_s: int, expected: Status) -> None:
    """Up to a tenth of the judged time the generator may have been too slow; above it nothing is decided."""
    of, requests = progress(20), aggregate()
    for second in range(1, 121):
        record(requests, GOOD, [1])
        # Too slow in the warm-up, too, which does not count.
        observe(of, requests, float(second), keeps_up=not (second <= 20 or 50 <= second < 50 + slow_s))
    results = of.judge(requests.snapshot(), 120).results
    # The look at second 20 is the first one that judges, and of a time of no length.
    assert {result.status for result in results} == {expected}
    if expected is Status.INVALID:
        assert (
            results[0].note
            == "generator saturated (no CPU left) from 16:00:49 to 16:01:00 UTC: 11 of 100 s, where 10% may be"
        )


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


def noted(*looks: tuple[float, str], from_s: float = 0.0) -> Validity:
    """Return what these looks at a run have found: seconds, and reasons separated by blanks."""
    validity = Validity(START, from_s)
    for elapsed_s, reasons in looks:
        validity.note(elapsed_s, reasons.split())
    return validity


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (
            [(1, ""), (2, "cpu"), (3, "")],
            "generator saturated (no CPU left) from 16:00:01 to 16:00:02 UTC: 1 of 9 s, where 10% may be",
        ),
        (
            [(1, "lag"), (2, "lag cpu"), (9, "")],
            "generator saturated (no CPU left) and generator saturated (its event loop late) from 16:00:00 to 16:00:02 "
            "UTC: 2 of 9 s, where 10% may be",
        ),
        (
            [(1, "workers"), (2, ""), (5, "workers"), (6, "")],
            "workers missing from 16:00:02 to 16:00:05 UTC, and 1 more time: 4 of 9 s, where 10% may be",
        ),
        (
            [(1, "cpu"), (2, ""), (3, "cpu"), (4, ""), (6, "lag")],
            "generator saturated (its event loop late) from 16:00:04 to 16:00:06 UTC, and 2 more times: 4 of 9 s, "
            "where 10% may be",
        ),
    ],
)
def test_what_is_said(looks: list[tuple[float, str]], said: str) -> None:
    """The longest stretch is named with its clock times and reasons, and how many others there were."""
    assert noted(*looks).invalid(9) == said


@pytest.mark.parametrize(("judged_s", "is_valid"), [(20, True), (19.9, False)])
def test_a_tenth_is_forgiven(judged_s: float, is_valid: bool) -> None:
    """Two seconds of twenty are a tenth, and no more than that is forgiven."""
    assert (noted((5, ""), (7, "cpu"), (8, "")).invalid(judged_s) == "") is is_valid


def test_before_the_judged_time_nothing_matters() -> None:
    """A look within the warm-up is none, and the first one after it reaches back to its end only."""
    validity = noted((5, "cpu"), (10, "cpu"), (12, "cpu"), from_s=11)
    assert [(span.start_s, span.end_s) for span in validity.spans] == [(11, 12)]


def test_spans_are_bounded() -> None:
    """A run that flickers for days keeps a thousand stretches; the time is counted on."""
    looks = [(float(second), "lag" if second % 2 else "") for second in range(1, 3001)]
    validity = noted(*looks)
    assert len(validity.spans) == 1000
    assert sum(span.end_s - span.start_s for span in validity.spans) >= 1500


def test_a_clock_that_stands_still_adds_nothing() -> None:
    """Two looks at the same moment, or one back, are of no length."""
    assert noted((5, ""), (5, "cpu"), (4, "cpu")).spans == []
