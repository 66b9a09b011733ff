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
        ("load size=500", "load size=500"),
        ("7", "7"),
        ("", ""),
    ],
)
def test_grouped(name: str, group: str) -> None:
    """A segment or value that is a number, a UUID or a long hex number is an id."""
    assert grouped(name) == group


IDS = st.one_of(st.integers(0).map(str), st.uuids().map(str), st.text("0123456789abcdefABCDEF", min_size=16))


@given(st.lists(st.sampled_from(["/items/", "/v2/", "?page=", "&user="]), min_size=1, max_size=40), st.data())
def test_ids_do_not_matter(parts: list[str], data: st.DataObject) -> None:
    """Names that differ only in ids have the same group."""
    first, second = ("/" + "".join(part + data.draw(IDS) for part in parts) for _ in range(2))
    assert grouped(first) == grouped(second) == "/" + "".join(f"{part}[id]" for part in parts)


@given(st.text(max_size=1024) | st.text(alphabet="/?&=#;-[]abf019 ", max_size=200))
def test_any_text_has_a_group(name: str) -> None:
    """The group of a group is itself, is not much longer than the name, and differs from it only with digits."""
    group = grouped(name)
    assert grouped(group) == group
    assert len(group) <= 4 * len(name) + 4
    if not any(character in "0123456789abcdefABCDEF" for character in name):
        assert group == name


def test_alike() -> None:
    """Three names of one method that differ only in ids are a group, two are not; the largest group is first."""
    names = [*(("GET", f"/items/{n}") for n in range(3)), *(("PUT", f"/items/{n}") for n in range(5))]
    names += [("GET", "/a/1"), ("GET", "/a/2"), ("GET", "/"), ("POST", "/a/3")]
    put, get = alike(names)
    assert (put.method, put.name, len(put.names)) == ("PUT", "/items/[id]", 5)
    assert get.sentence == "GET /items/0, /items/1, … look like one: /items/[id]"
