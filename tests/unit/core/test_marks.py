"""Tests of what may be marked: texts, kinds, and how many different ones."""

from __future__ import annotations

import pytest

import locust_otel
from locust_otel.core.marks import MarkError, cleaned, folded


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
