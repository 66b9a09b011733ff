"""Tests of durations as text."""

from __future__ import annotations

import pytest

from locust_otel.core import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0.0 ms"), (0.0041, "4.1 ms"), (0.00999, "10.0 ms"), (0.01, "10 ms"), (0.3124, "312 ms"),
        (0.9996, "1000 ms"), (1.8, "1.80 s"), (75, "75.00 s"),
    ],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    """A duration has two or three digits, or tenths of a millisecond."""
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "elapsed"),
    [
        (None, "–"), (0, "0.0 s"), (4.66, "4.7 s"), (-0.81, "-0.8 s"), (59.94, "59.9 s"), (59.96, "1:00"),
        (91.2, "1:31"), (-91.2, "-1:31"), (3661, "1:01:01"),
    ],
)  # fmt: skip
def test_elapsed(seconds: float | None, elapsed: str) -> None:
    """It has tenths of a second below a minute, then the format of a clock."""
    assert words.elapsed(seconds) == elapsed


def test_limit_and_percent() -> None:
    """A limit has no decimals that the file lacks; a percentage has one."""
    assert [words.limit(seconds) for seconds in (15, 2.5, 60, 180)] == ["15 s", "2.5 s", "1:00", "3:00"]
    assert [words.percent(share) for share in (0, 0.0042, 0.5, 1.19)] == ["0.0%", "0.4%", "50.0%", "119.0%"]


@pytest.mark.parametrize(
    ("seconds", "clock", "length"),
    [
        (0, "0:00", "0 s"), (59.4, "0:59", "59 s"), (59.6, "1:00", "1 min 0 s"), (65, "1:05", "1 min 5 s"),
        (7265, "2:01:05", "2 h 1 min"),
    ],
)  # fmt: skip
def test_clock_and_length(seconds: float, clock: str, length: str) -> None:
    """Both are rounded to a second, and have hours from one hour on."""
    assert (words.clock(seconds), words.length(seconds)) == (clock, length)
