"""Tests of the judged requests that follow a run: against one count of everything."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.core.snapshot import RequestsSnapshot, SeriesKey, SeriesSnapshot
from locust_otel.slo import judged as module
from locust_otel.slo.counts import Counts, Endpoint, count
from locust_otel.slo.judged import JudgedRequests
from locust_otel.slo.objectives import Match, Objective, Sli
from locust_otel.slo.verdict import Result, worst
from tests.unit.factories import Load, objectives, record

OBJECTIVES = (
    Objective("works", Sli.SUCCESS, Decimal("0.9")),
    Objective("fast", Sli.LATENCY, Decimal("0.9"), Decimal("0.3"), only_success=True),
    Objective("mean", Sli.MEAN, None, Decimal("0.2")),
    Objective("b", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("/b", "/c"))),
    Objective("shopper", Sli.MEAN, None, Decimal("0.2"), match=Match(methods=("GET",), user_classes=("Shopper",))),
)
SLO = objectives(objectives=OBJECTIVES)
KEYS = [
    SeriesKey(method, name, user_class, outcome)
    for name in ("/a", "/b", "/c")
    for method in ("GET", "POST")
    for user_class in ("Shopper", "")
    for outcome in ("success", "failure")
]


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
    results: tuple[Result, ...] = requests.results(SLO, 60)
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

    monkeypatch.setattr(module, "count", noted)
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
