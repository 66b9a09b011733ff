"""Tests of the judged counts, against a recount of the list of requests."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.core.snapshot import RequestsSnapshot, SeriesKey
from locust_otel.slo.counts import Counts, count
from locust_otel.slo.objectives import Match, Objective, Sli
from tests.unit.factories import Load, record

THRESHOLDS_S = (0.1, 0.3, 1.1, 2.0)


class Request(NamedTuple):
    """One request; a negative time means no time."""

    method: str
    name: str
    user_class: str
    is_failed: bool
    time_ms: float


_TIMES = st.sampled_from([-1.0, 0.0, 100, 100.001, 99.999, 300, 299.9999, 1100, 1100.0001, 2000, 70_000]) | st.floats(
    0, 1e6
)
_REQUESTS = st.lists(
    st.builds(
        Request, st.sampled_from(["GET", "POST"]), st.sampled_from(["/a", "/b"]), st.sampled_from(["", "Shopper"]),
        st.booleans(), _TIMES,
    ),
    max_size=40,
)  # fmt: skip
_MATCHES = st.sampled_from(
    [Match(), Match(names=("/a",)), Match(methods=("GET",), names=("/b", "/a")), Match(user_classes=("Shopper",))]
)


def aggregate(requests: list[Request]) -> Load:
    """Return these requests as counts."""
    result = Load(slow_s=5.0, max_names=10, thresholds_s=THRESHOLDS_S)
    for r in requests:
        record(result, SeriesKey(r.method, r.name, r.user_class, "failure" if r.is_failed else "success"), [r.time_ms])
    return result


def counted(objective: Objective, snapshot: RequestsSnapshot, name: str | None = None) -> Counts:
    """Return the judged requests of all series, or of those with this name."""
    series = [known for known in snapshot.series if name in {None, known.key.name}]
    return count(objective, series, snapshot.layout)


@given(_REQUESTS, _MATCHES, st.sampled_from(THRESHOLDS_S), st.booleans())
def test_against_a_recount(requests: list[Request], match: Match, within_s: float, only_success: bool) -> None:
    """Each request counts once, as a comparison of this request alone decides."""
    snapshot = aggregate(requests).snapshot()
    matching = [
        r for r in requests
        if (not match.names or r.name in match.names) and (not match.methods or r.method in match.methods)
        and (not match.user_classes or r.user_class in match.user_classes)
    ]  # fmt: skip
    timed = [r for r in matching if r.time_ms >= 0 and not (only_success and r.is_failed)]
    within = Decimal(str(within_s))
    success = Objective("a", Sli.SUCCESS, Decimal("0.9"), match=match)
    latency = Objective("a", Sli.LATENCY, Decimal("0.9"), within, match, only_success=only_success)
    mean = Objective("a", Sli.MEAN, None, within, match, only_success=only_success)
    for name in ("/a", "/b", None):
        named = [r for r in matching if name in {None, r.name}]
        assert counted(success, snapshot, name) == Counts(
            sum(not r.is_failed for r in named), sum(r.is_failed for r in named)
        )
        times = [r.time_ms / 1000 for r in timed if name in {None, r.name}]
        good = sum(time_s <= within_s for time_s in times)
        assert counted(latency, snapshot, name) == Counts(good, len(times) - good)
        assert counted(mean, snapshot, name)[:2] == (len(times), 0)
        assert counted(mean, snapshot, name).sum_s == pytest.approx(math.fsum(times))


@pytest.mark.parametrize("threshold_ms", [1, 100, 250, 300, 1100, 1500, 4999, 123_456])
def test_exactly_at_the_threshold(threshold_ms: int) -> None:
    """A request that takes exactly the threshold is good; one that takes the next larger float is bad."""
    above = math.nextafter(threshold_ms / 1000, math.inf) * 1000
    while above / 1000 <= threshold_ms / 1000:
        above = math.nextafter(above, math.inf)
    within = Decimal(threshold_ms) / 1000
    requests = Load(slow_s=5.0, max_names=10, thresholds_s=(float(within),))
    record(requests, SeriesKey("GET", "/", "", "success"), [threshold_ms, threshold_ms, above])
    counts = counted(Objective("a", Sli.LATENCY, Decimal("0.9"), within), requests.snapshot())
    assert counts == Counts(2, 1)


def test_a_threshold_that_is_no_bound() -> None:
    """Without a bound at the threshold there is an error instead of an estimate."""
    with pytest.raises(KeyError):
        counted(
            Objective("a", Sli.LATENCY, Decimal("0.9"), Decimal("0.42")),
            aggregate([Request("GET", "/a", "", False, 1)]).snapshot(),
        )


def test_nothing_matches() -> None:
    """Counts are zero if no series matches."""
    snapshot = aggregate([Request("GET", "/a", "", False, 1)]).snapshot()
    assert counted(Objective("a", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("/c",))), snapshot) == Counts()


def test_arithmetic() -> None:
    """A difference of counts is never negative."""
    assert Counts(4, 6, 0.75).less(Counts(3, 4, 0.25)) == Counts(1, 2, 0.5)
    assert Counts(1, 0, 0.5).less(Counts(3, 4, 1.0)) == Counts(0, 0, 0.0)
    assert Counts(3, 4).total == 7
