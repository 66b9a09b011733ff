"""Tests of objectives as values: the requests that they cover, and their texts."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.slo.objectives import Match, Objective, Sli, Window, percent, plain, span, spoken
from tests.unit.factories import objectives

_UNITS: dict[str, Decimal | int] = {"ms": Decimal("0.001"), "s": 1, "m": 60, "h": 3600, "d": 86400, "min": 60}


def read_back(text: str) -> Decimal:
    """Return the seconds of a written time."""
    parts = re.findall(r"([0-9.]+) ?([a-z]+)", text)
    assert "".join(number + unit for number, unit in parts) == text.replace(" ", "")
    return sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0))


@pytest.mark.parametrize(
    ("seconds", "as_span", "as_spoken"),
    [
        ("0", "0s", "0 ms"), ("0.5", "500ms", "500 ms"), ("0.001", "1ms", "1 ms"), ("1.5", "1500ms", "1.5 s"),
        ("2", "2s", "2 s"), ("30", "30s", "30 s"), ("60", "1m", "1 min"), ("90", "1m30s", "90 s"),
        ("1800", "30m", "30 min"),
        ("3600", "1h", "1 h"), ("5400", "1h30m", "90 min"), ("14400", "4h", "4 h"), ("86400", "1d", "1 d"),
        ("604800", "7d", "7 d"), ("90061", "1d1h1m1s", "90061 s"), ("2.000", "2s", "2 s"), ("3E+1", "30s", "30 s"),
    ],
)  # fmt: skip
def test_times(seconds: str, as_span: str, as_spoken: str) -> None:
    """A time has a form for Prometheus and a form for people."""
    assert (span(Decimal(seconds)), spoken(Decimal(seconds))) == (as_span, as_spoken)


@given(st.integers(0, 366 * 86_400_000))
def test_any_time_is_read_back(milliseconds: int) -> None:
    """A written time is exactly the given number of seconds."""
    seconds = Decimal(milliseconds) / 1000
    assert read_back(span(seconds)) == read_back(spoken(seconds)) == seconds


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        ("0.99", "99 %"),
        ("0.995", "99.5 %"),
        ("0.9", "90 %"),
        ("0.01", "1 %"),
        ("0.999999", "99.9999 %"),
        ("1", "100 %"),
    ],
)
def test_percent(ratio: str, text: str) -> None:
    """A ratio in percent has no superfluous digits."""
    assert percent(Decimal(ratio)) == text


def test_plain() -> None:
    """A number has no trailing zeros and no exponent."""
    assert [str(plain(Decimal(text))) for text in ("30.00", "3E+1", "0.10", "0E-6", "1E-7")] == [
        "30", "30", "0.1", "0", "1E-7",
    ]  # fmt: skip
    assert f"{plain(Decimal('1E-7')):f}" == "0.0000001"


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (Objective("a", Sli.SUCCESS, Decimal("0.99")), "99 % of requests succeed"),
        (Objective("a", Sli.LATENCY, Decimal("0.95"), Decimal(2)), "95 % of requests answer within 2 s"),
        (
            Objective("a", Sli.LATENCY, Decimal("0.95"), Decimal("0.3"), only_success=True),
            "95 % of successful requests answer within 300 ms",
        ),
        (Objective("a", Sli.MEAN, None, Decimal("0.5")), "requests take 500 ms on average at the most"),
        (
            Objective("a", Sli.SUCCESS, Decimal("0.999"), match=Match(("GET", "PUT"), ("/a",), ("Shopper",))),
            "99.9 % of requests (method GET or PUT, name /a, user_class Shopper) succeed",
        ),
        (
            Objective(
                "a", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("/a*",), exclude=Match(("TXN",), ("/abc", "*z")))
            ),
            "90 % of requests (name /a*, not method TXN, not name /abc or *z) succeed",
        ),
    ],
)
def test_sentences(objective: Objective, sentence: str) -> None:
    """An objective has a sentence for people."""
    assert objective.sentence == sentence


def test_match() -> None:
    """A request fits every key, and one text of each; an empty key fits any request."""
    both = Match(methods=("GET",), names=("/a", "/b"))
    assert both.covers("GET", "/a", "x")
    assert both.covers("GET", "/b", "")
    assert not both.covers("POST", "/a", "x")
    assert not both.covers("GET", "/c", "x")
    assert not Match(user_classes=("Shopper",)).covers("GET", "/a", "Admin")
    assert Match().covers("", "", "")
    assert not Match()
    assert both


@pytest.mark.parametrize(
    ("text", "fits", "others"),
    [
        ("/api/*", ["/api/", "/api/orders", "/api/a\nb"], ["/api", "x/api/", ""]),
        ("*/[id]", ["/items/[id]", "/[id]"], ["/items/i", "/items/[id]/"]),
        ("a*b*c", ["abc", "a b b c"], ["acb", "abcd"]),
        ("*", ["", "/"], []),
        ("/a.c", ["/a.c"], ["/abc", "/a.c*"]),
    ],
)
def test_a_star_stands_for_any_characters(text: str, fits: list[str], others: list[str]) -> None:
    """No other character is special, not even the brackets of `[id]`."""
    for names in ((text,), ("/else", text)):
        match = Match(names=names)
        assert [name for name in (*fits, *others) if match.covers("GET", name, "")] == fits


def test_exclusion() -> None:
    """A request that fits any key of `not` is left out, even if it fits the other keys."""
    match = Match(names=("/a*",), exclude=Match(methods=("TXN",), names=("/a/[id]",), user_classes=("Admin",)))
    assert match.covers("GET", "/a", "Shopper")
    assert not match.covers("TXN", "/a", "Shopper")
    assert not match.covers("GET", "/a/[id]", "Shopper")
    assert not match.covers("GET", "/a", "Admin")
    assert not match.covers("GET", "/b", "Shopper")
    assert match.knows_users
    assert match.of_any_user().covers("GET", "/a", "Admin")
    assert not match.of_any_user().knows_users
    assert Match(exclude=Match(names=("/a",)))


def test_budget_is_exact() -> None:
    """A budget has no rounding error of floats."""
    assert str(Objective("a", Sli.SUCCESS, Decimal("0.99")).budget) == "0.01"
    assert Objective("a", Sli.MEAN, None, Decimal(1)).budget is None


def test_factor() -> None:
    """20 % of the budget of half an hour in 2 minutes is a burn rate of 3."""
    assert Window("critical", Decimal(120), Decimal(30), Decimal("0.2")).factor(Decimal(1800)) == 3
    assert str(Window("critical", Decimal(3600), Decimal(300), Decimal(1) / 42).factor(Decimal(604800))) == "4"


def test_properties_of_a_file() -> None:
    """Only latencies have thresholds, and lengths of windows are unique and sorted."""
    lengths = (("warning", 120, 30), ("critical", 600, 120))
    pairs = tuple(Window(severity, Decimal(long), Decimal(short), Decimal(1)) for severity, long, short in lengths)
    slo = objectives(windows=pairs)
    assert slo.thresholds_s == (0.3,)
    assert slo.spans_s == (Decimal(30), Decimal(120), Decimal(600))
    assert slo.most_urgent == pairs[1]
    assert slo.names == frozenset()
