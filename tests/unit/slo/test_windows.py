"""Tests of the windows that follow from a period."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.slo.windows import MIN_SCRAPES, default_windows

OF_DAYS = [("critical", 21600, 1800, "6"), ("warning", 259200, 21600, "1")]


@pytest.mark.parametrize(
    ("period", "scrape", "expected"),
    [
        (1800, 5, [("critical", 120, 30, "3"), ("warning", 600, 150, "1.5")]),
        (14400, 5, [("critical", 960, 240, "3"), ("warning", 4800, 1200, "1.5")]),
        (600, 5, [("critical", 40, 20, "3"), ("warning", 200, 50, "1.5")]),
        (300, 5, [("critical", 40, 20, "1.5"), ("warning", 100, 25, "1.5")]),
        (40, 5, [("critical", 40, 20, "1")]),
        (39, 5, []),
        (
            604800,
            15,
            [("critical", 3600, 300, "14.4"), *OF_DAYS],
        ),
        (
            2592000,
            60,
            [("critical", 3600, 300, "14.4"), *OF_DAYS],
        ),
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
