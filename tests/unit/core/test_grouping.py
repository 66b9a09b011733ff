"""Tests of ids in request names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_otel.core.grouping import alike, grouped

UUID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("/items/393", "/items/[id]"),
        ("/items/393/reviews/7", "/items/[id]/reviews/[id]"),
        (f"/users/{UUID.upper()}", "/users/[id]"),
        ("/blobs/0123456789abcdef0", "/blobs/[id]"),
        ("/search?page=3&q=shoes&user=12", "/search?page=[id]&q=shoes&user=[id]"),
        ("http://shop:8080/items/5#top", "http://shop:8080/items/[id]#top"),
        ("/v1/items", "/v1/items"),
        ("/items/[id]", "/items/[id]"),
        ("/items/12a", "/items/12a"),
        ("/beef/cafe", "/beef/cafe"),
        ("checkout 7", "checkout 7"),
        ("7", "7"),
        ("", ""),
    ],
)
def test_grouped(name: str, group: str) -> None:
    """Numbers, UUIDs and long hex numbers are ids, where a whole segment or value is one."""
    assert grouped(name) == group


@given(st.text(alphabet="/?&=#;-[]abf019 ", max_size=200))
def test_grouped_again(name: str) -> None:
    """A group's name is its own, and is never much longer than the name."""
    group = grouped(name)
    assert grouped(group) == group
    assert len(group) <= 4 * len(name) + 4


def test_alike() -> None:
    """Three names of one method that differ in their ids are told of, the largest group first, and no others."""
    names = [*(("GET", f"/items/{n}") for n in range(4)), *(("PUT", f"/items/{n}") for n in range(5))]
    names += [("GET", "/a/1"), ("GET", "/a/2"), ("GET", "/"), ("POST", "/a/3")]
    put, get = alike(names)
    assert (put.method, put.name, len(put.names)) == ("PUT", "/items/[id]", 5)
    assert get.sentence == "GET /items/0, /items/1, … look like one: /items/[id]"
