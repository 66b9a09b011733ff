"""Tests of marks: texts, kinds, how many different ones, and how a mark is asked for over HTTP."""

from __future__ import annotations

import json

import pytest

import locust_otel
from locust_otel.core.marks import MAX_BODY_BYTES, Marked, MarkError, answered, cleaned, folded

JSON = "application/json"


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("db primary killed", "db primary killed"),
        ("  two\nlines\tand a tab ", "two lines and a tab"),
        ("a\x00b\x1b[31mred\x7f", "a b [31mred"),
        ("Datenbank häng\u200bt 🔥", "Datenbank häng t 🔥"),
        ("broken \ud800 surrogate", "broken ? surrogate"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200),
        ("x" * 199 + " yz", "x" * 199),
        ("x" * 1_000_000, "x" * 200),
    ],
)
def test_texts(text: str, mark: str) -> None:
    """A mark is one line of at most 200 characters that every exporter can write."""
    assert cleaned(text, "note") == (mark, "note")


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", None, 7, ["db"], b"db"])
def test_no_text(text: object) -> None:
    """What is empty or no text is refused."""
    with pytest.raises(MarkError, match=r"empty|is a text, not a"):
        cleaned(text, "note")


@pytest.mark.parametrize("kind", ["fault", "a", "_", "-", "x" * 30, "fault-start", "v2_0"])
def test_kinds(kind: str) -> None:
    """A kind is a short word."""
    assert cleaned("db", kind) == ("db", kind)


@pytest.mark.parametrize("kind", ["", "Fault", "two words", "x" * 31, "fault\n", "häng", "a.b", None, 3, ["fault"]])
def test_no_kind(kind: object) -> None:
    """Anything else is refused with what would be right."""
    with pytest.raises(MarkError, match="write a word of 1 to 30 letters"):
        cleaned("db", kind)


def test_the_mark_of_an_abort_is_kept_for_it() -> None:
    """Nobody can mark what a verdict takes for the end of a run by --slo-abort."""
    with pytest.raises(MarkError, match="--slo-abort"):
        cleaned("slo-abort availability", "abort")
    assert cleaned("slo-abort availability", "note") == ("slo-abort availability", "note")
    assert cleaned("I stopped it", "abort") == ("I stopped it", "abort")


def test_a_hundred_different_ones() -> None:
    """The hundred first pairs are counted by themselves, also later; all others together."""
    known: dict[tuple[str, str], int] = {}
    for number in [*range(150), 3, 149]:
        pair = folded(known, f"mark {number // 2}", "ab"[number % 2])
        known[pair] = known.get(pair, 0) + 1
    assert len(known) == 101
    assert known["_OTHER", "_OTHER"] == 51
    assert known["mark 1", "b"] == 2


def test_without_a_run() -> None:
    """The package's own `mark` refuses what is none, and marks nothing where no run goes on."""
    assert locust_otel.mark("db primary killed", kind="fault") is False
    with pytest.raises(locust_otel.MarkError):
        locust_otel.mark("db primary killed", kind="Fault!")


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
def test_a_mark_over_http(kind: str) -> None:
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


def test_over_http_without_a_run() -> None:
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
def test_what_cannot_be_marked_over_http(body: bytes | None, kind: str, sentence: str) -> None:
    """It is a 400 with one sentence that says why, and nothing is marked."""
    marks = Marks()
    status, text, content_type = answered(body, kind, marks.mark)
    assert (status, content_type, text.count("\n")) == (400, "text/plain", 1)
    assert sentence in text
    assert marks.made == []
