"""Tests of burn rates, against a recomputation from all samples, and of the default windows of a period."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_otel.slo.burn import MIN_SCRAPES, BurnRates, default_windows
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo, Window
from tests.unit.factories import objectives

CRITICAL = Window("critical", Decimal(120), Decimal(30), Decimal("0.2"))  # a factor of 3 in half an hour
WARNING = Window("warning", Decimal(600), Decimal(120), Decimal("0.5"))  # 1.5
FIRST, SECOND = Objective("a", Sli.SUCCESS, Decimal("0.99")), Objective("b", Sli.SUCCESS, Decimal("0.5"))
OF_DAYS = [("critical", 21600, 1800, "6"), ("warning", 259200, 21600, "1")]
MEAN = Objective("m", Sli.MEAN, None, Decimal(1))


def slo(*windows: Window, min_requests: int = 1) -> Slo:
    """Return three objectives with these windows."""
    return objectives(windows=windows, objectives=(FIRST, MEAN, SECOND), min_requests=min_requests)


def counts(good: int, bad: int) -> dict[str, Counts]:
    """Return judged requests, the same for all objectives."""
    return {"a": Counts(good, bad), "b": Counts(good, bad), "m": Counts(good + bad, 0, 1.0)}


_STEPS = st.lists(
    st.tuples(st.floats(1, 5) | st.floats(1, 200), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=80
)


@settings(deadline=None)
@given(_STEPS)
def test_against_all_samples(steps: list[tuple[float, int, int]]) -> None:
    """A rate is computed since the last look before the window."""
    rates = BurnRates(slo(CRITICAL))
    samples = [(0.0, 0, 0)]
    rates.add(0.0, counts(0, 0))
    for gap_s, good, bad in steps:
        now_s, *before = samples[-1]
        samples.append((now_s + gap_s, before[0] + good, before[1] + bad))
        rates.add(samples[-1][0], counts(*samples[-1][1:]))
        for length in (CRITICAL.long_s, CRITICAL.short_s):
            _, now_good, now_bad = samples[-1]
            past = [s for s in samples if s[0] <= samples[-1][0] - float(length)]
            _, past_good, past_bad = past[-1] if past else samples[0]
            recent = now_good - past_good + now_bad - past_bad
            expected = (now_bad - past_bad) / recent if recent else None
            for objective, budget in ((FIRST, 0.01), (SECOND, 0.5)):
                expected_rate = None if expected is None else pytest.approx(expected / budget)
                assert rates.rate(objective, length) == expected_rate
            assert rates.rate(MEAN, length) is None


def test_many_looks_need_few_samples() -> None:
    """A window is exact to 1/150 of its length, with about 150 samples, even after ten looks per second."""
    rates = BurnRates(slo(WARNING))
    for tick in range(20_000):  # all requests are bad from second 1,000 on
        rates.add(tick / 10, counts(min(tick, 10_000), max(0, tick - 10_000)))
        if tick == 12_999:
            assert rates.rate(FIRST, WARNING.long_s) == pytest.approx(50, rel=0.01)
    assert rates.rate(FIRST, WARNING.long_s) == pytest.approx(100)
    assert sum(map(len, rates._past.values())) < 2 * 155


def test_looks_further_apart_than_the_window() -> None:
    """A window shorter than the time between two looks has the rate since the last look."""
    rates = BurnRates(slo(Window("critical", Decimal(2), Decimal(1), Decimal("0.002"))))
    for look in range(5):
        rates.add(look * 1.01, counts(90 * look, 10 * look))
    assert rates.rate(FIRST, Decimal(1)) == pytest.approx(10)
    burning = next(rates.burning())
    assert (burning.short_rate, burning.long_rate) == pytest.approx((10, 10))
    assert burning.factor == 1.8


def burns(rates: BurnRates) -> list[tuple[str, str]]:
    """Return objective and severity of each pair of windows that burns."""
    return [(pair.objective.name, pair.window.severity) for pair in rates.burning()]


def test_both_windows_must_burn() -> None:
    """A burst that is over, or has just begun, is no alert; one that lasts is."""
    rates = BurnRates(slo(CRITICAL, WARNING))
    assert burns(rates) == []
    good = bad = 0
    at: dict[int, list[tuple[str, str]]] = {}
    for second in range(1200):
        good, bad = (good, bad + 10) if 600 <= second < 700 else (good + 10, bad)
        rates.add(float(second), counts(good, bad))
        at[second] = burns(rates)
    assert at[599] == []
    assert at[602] == []  # 3 of 120 s, a rate of 2.5
    assert at[604] == [("a", "critical")]  # 5 of 120 s, 4.2; of 600 s 0.8
    assert at[615] == [("a", "critical"), ("a", "warning")]
    assert ("b", "critical") not in at[699]  # at a target of 50 % the highest burn rate is 2
    assert ("a", "critical") not in at[731]  # the short window has ended the alert
    assert at[1199] == []


def test_an_outage() -> None:
    """Each objective with a budget burns, also after a mean; at a target of 50 % the highest burn rate is 2."""
    rates = BurnRates(slo(CRITICAL, WARNING))
    rates.add(0.0, counts(0, 0))
    rates.add(10.0, counts(0, 100))
    assert burns(rates) == [("a", "critical"), ("a", "warning"), ("b", "warning")]


@pytest.mark.parametrize(
    ("total", "bad", "expected"),
    [(1000, 30, []), (1000, 31, [("a", "critical")]), (99, 99, []), (100, 100, [("a", "critical")])],
)
def test_limits(total: int, bad: int, expected: list[tuple[str, str]]) -> None:
    """A pair burns above its factor, not at the factor, and only with the required number of requests."""
    rates = BurnRates(slo(CRITICAL, min_requests=100))
    rates.add(0.0, counts(0, 0))
    rates.add(10.0, {**counts(total - bad, bad), "b": Counts()})
    assert burns(rates) == expected
    for pair in rates.burning():
        assert pair.factor == 3
        assert [pair.long_rate, pair.short_rate] == pytest.approx([bad / total * 100] * 2)


@pytest.mark.parametrize(
    ("period", "scrape", "expected"),
    [
        (1800, 5, [("critical", 120, 30, "3"), ("warning", 600, 150, "1.5")]),
        (14400, 5, [("critical", 960, 240, "3"), ("warning", 4800, 1200, "1.5")]),
        (600, 5, [("critical", 40, 20, "3"), ("warning", 200, 50, "1.5")]),
        (300, 5, [("critical", 40, 20, "1.5"), ("warning", 100, 25, "1.5")]),
        (40, 5, [("critical", 40, 20, "1")]),
        (39, 5, []),
        (604800, 15, [("critical", 3600, 300, "14.4"), *OF_DAYS]),
        (2592000, 60, [("critical", 3600, 300, "14.4"), *OF_DAYS]),
        (604800, 100, OF_DAYS),
    ],
)
def test_known_periods(period: int, scrape: int, expected: list[tuple[str, int, int, str]]) -> None:
    """Windows of a short period are shares of it; from a week on they are those of the SRE workbook."""
    windows = default_windows(Decimal(period), Decimal(scrape), Decimal("0.99"))
    lengths = [(severity, Decimal(long), Decimal(short)) for severity, long, short, _ in expected]
    assert [(w.severity, w.long_s, w.short_s) for w in windows] == lengths
    if period != 300:
        assert [w.factor(Decimal(period)) for w in windows] == [Decimal(factor) for *_, factor in expected]


@given(st.integers(1, 4_000_000), st.integers(1, 600_000), st.integers(1, 999_999))
def test_any_period(period_s: int, scrape_ms: int, millionths: int) -> None:
    """For any period a window has its scrapes, is within the period, and its burn rate is possible."""
    period, scrape, target = Decimal(period_s), Decimal(scrape_ms) / 1000, Decimal(millionths) / 1_000_000
    for window in default_windows(period, scrape, target):
        assert MIN_SCRAPES * scrape <= window.short_s < window.long_s <= period
        assert window.short_s % 1 == window.long_s % 1 == 0
        assert 0 < window.budget <= 1
        assert window.factor(period) < 1 / (1 - target)
        assert window.factor(period) >= 1
