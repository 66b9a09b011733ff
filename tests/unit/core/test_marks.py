"""Tests of marks: texts, kinds, the limit of different marks, and requests over HTTP."""

from __future__ import annotations

import json

import pytest

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
    """A mark is one line of at most 200 printable characters."""
    assert cleaned(text, "note") == (mark, "note")


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", None, 7, ["db"], b"db"])
def test_invalid_texts(text: object) -> None:
    """An empty text, or a value that is not a text, is refused."""
    with pytest.raises(MarkError, match=r"empty|is a text, not a"):
        cleaned(text, "note")


@pytest.mark.parametrize("kind", ["fault", "a", "_", "-", "x" * 30, "fault-start", "v2_0"])
def test_kinds(kind: str) -> None:
    """A kind has 1 to 30 letters a-z, digits, `_` and `-`."""
    assert cleaned("db", kind) == ("db", kind)


@pytest.mark.parametrize("kind", ["", "Fault", "two words", "x" * 31, "fault\n", "häng", "a.b", None, 3, ["fault"]])
def test_invalid_kinds(kind: object) -> None:
    """Anything else is refused; the error says how to write a kind."""
    with pytest.raises(MarkError, match="write 1 to 30 letters"):
        cleaned("db", kind)


def test_the_mark_of_an_abort_is_reserved() -> None:
    """Users cannot make the mark by which a verdict detects --slo-abort."""
    with pytest.raises(MarkError, match="--slo-abort"):
        cleaned("slo-abort availability", "abort")
    assert cleaned("slo-abort availability", "note") == ("slo-abort availability", "note")
    assert cleaned("I stopped it", "abort") == ("I stopped it", "abort")


def test_limit_of_different_marks() -> None:
    """The first hundred pairs are counted separately, all others together."""
    known: dict[tuple[str, str], int] = {}
    for number in [*range(150), 3, 149]:
        pair = folded(known, f"mark {number // 2}", "ab"[number % 2])
        known[pair] = known.get(pair, 0) + 1
    assert len(known) == 101
    assert known["_OTHER", "_OTHER"] == 51
    assert known["mark 1", "b"] == 2


class Marks:
    """Marks of an active run."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def mark(self, text: object, kind: object) -> Marked:
        """Mark the run."""
        self.pairs.append(cleaned(text, kind))
        return Marked("run-1", 1_764_000_001.5)


@pytest.mark.parametrize(
    ("body", "content_type", "pair"),
    [
        (b'{"mark": "db killed", "kind": "fault"}', JSON, ("db killed", "fault")),
        (b'{"mark": "db killed", "kind": "fault"}', f"{JSON}; charset=utf-8", ("db killed", "fault")),
        (b'{"mark": "lunch"}', "Application/JSON", ("lunch", "mark")),
    ],
)
def test_a_mark_over_http(body: bytes, content_type: str, pair: tuple[str, str]) -> None:
    """The response has the run and the time; the default kind is `mark`."""
    marks = Marks()
    status, text, answer_type = answered(body, content_type, marks.mark)
    assert (status, json.loads(text), answer_type) == (200, {"run_id": "run-1", "time": 1_764_000_001.5}, JSON)
    assert marks.pairs == [pair]


def test_over_http_without_a_run() -> None:
    """Without an active run the response is 409."""
    assert answered(b'{"mark": "x"}', JSON, lambda *_: None) == (409, "No run is active.\n", "text/plain")


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (b"{", JSON, "is not JSON"),
        (b"\xff\xfe", JSON, "is not JSON"),
        (b"[" * 100_000, JSON, "is not JSON"),
        (b'"text"', JSON, 'Send an object with a "mark"'),
        (b'{"kind": "fault"}', JSON, 'Send an object with a "mark"'),
        (b'{"mark": ""}', JSON, "The mark is empty"),
        (b'{"mark": "x", "kind": "Two Words"}', JSON, "'Two Words' is not a kind: write 1 to 30"),
        (b'{"mark": "x", "time": 5}', JSON, "'time' is unknown"),
        (None, JSON, f"Send a body of at most {MAX_BODY_BYTES} bytes"),
        (b'{"mark": "x"}', "text/plain", "with Content-Type: application/json"),
        (b'{"mark": "x"}', "", "with Content-Type: application/json"),
    ],
)
def test_invalid_requests(body: bytes | None, kind: str, sentence: str) -> None:
    """The response is 400 with the problem in one line, and the run is not marked."""
    marks = Marks()
    status, text, content_type = answered(body, kind, marks.mark)
    assert (status, content_type, text.count("\n")) == (400, "text/plain", 1)
    assert sentence in text
    assert marks.pairs == []
