"""Tests of documents: plain YAML with line numbers, and the refusal of everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_otel.core.documents import MAX_BYTES, Document, read
from locust_otel.core.errors import ConfigurationError


def document(text: str | bytes) -> Document:
    """Return a document with this text."""
    return Document("a.yaml", text.encode() if isinstance(text, str) else text, "x")


def refused(text: str | bytes) -> tuple[str, str]:
    """Return the place and the slug of the error for a text."""
    with pytest.raises(ConfigurationError) as caught:
        document(text)
    assert "secret" not in str(caught.value)
    return caught.value.where, caught.value.slug


def test_values_stay_as_they_were_written() -> None:
    """Values are the text of the file, not YAML numbers, booleans or dates; only a missing value is None."""
    text = "a: 0.990\nb: 1:30\nc: yes\nd: '99%'\ne: 2026-11-22\nf:\ng: ~\nh: '~'\n"
    text += "i: [1, null]\nj: {k: 0x10}\nl: |\n  m\n"
    assert document(text).values == {
        "a": "0.990", "b": "1:30", "c": "yes", "d": "99%", "e": "2026-11-22", "f": None, "g": None, "h": "~",
        "i": ["1", None], "j": {"k": "0x10"}, "l": "m\n",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "---", "~", "null\n", "\ufeff"])
def test_an_empty_file(text: str) -> None:
    """A file without a value is None."""
    assert document(text).values is None


def test_a_byte_order_mark_and_windows_lines() -> None:
    """Files of Windows editors are read, with correct lines."""
    parsed = document(b"\xef\xbb\xbfa: b\r\nc: d\r\n")
    assert parsed.values == {"a": "b", "c": "d"}
    assert parsed.where(("c",)) == "a.yaml:2: c"


def test_where() -> None:
    """A place has its line; a missing place has the line of the nearest mapping or list around it."""
    parsed = document("a:\n  b:\n    - c\n    - d: 1\n      e: 2\n")
    assert parsed.where(()) == "a.yaml:1"
    assert parsed.where(("a", "b", 1, "e")) == "a.yaml:5: a.b.1.e"
    assert parsed.where(("a", "b", 1, "f", "g")) == "a.yaml:4: a.b.1.f.g"
    assert parsed.where(("x",)) == "a.yaml:1: x"


def test_keys_in_errors_are_short_and_on_one_line() -> None:
    """Keys in errors are at most 100 characters, without line breaks."""
    parsed = document('"a\\nb": 1\n? ' + "x" * 5_000 + "\n: 2\n")
    assert parsed.where(("a\nb",)) == "a.yaml:1: 'a\\nb'"
    assert parsed.where(("x" * 5_000,)) == f"a.yaml:2: {'x' * 99}…"


def test_duplicate_keys() -> None:
    """A duplicate key is a problem with both lines, and keeps its first value."""
    parsed = document("a: 1\nb:\n  c: 2\n  c: {d: 1}\na: 3\n")
    assert parsed.values == {"a": "1", "b": {"c": "2"}}
    assert [(p.where, p.slug) for p in parsed.problems] == [
        ("a.yaml:4: b.c", "x-duplicate-key"), ("a.yaml:5: a", "x-duplicate-key"),
    ]  # fmt: skip
    assert "line 1" in parsed.problems[1].found


def test_problems_are_raised_by_line() -> None:
    """One error has all problems in the order of the lines, and problems of other files last."""
    parsed = document("a: 1\nb: 2\n")
    parsed.raise_problems()
    parsed.problems.append(ConfigurationError("b.yaml:1", "7 is wrong.", "Write 8.", slug="other"))
    for key in "ba":
        parsed.refuse((key,), "7 is wrong.", "Write 8.", key)
    with pytest.raises(ConfigurationError) as caught:
        parsed.raise_problems()
    assert [problem.where for problem in caught.value.problems] == ["a.yaml:1: a", "a.yaml:2: b", "b.yaml:1"]


def test_keys_that_are_not_text() -> None:
    """A list as a key has the name `?`."""
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
def test_not_plain(text: str, line: int) -> None:
    """Anchors, aliases, tags and deep nesting are refused at the line where they start."""
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
def test_not_yaml(text: str | bytes, line: int) -> None:
    """Anything but one YAML document in UTF-8 is refused with a line, and the error quotes nothing."""
    assert refused(text) == (f"a.yaml:{line}", "x-syntax")


def test_reading(tmp_path: Path) -> None:
    """A file may have 1 MiB and not a byte more."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"x" * MAX_BYTES)
    assert len(read(path, "here", "x")) == MAX_BYTES
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError) as caught:
        read(path, "here", "x")
    assert (caught.value.where, caught.value.slug) == ("here", "x-too-large")


@pytest.mark.parametrize("name", ["none", ".", "a\x00b", "x" * 5_000, "-----BEGIN KEY-----\nabc"])
def test_unreadable_files(tmp_path: Path, name: str) -> None:
    """An unreadable path is refused in a short line that does not quote a pasted key."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path / name, "here", "x")
    assert caught.value.slug == "x-unreadable"
    assert "BEGIN" not in str(caught.value)
    assert len(str(caught.value)) < 400
