"""Tests of documents: plain YAML as texts with lines, and everything else refused within a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_otel.core.documents import MAX_BYTES, Document, read
from locust_otel.core.errors import ConfigurationError


def document(text: str | bytes) -> Document:
    """Return a document of this text."""
    return Document("a.yaml", text.encode() if isinstance(text, str) else text, "x")


def refused(text: str | bytes) -> tuple[str, str]:
    """Return where and under which slug a text is refused."""
    with pytest.raises(ConfigurationError) as caught:
        document(text)
    assert "secret" not in str(caught.value)
    return caught.value.where, caught.value.slug


def test_values_stay_as_they_were_written() -> None:
    """Nothing is made of a text, whatever YAML would; only what is not there is None."""
    text = "a: 0.990\nb: 1:30\nc: yes\nd: '99%'\ne: 2026-11-22\nf:\ng: ~\nh: '~'\n"
    text += "i: [1, null]\nj: {k: 0x10}\nl: |\n  m\n"
    assert document(text).values == {
        "a": "0.990", "b": "1:30", "c": "yes", "d": "99%", "e": "2026-11-22", "f": None, "g": None, "h": "~",
        "i": ["1", None], "j": {"k": "0x10"}, "l": "m\n",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "---", "~", "null\n", "\ufeff"])
def test_an_empty_file(text: str) -> None:
    """A file of nothing is None."""
    assert document(text).values is None


def test_a_byte_order_mark_and_windows_lines() -> None:
    """What editors on Windows write is read, and its lines are counted."""
    found = document(b"\xef\xbb\xbfa: b\r\nc: d\r\n")
    assert found.values == {"a": "b", "c": "d"}
    assert found.where(("c",)) == "a.yaml:2: c"


def test_where() -> None:
    """A place has its own line, and what is not there that of the nearest thing around it."""
    found = document("a:\n  b:\n    - c\n    - d: 1\n      e: 2\n")
    assert found.where(()) == "a.yaml:1"
    assert found.where(("a", "b", 1, "e")) == "a.yaml:5: a.b.1.e"
    assert found.where(("a", "b", 1, "f", "g")) == "a.yaml:4: a.b.1.f.g"
    assert found.where(("x",)) == "a.yaml:1: x"


def test_keys_in_errors_are_short_and_on_one_line() -> None:
    """A key that is long, or has a line break, does not make an error hard to read."""
    found = document('"a\\nb": 1\n? ' + "x" * 5_000 + "\n: 2\n")
    assert found.where(("a\nb",)) == "a.yaml:1: 'a\\nb'"
    assert len(found.where(("x" * 5_000,))) < 150


def test_duplicate_keys() -> None:
    """A key that is there twice is told with both lines, and the first value stays."""
    found = document("a: 1\nb:\n  c: 2\n  c: {d: 1}\na: 3\n")
    assert found.values == {"a": "1", "b": {"c": "2"}}
    assert [(p.where, p.slug) for p in found.problems] == [
        ("a.yaml:4: b.c", "x-duplicate-key"), ("a.yaml:5: a", "x-duplicate-key"),
    ]  # fmt: skip
    assert "line 1" in found.problems[1].found


def test_keys_that_are_no_text() -> None:
    """A list as a key has no name."""
    assert document("? [a]\n: b\n").values == {"?": "b"}


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (BOMB, 1), ("a: 1\nb: &x 2\n", 2), ("a: *x\n", 1), ("a: !!python/object/apply:os.system [secret]\n", 1),
        ("a: !secret x\n", 1), ("\na: !!int 5\n", 2), ("a: " + "[" * 9, 1), ("[" * 10_000, 1), ("{a: " * 1_000, 1),
        ("- " * 5_000 + "a", 1), ("a:\n" + "".join("  " * n + "b:\n" for n in range(1, 12)), 9),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_not_plain(text: str, line: int) -> None:
    """Anchors, aliases, tags and deep nesting are refused where they begin, before they can do harm."""
    assert refused(text) == (f"a.yaml:{line}", "x-not-plain")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: b: secret\n", 1), ("a: 1\n\tb: 2\n", 2), ("a: 1\n---\nb: 2\n", 2), ("a: [1\n", 2), ("a: 'secret\n", 2),
        (b"a: 1\nb: \xff\xfe\n", 2), (b"\xff\xfea\x00", 1), (b"a: \x00\n", 1), ("a: 1\nb: %\n", 2), ("a: @b\n", 1),
        ('a: "\\UFFFFFFFF"\n', 1), ('a: "\\U00110000"\n', 1), ('x: 1\na: "\\ud800"\n', 2), ('x: 1\n"\\udfff": 2\n', 2),
        ("%YAML 1." + "9" * 5_000 + "\n---\na: b\n", 1), ("%YAML 9.1\n---\na: b\n", 1), ('a: "\\q"\n', 1),
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_no_yaml(text: str | bytes, line: int) -> None:
    """What is not one YAML document in UTF-8 is refused with a line, and nothing of it is quoted."""
    assert refused(text) == (f"a.yaml:{line}", "x-syntax")


def test_reading(tmp_path: Path) -> None:
    """A file is read up to a mebibyte, and not beyond."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"x" * MAX_BYTES)
    assert len(read(path, "here", "x")) == MAX_BYTES
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError) as caught:
        read(path, "here", "x")
    assert (caught.value.where, caught.value.slug) == ("here", "x-too-large")


@pytest.mark.parametrize("name", ["none", ".", "a\x00b", "x" * 5_000, "-----BEGIN KEY-----\nabc"])
def test_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    """What is no readable file is refused, in a short line that shows no pasted key."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path / name, "here", "x")
    assert caught.value.slug == "x-unreadable"
    assert "BEGIN" not in str(caught.value)
    assert len(str(caught.value)) < 400
