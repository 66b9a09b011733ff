"""Tests of marks asked for over HTTP: what a body may hold, and what is answered."""

from __future__ import annotations

import json

import pytest

from locust_otel.core.mark_request import MAX_BODY_BYTES, answered
from locust_otel.core.marks import Marked, cleaned

JSON = "application/json"


class Marks:
    """Takes marks while a run is active."""

    def __init__(self, *, is_active: bool = True) -> None:
        self.made: list[tuple[str, str]] = []
        self.is_active = is_active

    def mark(self, text: object, kind: object) -> Marked | None:
        """Mark it."""
        pair = cleaned(text, kind)
        if not self.is_active:
            return None
        self.made.append(pair)
        return Marked("run-1", 1_764_000_001.5)


@pytest.mark.parametrize("kind", [JSON, f"{JSON}; charset=utf-8", "Application/JSON"])
def test_a_mark(kind: str) -> None:
    """A mark is made, and answered with the run and the time."""
    marks = Marks()
    status, body, content_type = answered(b'{"mark": "db killed", "kind": "fault"}', kind, marks.mark)
    assert (status, json.loads(body), content_type) == (200, {"run_id": "run-1", "time": 1_764_000_001.5}, JSON)
    assert marks.made == [("db killed", "fault")]


def test_the_kind_is_optional() -> None:
    """Without a kind it is a mark."""
    marks = Marks()
    assert answered(b'{"mark": "lunch"}', JSON, marks.mark).status == 200
    assert marks.made == [("lunch", "mark")]


def test_without_a_run() -> None:
    """Where no run is active there is nothing to mark."""
    answer = answered(b'{"mark": "x"}', JSON, Marks(is_active=False).mark)
    assert answer == (409, "No run goes on that could be marked.\n", "text/plain")


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (b"{", JSON, "is not JSON"),
        (b"\xff\xfe", JSON, "is not JSON"),
        (b"[" * 100_000, JSON, "is not JSON"),
        (b'"text"', JSON, 'Send an object with a "mark"'),
        (b'{"kind": "fault"}', JSON, 'Send an object with a "mark"'),
        (b'{"mark": ""}', JSON, "The mark is empty"),
        (b'{"mark": "x", "kind": "Two Words"}', JSON, "'Two Words' is no kind: write a word"),
        (b'{"mark": "x", "time": 5}', JSON, "'time' is not known here"),
        (None, JSON, f"Send a body of at most {MAX_BODY_BYTES} bytes"),
        (b'{"mark": "x"}', "text/plain", "with Content-Type: application/json"),
        (b'{"mark": "x"}', "", "with Content-Type: application/json"),
    ],
)
def test_what_cannot_be_marked(body: bytes | None, kind: str, sentence: str) -> None:
    """It is a 400 with one sentence that says why, and nothing is marked."""
    marks = Marks()
    status, text, content_type = answered(body, kind, marks.mark)
    assert (status, content_type, text.count("\n")) == (400, "text/plain", 1)
    assert sentence in text
    assert marks.made == []
