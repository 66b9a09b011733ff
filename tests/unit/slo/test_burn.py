"""Tests of burn rates, against a plain recomputation from all samples, and of the windows that suit a period."""

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
    """Return what was judged so far, the same for all."""
    return {"a": Counts(good, bad), "b": Counts(good, bad), "m": Counts(good + bad, 0, 1.0)}


_STEPS = st.lists(
    st.tuples(st.floats(1, 5) | st.floats(1, 200), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=80
)


@settings(deadline=None)
@given(_STEPS)
def test_against_all_samples(steps: list[tuple[float, int, int]]) -> None:
    """A rate is that since the newest look from before the window, out of all that were."""
    of = slo(CRITICAL)
    rates = BurnRates(of)
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
                found = rates.rate(objective, length)
                assert found == (None if expected is None else pytest.approx(expected / budget))
            assert rates.rate(MEAN, length) is None


def test_many_looks_cost_little() -> None:
    """However often one looks, a window is known to within a hundred and fiftieth of its length."""
    of = slo(WARNING)
    rates = BurnRates(of)
    for tick in range(20_000):  # ten a second; all bad from second 1000 on
        rates.add(tick / 10, counts(min(tick, 10_000), max(0, tick - 10_000)))
    assert rates.rate(FIRST, WARNING.long_s) == pytest.approx(100)
    rates = BurnRates(of)
    for tick in range(13_000):
        rates.add(tick / 10, counts(min(tick, 10_000), max(0, tick - 10_000)))
    assert rates.rate(FIRST, WARNING.long_s) == pytest.approx(50, rel=0.01)
    assert sum(map(len, rates._past.values())) < 2 * 155


def test_looks_further_apart_than_the_window() -> None:
    """A window shorter than the time between two looks still has a rate."""
    short = Window("critical", Decimal(2), Decimal(1), Decimal("0.2"))
    rates = BurnRates(slo(short))
    for second in range(5):
        rates.add(second * 1.01, counts(90 * second, 10 * second))
    assert rates.rate(FIRST, Decimal(1)) == pytest.approx(10)
    assert rates.rate(FIRST, Decimal(2)) == pytest.approx(10)


def burns(rates: BurnRates) -> list[tuple[str, str]]:
    """Return what burns, by objective and severity."""
    return [(pair.objective.name, pair.window.severity) for pair in rates.burning()]


def test_both_windows_must_burn() -> None:
    """A burst that is over, and one that has just begun, are no alert; one that lasts is, and says how fast."""
    rates = BurnRates(slo(CRITICAL, WARNING))
    assert burns(rates) == []
    good = bad = 0
    found: dict[int, list[tuple[str, str]]] = {}
    for second in range(1200):
        good, bad = (good, bad + 10) if 600 <= second < 700 else (good + 10, bad)
        rates.add(float(second), counts(good, bad))
        found[second] = burns(rates)
    assert found[599] == []
    assert found[602] == []  # 3 of 120 s, a rate of 2.5
    assert found[604] == [("a", "critical")]  # 5 of 120 s, 4.2; of 600 s 0.8
    assert found[615] == [("a", "critical"), ("a", "warning")]
    assert ("b", "critical") not in found[699]  # at a target of 50 % all bad burn at 2
    assert ("a", "critical") not in found[731]  # the short window has ended it
    assert found[1199] == []


def test_exactly_the_factor_is_no_alert() -> None:
    """A pair burns above its factor, and not at it."""
    for bad, expected in ((30, []), (31, [("a", "critical")])):
        rates = BurnRates(slo(CRITICAL))
        rates.add(0.0, counts(0, 0))
        rates.add(10.0, counts(1000 - bad, bad))
        assert burns(rates) == expected
        for pair in rates.burning():
            assert pair.factor == 3
            assert [pair.long_rate, pair.short_rate] == pytest.approx([3.1, 3.1])


def test_too_few_requests_do_not_burn() -> None:
    """Below the least number of judged requests there is no alert."""
    for total, expected in ((99, []), (100, [("a", "critical")])):
        rates = BurnRates(slo(CRITICAL, min_requests=100))
        rates.add(0.0, counts(0, 0))
        rates.add(10.0, {**counts(0, total), "b": Counts()})
        assert burns(rates) == expected


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
    """Windows of a short period are shares of it; of a week and more they are those of the SRE workbook."""
    found = default_windows(Decimal(period), Decimal(scrape), Decimal("0.99"))
    lengths = [(severity, Decimal(long), Decimal(short)) for severity, long, short, _ in expected]
    assert [(w.severity, w.long_s, w.short_s) for w in found] == lengths
    if period != 300:
        assert [w.factor(Decimal(period)) for w in found] == [Decimal(factor) for *_, factor in expected]


@given(st.integers(1, 4_000_000), st.integers(1, 600_000), st.integers(1, 999_999))
def test_any_period(period_s: int, scrape_ms: int, millionths: int) -> None:
    """Whatever the period, each window holds its scrapes, lies in the period, and its burn rate can be reached."""
    period, scrape, target = Decimal(period_s), Decimal(scrape_ms) / 1000, Decimal(millionths) / 1_000_000
    for window in default_windows(period, scrape, target):
        assert MIN_SCRAPES * scrape <= window.short_s < window.long_s <= period
        assert window.short_s % 1 == window.long_s % 1 == 0
        assert 0 < window.budget <= 1
        assert window.factor(period) < 1 / (1 - target)
        assert window.factor(period) >= 1
