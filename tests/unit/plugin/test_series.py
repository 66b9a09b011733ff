"""Tests of the requests of a run: each counts once, and an odd value does not affect other requests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.core.cardinality import MAX_ERROR_TYPES
from locust_otel.core.catalogue import OTHER
from locust_otel.core.snapshot import ErrorKey, SeriesKey
from locust_otel.plugin.series import MAX_BODY_BYTES, Requests, Series, usable_length

KEY = SeriesKey("GET", "/", "Shopper", "success")


class Unfloatable:
    """A body length whose value cannot be read."""

    def __float__(self) -> float:
        """Raise an unusual error."""
        raise RuntimeError("no number")


class Follower:
    """Collects the changes."""

    def __init__(self) -> None:
        self.buckets: dict[SeriesKey, Counter[int]] = {}
        self.errors: list[ErrorKey] = []

    def touched(self, series: Series, indexes: Collection[int]) -> None:
        """Collect buckets."""
        self.buckets.setdefault(series.key, Counter()).update(indexes)

    def touched_error(self, key: ErrorKey) -> None:
        """Collect an error."""
        self.errors.append(key)


def empty(slow_s: float = 5.0) -> Requests:
    """Return no requests."""
    return Requests(slow_s=slow_s, max_names=200)


def add(requests: Requests, *numbers: Any, key: SeriesKey = KEY) -> Series:
    """Put durations and lengths into a series, as the recorder does."""
    series = requests.of(key)
    series.pending += numbers
    requests.dirty[series] = None
    return series


def test_tally_counts_each_pending_request_once() -> None:
    """The total contains pending requests; two tallies count them once, and keep the list of pending ones."""
    requests = empty()
    series = add(requests, 10, 100, 20, 200, 7_000, 300)
    pending = series.pending
    assert (requests.total, requests.measured) == (3, 0)
    assert not requests.tally()
    assert not requests.tally()
    assert series.pending is pending
    assert pending == []
    assert requests.total == requests.measured == sum(series.counts.values()) == 3
    assert series.sum_s == requests.sum_s == pytest.approx(7.03)
    assert series.body_bytes == 600
    assert not requests.dirty
    add(requests, 10, 1)
    assert (requests.total, requests.measured) == (4, 3)


def test_a_tally_in_pieces() -> None:
    """A tally may count some series only, in the order of their changes."""
    requests = empty()
    keys = [KEY._replace(name=f"/{number}") for number in range(5)]
    for key in reversed(keys):
        add(requests, 10, 1, key=key)
    assert requests.tally(2)
    assert [series.key for series in requests.dirty] == keys[2::-1]
    add(requests, 10, 1, key=keys[4])
    assert requests.tally(3)
    assert not requests.tally(3)
    assert (requests.measured, requests.total) == (6, 6)


def test_the_slow_threshold_is_a_bound() -> None:
    """A request at the threshold, and one just above it, are in different buckets."""
    requests = empty(slow_s=1.1)
    series = add(requests, 1100, 0, math.nextafter(1100, math.inf) + 1e-9, 0)
    requests.tally()
    index = requests.layout.bounds.index(1.1)
    assert series.counts == {index: 1, index + 1: 1}


def test_requests_without_a_duration() -> None:
    """Each counts with its bytes, and changes its series."""
    requests, follower = empty(), Follower()
    requests.followers.append(follower)
    series = add(requests, 10, 1)
    requests.count_unmeasured(series, 7)
    assert (series.unmeasured, requests.unmeasured, requests.total) == (1, 1, 2)
    requests.tally()
    requests.count_unmeasured(series, 7)
    assert follower.buckets[KEY].total() == 1
    requests.tally()
    assert (requests.total, series.body_bytes) == (3, 15)


def test_followers() -> None:
    """Each receives every changed bucket, a series without any, and every error."""
    requests, followers = empty(), [Follower(), Follower()]
    requests.followers += followers
    other = KEY._replace(name="/b")
    series = add(requests, 10, 1, 10, 1, 70, 1)
    add(requests, key=other)
    requests.count_error("GET", "/", "500")
    requests.tally()
    for follower in followers:
        assert follower.buckets == {KEY: Counter(series.counts), other: Counter()}
        assert follower.errors == [ErrorKey("GET", "/", "500")]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, 0), (17, 17), (17.9, 17), (True, 1), (Decimal("12.5"), 12), (Fraction(7, 2), 3),
        (None, 0), (math.nan, 0), (math.inf, 0), (-math.inf, 0), (-1, 0), ("", 0), ("abc", 0), ("12", 0), (b"12", 0),
        ([], 0), (object(), 0), (10**400, 0), (1j, 0), (Decimal("NaN"), 0), (Decimal("sNaN"), 0), (Unfloatable(), 0),
    ],
)  # fmt: skip
def test_usable_length(length: object, expected: int) -> None:
    """A length is a number that is not negative; any other value, also text, counts as 0."""
    assert usable_length(length) == expected


@pytest.mark.parametrize(
    "odd",
    [
        None, math.nan, math.inf, -math.inf, -5, "12", [], object(), 10**400, 2**64, Decimal("NaN"), Decimal("sNaN"),
        Decimal("-3"), Unfloatable(),
    ],
    ids=lambda odd: "whole" if type(odd) is int else type(odd).__name__,
)  # fmt: skip
@pytest.mark.parametrize("lengths", [(), (100, 200)], ids=["alone", "among others"])
def test_odd_lengths(odd: Any, lengths: tuple[int, ...]) -> None:
    """An invalid length adds no bytes, and does not affect other requests."""
    for position in range(len(lengths) + 1):
        requests = empty()
        chosen: list[Any] = list(lengths)
        chosen.insert(position, odd)
        series = add(requests, *(number for length in chosen for number in (10, length)))
        requests.tally()
        assert (requests.measured, series.body_bytes) == (len(chosen), sum(lengths))


def test_bytes_have_a_limit() -> None:
    """The sum stays one that a report may carry."""
    requests = empty()
    for lengths in ([2**52], [2**52], [2**55] * 3, [1]):
        series = add(requests, *(number for length in lengths for number in (10, length)))
        requests.tally()
    assert series.body_bytes == MAX_BODY_BYTES


@pytest.mark.parametrize("times", [[-1], [-math.inf], [math.nan], [10, -1, -math.inf, 30, math.nan]], ids=str)
def test_odd_times_are_unmeasured(times: list[float]) -> None:
    """A request with an invalid time counts, but not in the histogram and the sum."""
    requests = empty()
    series = add(requests, *(number for time_ms in times for number in (time_ms, 1)))
    requests.tally()
    good = [time_ms for time_ms in times if time_ms >= 0]
    assert (requests.measured, requests.unmeasured) == (len(good), len(times) - len(good))
    assert (sum(series.counts.values()), series.unmeasured, series.body_bytes) == (
        len(good), len(times) - len(good), len(times),
    )  # fmt: skip
    assert series.sum_s == pytest.approx(sum(good) / 1000)


def test_error_types_are_bounded() -> None:
    """The first types keep their names, all others share `_OTHER`, and no failure is lost."""
    requests = empty()
    for turn in range(2):
        for number in range(MAX_ERROR_TYPES + 30):
            requests.count_error("GET", f"/{turn}", f"Error{number}")
    assert sum(requests.errors.values()) == 2 * (MAX_ERROR_TYPES + 30)
    for turn in range(2):
        assert requests.errors[ErrorKey("GET", f"/{turn}", OTHER)] == 30
        assert requests.errors[ErrorKey("GET", f"/{turn}", "Error0")] == 1
        assert ErrorKey("GET", f"/{turn}", f"Error{MAX_ERROR_TYPES}") not in requests.errors


def test_user_errors_are_counted_and_bounded() -> None:
    """Exceptions in tasks are counted by class and type, with the same limit."""
    requests = empty()
    for number in (*range(MAX_ERROR_TYPES + 5), 3):
        requests.count_user_error("Shopper", f"Error{number}")
    assert requests.user_errors["Shopper", "Error3"] == 2
    assert requests.user_errors["Shopper", OTHER] == 5


@given(st.lists(st.lists(st.tuples(st.floats(-10, 1e9) | st.integers(-3, 10**9), st.integers(0, 10**9)))))
def test_tallies_in_any_pieces_equal_one_count(pieces: list[list[tuple[float, int]]]) -> None:
    """With any number of tallies, the counts equal a comparison of each request with the bounds."""
    requests = empty()
    series = requests.of(KEY)
    for piece in pieces:
        add(requests, *(number for event in piece for number in event))
        requests.tally()
    events = [event for piece in pieces for event in piece]
    seconds = [t / 1000 for t, _ in events if t >= 0]
    edges = requests.layout.classic_bounds
    at_most = [sum(s <= edge for s in seconds) for edge in edges]
    assert requests.layout.classic(series.counts) == (*at_most, len(seconds))
    assert series.unmeasured == requests.unmeasured == len(events) - len(seconds)
    assert series.body_bytes == sum(length for _, length in events)
    assert series.sum_s == pytest.approx(math.fsum(seconds))
    assert requests.sum_s == pytest.approx(series.sum_s)
    assert requests.total == len(events)
