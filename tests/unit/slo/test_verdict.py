"""Tests of the verdict: exact at the bound, never a pass without requests, and against one count of everything."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.catalogue import OTHER
from locust_otel.core.snapshot import RequestsSnapshot, SeriesKey, SeriesSnapshot
from locust_otel.slo import verdict
from locust_otel.slo.counts import Counts, Endpoint, count
from locust_otel.slo.objectives import Match, Objective, Sli
from locust_otel.slo.verdict import JudgedRequests, Result, Status, budget_spent, is_missed, judge, worst
from tests.unit.factories import Load, objectives, record

SLO = objectives()  # of 10 requests and more; half an hour
AVAILABILITY = Objective("a", Sli.SUCCESS, Decimal("0.99"))
MEAN = Objective("m", Sli.MEAN, None, Decimal("0.5"))
OBJECTIVES = (
    Objective("works", Sli.SUCCESS, Decimal("0.9")),
    Objective("fast", Sli.LATENCY, Decimal("0.9"), Decimal("0.3"), only_success=True),
    Objective("mean", Sli.MEAN, None, Decimal("0.2")),
    Objective("b", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("/b", "/c"))),
    Objective("shopper", Sli.MEAN, None, Decimal("0.2"), match=Match(methods=("GET",), user_classes=("Shopper",))),
)
KEYS = [
    SeriesKey(method, name, user_class, outcome)
    for name in ("/a", "/b", "/c")
    for method in ("GET", "POST")
    for user_class in ("Shopper", "")
    for outcome in ("success", "failure")
]
_COUNTS = st.builds(Counts, st.integers(0, 10**9), st.integers(0, 10**9))


@given(_COUNTS, st.integers(1, 999_999))
def test_against_fractions(counts: Counts, millionths: int) -> None:
    """Missed is where bad / total > 1 - target, in exact arithmetic."""
    target = Fraction(millionths, 1_000_000)
    objective = Objective("a", Sli.SUCCESS, Decimal(millionths) / 1_000_000)
    expected = bool(counts.total) and Fraction(counts.bad, max(counts.total, 1)) > 1 - target
    assert is_missed(objective, counts) == expected
    if counts.total >= SLO.min_requests:
        status = Status.MISSED if expected else Status.MET
        assert judge(SLO, objective, counts, 60).status == status


@given(st.integers(1, 999_999), st.integers(1, 10**9))
def test_exactly_at_the_bound(millionths: int, times: int) -> None:
    """As many bad requests as the budget holds are met, and one more in place of a good one is missed."""
    objective = Objective("a", Sli.LATENCY, 1 - Decimal(millionths) / 1_000_000, Decimal(1))
    at = Counts((1_000_000 - millionths) * times, millionths * times)
    assert not is_missed(objective, at)
    assert is_missed(objective, Counts(at.good - 1, at.bad + 1))


@pytest.mark.parametrize(
    ("sum_s", "expected"), [(49.999, Status.MET), (50.0, Status.MET), (50.001, Status.MISSED), (0.0, Status.MET)]
)
def test_mean(sum_s: float, expected: Status) -> None:
    """A mean at its bound is met; there is no budget of it."""
    result = judge(SLO, MEAN, Counts(100, 0, sum_s), 60)
    assert (result.status, result.actual, result.budget_spent) == (expected, sum_s / 100, None)


def test_too_few_requests() -> None:
    """Below the least number of requests nothing is decided, for better or worse, and it says why."""
    for counts in (Counts(9, 0), Counts(0, 9)):
        result = judge(SLO, AVAILABILITY, counts, 60)
        assert (result.status, result.note) == (Status.UNDECIDED, "9 of the 10 requests it takes")
    assert judge(SLO, AVAILABILITY, Counts(10, 0), 60).status is Status.MET
    assert judge(SLO, AVAILABILITY, Counts(0, 10), 60).status is Status.MISSED


def test_no_request() -> None:
    """Nothing judged is undecided and has no value; a match that fits nothing is named."""
    result = judge(SLO, AVAILABILITY, Counts(), 60)
    assert (result.status, result.actual, result.budget_spent) == (Status.UNDECIDED, None, None)
    matched = Objective("a", Sli.SUCCESS, Decimal("0.99"), match=Match(names=("/typo",)))
    assert judge(SLO, matched, Counts(), 60).note == "no request was judged with name /typo"


def test_a_run_within_its_warm_up() -> None:
    """The note says why nothing was judged."""
    slo = objectives(warmup_s=Decimal(10))
    assert judge(slo, AVAILABILITY, Counts(), 0.0).note == "the warm-up of 10 s was not over"
    assert judge(slo, AVAILABILITY, Counts(), 3.0).note == "0 of the 10 requests it takes"


BOOKS = Match(names=("/books/*",))


@pytest.mark.parametrize(
    ("match", "own", "folded", "status"),
    [
        (BOOKS, (200, 0), (0, 0), "met"),
        (BOOKS, (200, 0), (20, 709), "undecided"),
        (BOOKS, (200, 0), (20, 0), "met"),
        (BOOKS, (2000, 0), (0, 1), "met"),
        (BOOKS, (100, 100), (20, 0), "missed"),
        (BOOKS, (0, 0), (500, 0), "met"),
        (Match(exclude=Match(names=("/health*",))), (220, 709), (20, 709), "undecided"),
        (Match(exclude=Match(names=("/health*",))), (1000, 700), (20, 0), "missed"),
    ],
)
def test_requests_that_were_folded(match: Match, own: tuple[int, int], folded: tuple[int, int], status: str) -> None:
    """What a pattern may match is not guessed: a verdict stands only if it is the same with and without them."""
    objective = Objective("a", Sli.SUCCESS, Decimal("0.99"), match=match)
    result = judge(SLO, objective, Counts(*own), 60, folded=Counts(*folded))
    if own == (0, 0):
        status = "undecided"
    assert (result.status, result.counts) == (status, Counts(*own))
    if status == "undecided" and own != (0, 0):
        assert result.note.startswith("729 requests that are counted as _OTHER may match too: --group-names")
    mean = Objective("m", Sli.MEAN, None, Decimal(1), match=BOOKS)
    assert judge(SLO, mean, Counts(100, 0, 1.0), 60, folded=Counts(1, 0, 9.0)).status is Status.UNDECIDED


@pytest.mark.parametrize(
    ("match", "is_uncertain"),
    [
        (Match(), False), (Match(names=("/a", "/b")), False), (Match(names=("/a", "/b*")), True),
        (Match(methods=("G*",)), False), (Match(exclude=Match(names=("/a",))), False),
        (Match(exclude=Match(names=("/a*",))), True), (Match(names=("/a",), exclude=Match(names=("/b*",))), False),
        (Match(names=("*",)), False),
    ],
)  # fmt: skip
def test_which_objectives_know_of_folded_requests(match: Match, is_uncertain: bool) -> None:
    """Names that are written out are never folded: only a pattern leaves it open, of the methods it takes."""
    objective = Objective("a", Sli.SUCCESS, Decimal("0.99"), match=match)
    load = Load(max_names=2)
    for name, outcome in (("/a", "success"), ("/b1", "success"), (OTHER, "failure")):
        record(load, SeriesKey("GET", name, "", outcome), [1] * 30)
    judged = JudgedRequests((objective,))
    judged.update(load.snapshot())
    (result,) = judged.results(SLO, 60)
    assert result.note.startswith("30 requests that are counted as _OTHER") is is_uncertain
    assert (result.status is Status.UNDECIDED) is is_uncertain
    copy = pickle.loads(pickle.dumps(judged))  # noqa: S301  # our own
    copy.update(load.snapshot())
    assert copy.results(SLO, 60) == (result,)


@pytest.mark.parametrize(
    ("counts", "judged_s", "expected"),
    [
        (Counts(99, 1), 1800, 1.0), (Counts(99, 1), 900, 0.5), (Counts(99, 1), 7200, 1.0), (Counts(98, 2), 1800, 2.0),
        (Counts(100, 0), 1800, 0.0), (Counts(99, 1), 0, 0.0), (Counts(), 900, None),
    ],
)  # fmt: skip
def test_budget_spent(counts: Counts, judged_s: float, expected: float | None) -> None:
    """The budget is that of the period: a run of half of it at the bound spends half."""
    assert budget_spent(SLO, AVAILABILITY, counts, judged_s) == (None if expected is None else pytest.approx(expected))


def test_worst_endpoint() -> None:
    """The worst endpoint has most bad requests, whatever its ratio; for the mean with most time above it."""
    found = worst(
        AVAILABILITY, {("GET", "/a"): Counts(0, 3), ("GET", "/b"): Counts(96, 4), ("GET", "/c"): Counts(5, 0)}
    )
    assert found is not None
    assert (found.method, found.name, found.counts, found.value) == ("GET", "/b", Counts(96, 4), 0.04)
    assert worst(AVAILABILITY, {("GET", "/a"): Counts(3, 0)}) is None
    assert worst(AVAILABILITY, {}) is None
    found = worst(MEAN, {("GET", "/a"): Counts(1, 0, 2.0), ("GET", "/b"): Counts(10, 0, 8.0), ("GET", "/c"): Counts(9)})
    assert found is not None
    assert (found.name, found.value) == ("/b", 0.8)
    assert worst(MEAN, {("GET", "/a"): Counts(2, 0, 1.0)}) is None


def load() -> Load:
    """Return no requests, with the bounds that the objectives need."""
    return Load(slow_s=5.0, max_names=10, thresholds_s=(0.3,))


def by_endpoint(objective: Objective, requests: RequestsSnapshot) -> dict[Endpoint, Counts]:
    """Return the counts by endpoint, each counted alone."""
    return {
        endpoint: count(objective, [each for each in requests.series if each.key[:2] == endpoint], requests.layout)
        for endpoint in dict.fromkeys(each.key[:2] for each in requests.series)
    }


def expected(now: RequestsSnapshot, before: RequestsSnapshot | None) -> Iterator[tuple[Counts, object]]:
    """Yield the counts of each objective and its worst endpoint, from whole counts of both moments."""
    for objective in OBJECTIVES:
        left_out = by_endpoint(objective, before) if before is not None else {}
        since = {e: c.less(left_out.get(e, Counts())) for e, c in by_endpoint(objective, now).items()}
        good, bad = sum(c.good for c in since.values()), sum(c.bad for c in since.values())
        yield Counts(good, bad, math.fsum(c.sum_s for c in since.values())), worst(objective, since)


def found(requests: JudgedRequests) -> list[tuple[Counts, object]]:
    """Return the counts of each objective and its worst endpoint."""
    results: tuple[Result, ...] = requests.results(objectives(objectives=OBJECTIVES), 60)
    assert requests.counts() == {result.objective.name: result.counts for result in results}
    return [(result.counts, result.worst) for result in results]


_STEPS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(1, 4), st.floats(0, 1000), st.sampled_from(["", "restart", "pickle"])),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)
@given(_STEPS)
def test_against_one_count(steps: list[tuple[SeriesKey, int, float, str]]) -> None:
    """Counts, sums to the last bit, and worst endpoints are those of one count, after every step."""
    requests, judged, before = load(), JudgedRequests(OBJECTIVES), None
    for key, number, time_ms, action in steps:
        record(requests, key, [time_ms] * number)
        snapshot = requests.snapshot()
        judged.update(snapshot)
        if action == "restart" and before is None:
            judged.restart()
            before = snapshot
        elif action == "pickle":
            judged = pickle.loads(pickle.dumps(judged))  # noqa: S301
            judged.update(snapshot)
        assert found(judged) == list(expected(snapshot, before))


def test_only_what_has_changed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint is counted again if one of its series has changed, and only by objectives that judge it."""
    counted: list[tuple[str, list[SeriesKey]]] = []

    def noted(objective: Objective, series: list[SeriesSnapshot], layout: object) -> Counts:
        counted.append((objective.name, [each.key for each in series]))
        return Counts(len(series))

    monkeypatch.setattr(verdict, "count", noted)
    requests, judged = load(), JudgedRequests(OBJECTIVES)
    for key in KEYS:
        record(requests, key, [1])
    judged.update(requests.snapshot())
    assert len(counted) == 3 * 6 + 4 + 3
    counted.clear()
    judged.update(requests.snapshot())
    assert counted == []
    record(requests, KEYS[0], [1])
    judged.update(requests.snapshot())
    assert counted == [(name, KEYS[:4]) for name in ("works", "fast", "mean", "shopper")]


def test_an_older_snapshot() -> None:
    """The counts are those of the snapshot that came last, whichever is older."""
    requests, judged = load(), JudgedRequests(OBJECTIVES)
    record(requests, KEYS[0], [100, 500])
    older = requests.snapshot()
    record(requests, KEYS[1], [100, 500])
    record(requests, KEYS[0], [0.1, 0.7])
    newer = requests.snapshot()
    for snapshot in (newer, older, newer):
        judged.update(snapshot)
        assert found(judged) == list(expected(snapshot, None))


def test_series_in_another_order() -> None:
    """A snapshot whose series stand elsewhere, or are fewer, is counted from the start, without the warm-up."""
    requests, judged = load(), JudgedRequests(OBJECTIVES)
    for number, key in enumerate(KEYS):
        record(requests, key, [100 * number])
    before = requests.snapshot()
    judged.update(before)
    judged.restart()
    for number, key in enumerate(KEYS):
        record(requests, key, [70 * number] * number)
    now = requests.snapshot()
    judged.update(now)
    whole = found(judged)
    assert whole == list(expected(now, before))
    turned = replace(now, series=now.series[3:] + now.series[:3])
    judged.update(turned)
    assert [counts[:2] for counts, _ in found(judged)] == [counts[:2] for counts, _ in whole]
    assert [counts.sum_s for counts, _ in found(judged)] == pytest.approx([counts.sum_s for counts, _ in whole])
    fewer = replace(now, series=now.series[:5])
    judged.update(fewer)
    assert found(judged) == list(expected(fewer, before))


def test_what_is_pickled() -> None:
    """The histograms of the run are not pickled again: a successor counts them once."""
    requests, judged = load(), JudgedRequests(OBJECTIVES)
    for key in KEYS:
        record(requests, key, range(1000))
    judged.update(requests.snapshot())
    bare = len(pickle.dumps(JudgedRequests(OBJECTIVES)))
    assert len(pickle.dumps(judged)) == bare
    judged.restart()
    assert len(pickle.dumps(judged)) < bare + 5 * 6 * 60
