"""Tests of the limits on the number of series of a run."""

from __future__ import annotations

import pickle

from locust_otel.core.cardinality import MAX_ERROR_TYPES, ErrorTypes, Names
from locust_otel.core.catalogue import OTHER


def test_names_fold_once_there_are_too_many() -> None:
    """The first pairs of method and name keep their own series; later names become `_OTHER` under a known method."""
    names = Names(2)
    assert names.admitted("GET", "/a") == ("GET", "/a")
    assert names.admitted("POST", "/a") == ("POST", "/a")
    assert names.admitted("GET", "/b") == ("GET", OTHER)
    assert names.admitted("DELETE", "/b") == (OTHER, OTHER)
    assert names.admitted("GET", "/a") == ("GET", "/a")
    assert names.all == {("GET", "/a"), ("POST", "/a")}


def test_grouped_names() -> None:
    """Names that differ only in ids share one series."""
    names = Names(2, groups=True)
    assert {names.admitted("GET", f"/items/{n}") for n in range(9)} == {("GET", "/items/[id]")}
    assert names.admitted("GET", "/") == ("GET", "/")
    assert names.admitted("GET", "/more/7") == ("GET", OTHER)
    assert names.all == {("GET", "/items/[id]"), ("GET", "/")}


def test_admit_only() -> None:
    """The given names get series, earlier names keep theirs, and no other name is admitted below the limit."""
    names = Names(100)
    names.admitted("GET", "/mine")
    names.admit_only([("GET", "/a"), ("PUT", "/b")])
    for pair in (("GET", "/mine"), ("GET", "/a"), ("PUT", "/b")):
        assert names.admitted(*pair) == pair
    assert names.admitted("GET", "/c") == ("GET", OTHER)
    assert names.admitted("PUT", "/c") == ("PUT", OTHER)
    assert names.admitted("HEAD", "/c") == (OTHER, OTHER)


def test_names_of_objectives_are_kept() -> None:
    """A name of an objective is never folded, for any method and any number of other names."""
    names = Names(1, ["/kept"])
    assert names.admitted("GET", "/a") == ("GET", "/a")
    assert names.admitted("GET", "/b") == ("GET", OTHER)
    assert names.admitted("GET", "/kept") == ("GET", "/kept")
    assert names.admitted("PUT", "/kept") == ("PUT", "/kept")
    assert names.admitted("PUT", "/b") == ("PUT", OTHER)
    names.admit_only([("GET", "/a")])
    assert names.admitted("DELETE", "/kept") == ("DELETE", "/kept")
    assert ("DELETE", "/kept") in names.all


def test_error_types_are_bounded() -> None:
    """The first types keep their name, and all others share `_OTHER`."""
    types = ErrorTypes()
    numbers = range(MAX_ERROR_TYPES + 3)
    expected = [f"Error{number}" for number in range(MAX_ERROR_TYPES)] + [OTHER] * 3
    for _ in range(2):
        assert [types.admitted(f"Error{number}") for number in numbers] == expected


def test_a_copy_decides_the_same() -> None:
    """Both survive pickling, because a restarted exporter continues with a copy."""
    names, types = Names(1, ["/kept"]), ErrorTypes()
    names.admitted("GET", "/a")
    for number in range(MAX_ERROR_TYPES):
        types.admitted(f"Error{number}")
    names, types = pickle.loads(pickle.dumps((names, types)))  # noqa: S301  # our own
    assert names.admitted("GET", "/b") == ("GET", OTHER)
    assert names.admitted("GET", "/kept") == ("GET", "/kept")
    assert (types.admitted("Error0"), types.admitted("New")) == ("Error0", OTHER)
