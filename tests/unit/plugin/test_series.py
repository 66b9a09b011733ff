"""Tests of the mutable state of a run: what is pending is counted once, and names are bounded."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.core.catalogue import OTHER
from locust_otel.core.snapshot import ErrorKey, SeriesKey
from locust_otel.plugin.series import MAX_ERROR_TYPES, Aggregate, Series, usable_length
from tests.unit.factories import record, rich_aggregate, totals

KEY = SeriesKey("GET", "/", "Shopper", "success")


class Unfloatable:
    """A body length that cannot even be asked for its value."""

    def __float__(self) -> float:
        """Fail in a way that nobody expects."""
        raise RuntimeError("no number")


def aggregate(max_names: int = 200, slow_s: float = 5.0) -> Aggregate:
    """Return an empty aggregate."""
    return Aggregate(slow_s=slow_s, max_names=max_names)


def test_tally_counts_each_pending_request_once() -> None:
    """Two tallies of the same requests count them once, and the pending list stays the same object."""
    requests = aggregate()
    series = requests.of(KEY)
    pending = series.pending
    pending += [10, 100, 20, 200, 7_000, 300]
    requests.tally()
    requests.tally()
    assert series.pending is pending
    assert pending == []
    assert requests.total() == 3
    assert sum(series.counts) == 3
    assert series.sum_s == pytest.approx(7.03)
    assert series.body_bytes == 600


def test_total_and_snapshot_count_what_is_pending() -> None:
    """Whoever asks sees requests that no tally has counted yet."""
    requests = aggregate()
    requests.of(KEY).pending += [10, 1]
    assert requests.total() == 1
    requests.of(KEY).pending += [10, 1]
    assert requests.snapshot().total == 2


def test_snapshot_is_frozen() -> None:
    """What is recorded after a snapshot does not change it."""
    requests = rich_aggregate()
    taken = requests.snapshot()
    before = (totals(taken), [list(s.counts) for s in taken.series], dict(taken.errors), dict(taken.user_errors))
    record(requests, KEY, [1, 2, 3])
    requests.count_error("GET", "/", "500")
    requests.count_user_error("Shopper", "KeyError")
    requests.of(KEY).exemplars.clear()
    after = (totals(taken), [list(s.counts) for s in taken.series], dict(taken.errors), dict(taken.user_errors))
    assert before == after


def test_slow_requests_are_exact() -> None:
    """A request is slow where it took longer than the threshold: not at it, and by one float above it."""
    requests = aggregate(slow_s=1.1)
    record(requests, KEY, [1100, 1099, math.nextafter(1100, math.inf) + 1e-9, 1101, 60_000])
    taken = requests.snapshot()
    assert taken.slow(taken.series[0]) == 3


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, 0), (17, 17), (17.9, 17), (True, 1), (Decimal("12.5"), 12), (Fraction(7, 2), 3),
        (None, 0), (math.nan, 0), (math.inf, 0), (-math.inf, 0), (-1, 0), ("", 0), ("abc", 0), ("12", 0), (b"12", 0),
        ([], 0), (object(), 0), (10**400, 0), (1j, 0), (Decimal("NaN"), 0), (Decimal("sNaN"), 0), (Unfloatable(), 0),
    ],
)  # fmt: skip
def test_usable_length(length: object, expected: int) -> None:
    """A length is a number that is not negative; anything else, text too, counts as 0."""
    assert usable_length(length) == expected


@pytest.mark.parametrize(
    "odd",
    [
        None, math.nan, math.inf, -math.inf, -5, "12", [], object(), 10**400, 2**64, Decimal("NaN"), Decimal("sNaN"),
        Decimal("-3"), Unfloatable(),
    ],
    ids=lambda odd: "whole" if type(odd) is int else type(odd).__name__,
)  # fmt: skip
@pytest.mark.parametrize("position", [0, 1, 2])
def test_odd_lengths_among_good_ones(odd: Any, position: int) -> None:
    """An odd length is left out of the bytes, and takes no other request with it."""
    requests = aggregate()
    lengths: list[Any] = [100, 200]
    lengths.insert(position, odd)
    for length in lengths:
        requests.of(KEY).pending += [10, length]
    assert requests.total() == 3
    assert requests.of(KEY).body_bytes == 300


def test_negative_times_are_unmeasured() -> None:
    """A negative or minus infinite time among good ones is counted, and stays out of the histogram and the sum."""
    requests = aggregate()
    series = requests.of(KEY)
    series.pending += [10, 1, -1, 2, -math.inf, 4, 30, 8]
    requests.tally()
    assert (sum(series.counts), series.unmeasured, series.body_bytes) == (2, 2, 15)
    assert series.sum_s == pytest.approx(0.04)


def test_names_fold_once_there_are_too_many() -> None:
    """The first pairs of method and name keep series of their own; later names become `_OTHER` under a known method."""
    requests = aggregate(max_names=2)
    assert requests.admitted("GET", "/a") == ("GET", "/a")
    assert not requests.is_full
    assert requests.admitted("POST", "/a") == ("POST", "/a")
    assert requests.is_full
    assert requests.admitted("GET", "/b") == ("GET", OTHER)
    assert requests.admitted("DELETE", "/b") == (OTHER, OTHER)
    assert requests.admitted("GET", "/a") == ("GET", "/a")
    assert requests.names == {("GET", "/a"), ("POST", "/a")}


def test_folded_counts_requests_not_names() -> None:
    """The number of folded requests is that of all requests under `_OTHER`, unmeasured ones too."""
    requests = aggregate(max_names=1)
    for name in ("/a", "/b", "/c"):
        method, label = requests.admitted("GET", name)
        record(requests, SeriesKey(method, label, "", "success"), [1, 2])
    requests.of(SeriesKey("GET", OTHER, "", "success")).unmeasured += 1
    assert requests.folded() == 5
    assert requests.total() == 7


def test_admit_only() -> None:
    """Told names get a series, those that had one keep it, and no other is admitted though there is room."""
    requests = aggregate(max_names=100)
    requests.admitted("GET", "/mine")
    requests.admit_only([("GET", "/a"), ("PUT", "/b")])
    assert requests.is_full
    assert [requests.admitted(*pair) for pair in (("GET", "/mine"), ("GET", "/a"), ("PUT", "/b"))] == [
        ("GET", "/mine"), ("GET", "/a"), ("PUT", "/b"),
    ]  # fmt: skip
    assert requests.admitted("GET", "/c") == ("GET", OTHER)
    assert requests.admitted("PUT", "/c") == ("PUT", OTHER)
    assert requests.admitted("HEAD", "/c") == (OTHER, OTHER)


def test_error_types_are_bounded() -> None:
    """The first types keep their name for good, all others share `_OTHER`, and no failure is lost."""
    requests = aggregate()
    for turn in range(2):
        for number in range(MAX_ERROR_TYPES + 30):
            requests.count_error("GET", f"/{turn}", f"Error{number}")
    assert sum(requests.errors.values()) == 2 * (MAX_ERROR_TYPES + 30)
    for turn in range(2):
        assert requests.errors[ErrorKey("GET", f"/{turn}", OTHER)] == 30
        assert requests.errors[ErrorKey("GET", f"/{turn}", "Error0")] == 1
        assert ErrorKey("GET", f"/{turn}", f"Error{MAX_ERROR_TYPES}") not in requests.errors


def test_user_errors_are_counted_and_bounded() -> None:
    """Exceptions out of tasks are counted by class and type, under the same bound."""
    requests = aggregate()
    for number in range(MAX_ERROR_TYPES + 5):
        requests.count_user_error("Shopper", f"Error{number}", 2)
    assert requests.user_errors["Shopper", "Error3"] == 2
    assert requests.user_errors["Shopper", OTHER] == 10


@given(st.lists(st.lists(st.tuples(st.floats(-10, 1e9) | st.integers(-3, 10**9), st.integers(0, 10**9)))))
def test_tallies_in_any_pieces_equal_one_count(pieces: list[list[tuple[float, int]]]) -> None:
    """However requests are spread over tallies, counts equal those of comparing each with the bounds."""
    requests = aggregate()
    series: Series = requests.of(KEY)
    for piece in pieces:
        for number in piece:
            series.pending += number
        requests.tally()
    events = [number for piece in pieces for number in piece]
    seconds = [t / 1000 for t, _ in events if t >= 0]
    edges = requests.layout.classic_bounds
    assert requests.layout.classic(series.counts) == (
        *(sum(s <= edge for s in seconds) for edge in edges),
        len(seconds),
    )
    assert series.unmeasured == len(events) - len(seconds)
    assert series.body_bytes == sum(length for _, length in events)
    assert series.sum_s == pytest.approx(math.fsum(seconds))
