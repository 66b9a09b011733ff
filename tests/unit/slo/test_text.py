"""Tests of results as text."""

from __future__ import annotations

from decimal import Decimal

import pytest

from locust_otel.slo import text
from locust_otel.slo.burn import Burning
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Match, Objective, Sli, Window
from locust_otel.slo.verdict import Result, Status, Worst

AVAILABILITY = Objective("availability", Sli.SUCCESS, Decimal("0.99"))
MEAN = Objective("mean", Sli.MEAN, None, Decimal("0.5"))


def results() -> list[Result]:
    """Return one result of each kind."""
    odd = Objective("odd", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("[red]/x[/]",)))
    return [
        Result(AVAILABILITY, Counts(12_300, 45), Status.MISSED, 0.3645, Worst("GET", "[b]/", Counts(5, 40), 0.9)),
        Result(MEAN, Counts(1_000, 0, 312.0), Status.MET, None, Worst("GET", "/slow", Counts(3, 0, 9.0), 3.0)),
        Result(odd, Counts(), Status.UNDECIDED, note="no request was judged"),
    ]


def test_table() -> None:
    """Each objective is a line with its numbers; markup in names is shown unchanged."""
    lines = text.written(text.table(results(), has_worst=True)).splitlines()
    assert lines[0].split() == [
        "objective", "asked", "for", "actual", "good", "of", "budget", "spent", "status", "worst", "endpoint", "reason",
    ]  # fmt: skip
    joined = " ".join(" ".join(lines).split())
    for part in (
        "99 % of requests succeed",
        "99.64 % 12,300 12,345 36% missed",
        "312 ms 1,000 – met",
        "– 0 0 – undecided",
    ):
        assert part in joined
    assert "[b]/: 40" in joined
    assert "[red]/x[/]" in joined
    assert all(len(line) <= 140 and line == line.rstrip() for line in lines)


def test_table_of_a_running_test() -> None:
    """The table has no endpoints until the end, but always the notes."""
    written = text.written(text.table(results()))
    assert "/slow" not in written
    assert "no request" in written
    assert "worst" not in written


def test_a_result_in_words() -> None:
    """A value that is known as text only has no number of good requests."""
    result = Result(AVAILABILITY, Counts(1_000), Status.UNDECIDED, told="p95 1.80 s")
    assert text.actual(result) == "p95 1.80 s"
    assert "p95 1.80 s 1,000 – undecided" in " ".join(text.written(text.table([result])).split())


def test_line() -> None:
    """All objectives are in one line."""
    assert text.line(results()) == "availability 99.64 % missed · mean 312 ms met · odd – undecided"
    assert text.line([]) == ""


@pytest.mark.parametrize(
    ("good", "total", "expected"),
    [
        (1, 1, "100.0 %"), (0, 1, "0.0 %"), (995, 999, "99.6 %"), (9_999, 10_000, "99.99 %"),
        (1_000, 1_000, "100.00 %"),
        (100_000, 100_000, "100.000 %"), (299_999, 300_000, "99.9997 %"), (10**9 - 1, 10**9, "99.9999999 %"),
        (3 * 10**8 - 1, 3 * 10**8, "99.9999997 %"), (2**53 - 1, 2**53, "100.000000000000 %"),
    ],
)  # fmt: skip
def test_share(good: int, total: int, expected: str) -> None:
    """More requests have more digits, and one bad request among many is visible."""
    assert text.share(good / total, total) == expected


@pytest.mark.parametrize(
    ("sum_s", "expected"), [(3.0, "1.00 s"), (0.9, "300 ms"), (0.03, "10 ms"), (0.015, "5.0 ms"), (0.0, "0.0 ms")]
)
def test_means(sum_s: float, expected: str) -> None:
    """A mean is in seconds or milliseconds."""
    assert text.actual(Result(MEAN, Counts(3, 0, sum_s), Status.MET)) == expected


def test_burning() -> None:
    """The sentence has both burn rates, both windows, and the limit."""
    window = Window("critical", Decimal(120), Decimal(30), Decimal("0.2"))
    assert text.burning(Burning(AVAILABILITY, window, 99.96, 12.0, 3.0)) == (
        "availability spends its budget 100.0 times as fast as it may over 2m, and 12.0 times over 30s "
        "(critical above 3)"
    )
