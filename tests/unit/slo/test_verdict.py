"""Tests of the verdict: exact at the bound, never met without requests, equal to one count of everything."""

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
from locust_otel.slo.verdict import JudgedRequests, Result, Status, Worst, budget_spent, is_missed, judge, worst
from tests.unit.factories import Load, objectives, record

SLO = objectives()  # requires 10 requests; half an hour
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
    """An objective is missed if bad / total > 1 - target, in exact arithmetic."""
    target = Fraction(millionths, 1_000_000)
    objective = Objective("a", Sli.SUCCESS, Decimal(millionths) / 1_000_000)
    expected = bool(counts.total) and Fraction(counts.bad, max(counts.total, 1)) > 1 - target
    assert is_missed(objective, counts) == expected
    if counts.total >= SLO.min_requests:
        status = Status.MISSED if expected else Status.MET
        assert judge(SLO, objective, counts, 60).status == status


@given(st.integers(1, 999_999), st.integers(1, 10**9))
def test_exactly_at_the_bound(millionths: int, times: int) -> None:
    """With as many bad requests as the budget allows it is met, with one more it is missed."""
    objective = Objective("a", Sli.LATENCY, 1 - Decimal(millionths) / 1_000_000, Decimal(1))
    at = Counts((1_000_000 - millionths) * times, millionths * times)
    assert not is_missed(objective, at)
    assert is_missed(objective, Counts(at.good - 1, at.bad + 1))


@pytest.mark.parametrize(
    ("sum_s", "expected"), [(49.999, Status.MET), (50.0, Status.MET), (50.001, Status.MISSED), (0.0, Status.MET)]
)
def test_mean(sum_s: float, expected: Status) -> None:
    """A mean exactly at its limit is met, and has no budget."""
    result = judge(SLO, MEAN, Counts(100, 0, sum_s), 60)
    assert (result.status, result.actual, result.budget_spent) == (expected, sum_s / 100, None)


@pytest.mark.parametrize(
    ("objective", "counts", "warmup_s", "judged_s", "note"),
    [
        (AVAILABILITY, Counts(9, 0), 0, 60, "9 of the 10 requests it takes"),
        (AVAILABILITY, Counts(0, 9), 0, 60, "9 of the 10 requests it takes"),
        (AVAILABILITY, Counts(), 0, 60, "0 of the 10 requests it takes"),
        (replace(AVAILABILITY, match=Match(names=("/x",))), Counts(), 0, 60, "no request was judged with name /x"),
        (AVAILABILITY, Counts(), 10, 0, "the warm-up of 10 s was not over"),
        (AVAILABILITY, Counts(), 10, 0.5, "0 of the 10 requests it takes"),
    ],
)
def test_undecided(objective: Objective, counts: Counts, warmup_s: int, judged_s: float, note: str) -> None:
    """Without the required number of requests the result is undecided, and the note has the reason."""
    result = judge(objectives(warmup_s=Decimal(warmup_s)), objective, counts, judged_s)
    assert (result.status, result.note) == (Status.UNDECIDED, note)
    assert (result.actual is None) == (result.budget_spent is None) == (not counts.total)


@pytest.mark.parametrize(("counts", "status"), [(Counts(10, 0), "met"), (Counts(0, 10), "missed")])
def test_just_enough_requests(counts: Counts, status: str) -> None:
    """The required number of requests decides."""
    result = judge(SLO, AVAILABILITY, counts, 60)
    assert (result.status, result.note) == (status, "")


BOOKS = Match(names=("/books/*",))


@pytest.mark.parametrize(
    ("match", "counts", "folded", "status"),
    [
        (BOOKS, (200, 0), (0, 0), "met"),
        (BOOKS, (200, 0), (20, 709), "undecided"),
        (BOOKS, (200, 0), (20, 0), "met"),
        (BOOKS, (2000, 0), (0, 1), "met"),
        (BOOKS, (100, 100), (20, 0), "missed"),
        (BOOKS, (100, 2), (0, 1), "missed"),
        (BOOKS, (197, 1), (0, 1), "undecided"),
        (BOOKS, (0, 0), (500, 0), "met"),
        (Match(exclude=Match(names=("/health*",))), (220, 709), (20, 709), "undecided"),
        (Match(exclude=Match(names=("/health*",))), (1000, 700), (20, 0), "missed"),
    ],
)
def test_requests_that_were_folded(match: Match, counts: tuple[int, int], folded: tuple[int, int], status: str) -> None:
    """Folded requests decide nothing: the verdict must be the same with and without them."""
    objective = Objective("a", Sli.SUCCESS, Decimal("0.99"), match=match)
    result = judge(SLO, objective, Counts(*counts), 60, folded=Counts(*folded))
    if counts == (0, 0):
        status = "undecided"
    assert (result.status, result.counts) == (status, Counts(*counts))
    if status == "undecided" and counts != (0, 0):
        remedy = "--group-names, or a higher --max-request-names"
        assert result.note == f"{sum(folded)} requests that are counted as _OTHER may match too: {remedy}"
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
def test_uncertain_objectives(match: Match, is_uncertain: bool) -> None:
    """Names without `*` are never folded, so only a pattern may fit folded requests."""
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
    """The budget is that of the period: a run of half the period, exactly at the bound, spends half."""
    spent = None if expected is None else pytest.approx(expected)
    assert budget_spent(SLO, AVAILABILITY, counts, judged_s) == spent
    assert judge(SLO, AVAILABILITY, counts, judged_s).budget_spent == spent


@pytest.mark.parametrize(
    ("objective", "counts", "name", "value"),
    [
        (AVAILABILITY, {"/a": Counts(0, 3), "/b": Counts(96, 4), "/c": Counts(5, 0)}, "/b", 0.04),
        (AVAILABILITY, {"/a": Counts(4, 4), "/b": Counts(96, 3)}, "/a", 0.5),
        (AVAILABILITY, {"/a": Counts(3, 0)}, None, 0),
        (AVAILABILITY, {}, None, 0),
        (MEAN, {"/a": Counts(1, 0, 2.0), "/b": Counts(10, 0, 8.0), "/c": Counts(9)}, "/b", 0.8),
        (MEAN, {"/a": Counts(2, 0, 9.0), "/b": Counts(10, 0, 6.0)}, "/a", 4.5),
        (MEAN, {"/a": Counts(1, 0, 0.9)}, "/a", 0.9),
        (MEAN, {"/a": Counts(2, 0, 1.0)}, None, 0),
    ],
)
def test_worst_endpoint(objective: Objective, counts: dict[str, Counts], name: str | None, value: float) -> None:
    """The worst endpoint has the most bad requests, or for a mean the most time above the limit."""
    expected = None if name is None else Worst("GET", name, counts[name], value)
    assert worst(objective, {("GET", key): counted for key, counted in counts.items()}) == expected


def load() -> Load:
    """Return no requests, with the bounds that the objectives need."""
    return Load(slow_s=5.0, max_names=10, thresholds_s=(0.3,))


def by_endpoint(objective: Objective, requests: RequestsSnapshot) -> dict[Endpoint, Counts]:
    """Return the counts by endpoint, each counted alone."""
    return {
        endpoint: count(
            objective, [series for series in requests.series if series.key[:2] == endpoint], requests.layout
        )
        for endpoint in dict.fromkeys(series.key[:2] for series in requests.series)
    }


def expected(now: RequestsSnapshot, before: RequestsSnapshot | None) -> Iterator[tuple[Counts, object]]:
    """Yield the counts of each objective and its worst endpoint, from complete counts of both moments."""
    for objective in OBJECTIVES:
        left_out = by_endpoint(objective, before) if before is not None else {}
        since = {e: c.less(left_out.get(e, Counts())) for e, c in by_endpoint(objective, now).items()}
        good, bad = sum(c.good for c in since.values()), sum(c.bad for c in since.values())
        yield Counts(good, bad, math.fsum(c.sum_s for c in since.values())), worst(objective, since)


def judged_counts(requests: JudgedRequests) -> list[tuple[Counts, object]]:
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
    """Counts, sums to the last bit, and worst endpoints are those of one count, after each step."""
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
        assert judged_counts(judged) == list(expected(snapshot, before))


def test_only_changes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only objectives that judge an endpoint count it again, and only if one of its series has changed."""
    counted: list[tuple[str, list[SeriesKey]]] = []

    def noted(objective: Objective, series: list[SeriesSnapshot], layout: object) -> Counts:
        counted.append((objective.name, [one.key for one in series]))
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
    """The counts are those of the last snapshot, even if it is older."""
    requests, judged = load(), JudgedRequests(OBJECTIVES)
    record(requests, KEYS[0], [100, 500])
    older = requests.snapshot()
    record(requests, KEYS[1], [100, 500])
    record(requests, KEYS[0], [0.1, 0.7])
    newer = requests.snapshot()
    for snapshot in (newer, older, newer):
        judged.update(snapshot)
        assert judged_counts(judged) == list(expected(snapshot, None))


def test_series_in_another_order() -> None:
    """A snapshot with fewer series, or another order, is counted from the start, without the warm-up."""
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
    whole = judged_counts(judged)
    assert whole == list(expected(now, before))
    turned = replace(now, series=now.series[3:] + now.series[:3])
    judged.update(turned)
    assert [counts[:2] for counts, _ in judged_counts(judged)] == [counts[:2] for counts, _ in whole]
    assert [counts.sum_s for counts, _ in judged_counts(judged)] == pytest.approx([counts.sum_s for counts, _ in whole])
    fewer = replace(now, series=now.series[:5])
    judged.update(fewer)
    assert judged_counts(judged) == list(expected(fewer, before))


def test_pickling() -> None:
    """The pickle does not contain the histograms of the run: a copy counts them once."""
    requests, judged = load(), JudgedRequests(OBJECTIVES)
    for key in KEYS:
        record(requests, key, range(1000))
    judged.update(requests.snapshot())
    bare = len(pickle.dumps(JudgedRequests(OBJECTIVES)))
    assert len(pickle.dumps(judged)) == bare
    judged.restart()
    assert len(pickle.dumps(judged)) < bare + 5 * 6 * 60
