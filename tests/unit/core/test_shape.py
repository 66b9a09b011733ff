"""Tests of models of YAML files: all problems with their lines, and the rest of a file with problems."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BeforeValidator, Field

from locust_otel.core.documents import Document
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.shape import Shape, at_most, json_schema, refused, required_text, validated


class Window(Shape):
    """Windows of a test."""

    EXAMPLES: ClassVar = {"long": "5m"}

    long: str = Field(description="Its length.")
    note: str | None = Field(None, description="A note.")


class Server(Shape):
    """Optional settings."""

    HAS_LOOSE_KEYS = True

    host: str = ""
    is_open: bool = False


def _age(value: object) -> int:
    text = required_text(value, "an age")
    if not text.isdigit():
        raise refused("age", f"{{{text}}} is not an age.", "Write a number.")
    return int(text)


class File(Shape):
    """File of a test."""

    name: str = Field(description="Its name.")
    length: Decimal = Field(Decimal(60), description="Its length.")
    windows: Annotated[list[Window], at_most(3)] = Field([], description="Windows.", min_length=1)
    by_name: dict[str, Window] = Field({}, description="More windows.")
    server: Server = Field(Server(), description="A server.")
    kind: Literal["fast", "slow"] | None = None
    age: Annotated[int, BeforeValidator(_age)] = 0


def read(text: str) -> tuple[File, set[tuple[str | int, ...]], list[str]]:
    """Return the values of a file, the places that were left out, and the problems."""
    document = Document("a.yaml", text.encode(), "x")
    shape, left_out = validated(document, File, {"name": "placeholder"}, "Write a name.")
    return shape, left_out, [str(problem) for problem in document.problems]


def test_valid_file() -> None:
    """Each shape has its values and its place."""
    shape, left_out, problems = read("name: a\nwindows: [{long: b}]\nby_name: {c: {long: d}}\n")
    assert (shape.name, shape.windows[0].long, shape.by_name["c"].long) == ("a", "b", "d")
    assert (shape.place, shape.windows[0].place, shape.by_name["c"].place) == ((), ("windows", 0), ("by_name", "c"))
    assert (left_out, problems) == (set(), [])


@pytest.mark.parametrize(
    ("text", "left_out", "problem"),
    [
        ("{}", ("name",), "a.yaml:1: name: name is missing. Add name: …. (x-missing)"),
        ("name: [a]", ("name",), "a.yaml:1: name: This is not a text. Write a text. (x-type)"),
        ("name:", ("name",), "a.yaml:1: name: This key has no value. Write a value, or leave the key out."),
        ("name: a\nby_name: []", ("by_name",), "a.yaml:2: by_name: This is not a mapping. Write a mapping. (x-type)"),
        ("name: a\nwindows: {}", ("windows",), "a.yaml:2: windows: This is not a list. Write a list. (x-type)"),
        ("name: a\nwindows: []", ("windows",), "a.yaml:2: windows: This is empty. Add an item, or leave the key out."),
        ("name: a\nwindows: [1, 1, 1, 1]", ("windows",), "2: windows: 4 are too many. Keep up to 3. (x-too-many)"),
        ("name: a\nwindows:\n- {}", ("windows", 0), "a.yaml:3: windows.0.long: long is missing. Add long: 5m."),
        ("name: a\nwindows: [{long: b, nte: c}]", ("windows", 0), "nte: This key is unknown. Did you mean note?"),
        (
            "name: a\nkind: {}",
            ("kind",),
            "kind: There is a mapping instead of fast or slow. Write fast or slow.",
        ),
        ("name: a\nkind: new", ("kind",), "a.yaml:2: kind: new is not a known value. Write fast or slow. (x-choice)"),
        ("name: a\nage: [7]", ("age",), "a.yaml:2: age: There is a list instead of an age. Write an age. (x-type)"),
        ("name: a\nage: old", ("age",), "a.yaml:2: age: {old} is not an age. Write a number. (x-age)"),
        ("name: a\nby_name: {b: c}", ("by_name", "b"), "a.yaml:2: by_name.b: This is not a mapping."),
        ("name: a\nby_name: {b: {x: }}", ("by_name", "b"), "This key is unknown. Use long, note."),
        ("name: a\nserver: {is_open: 7}", ("server", "is_open"), "This is not true or false. Write true or false."),
        ("name: a\nserver: {x: 7}", ("server", "x"), "a.yaml:2: server.x: This key is unknown."),
    ],
)
def test_refused_values_are_left_out(text: str, left_out: tuple[str | int, ...], problem: str) -> None:
    """A problem has file, line, finding and remedy; the item around it is left out, and the rest has its values."""
    shape, places, problems = read(text)
    assert left_out in places
    assert any(problem in text for text in problems), problems
    assert shape.name == ("placeholder" if left_out == ("name",) else "a")


def test_the_rest_keeps_its_places() -> None:
    """Items after a refused item keep their indices in the file, and settings beside a refused setting their values."""
    shape, left_out, problems = read(
        "name: a\nwindows: [{}, {long: b}, {long: []}]\nby_name: {a: {}, c: {long: d}}\nserver: {host: x, is_open: 7}\n"
    )
    assert [window.place for window in shape.windows] == [("windows", 1)]
    assert list(shape.by_name) == ["c"]
    assert shape.server.host == "x"
    assert left_out == {("windows", 0), ("windows", 2), ("by_name", "a"), ("server", "is_open")}
    assert len(problems) == 4


@pytest.mark.parametrize(("text", "slug"), [("", "x-empty"), ("[]", "x-type"), ("a", "x-type")])
def test_not_a_mapping(text: str, slug: str) -> None:
    """A file that is not a mapping is refused with the remedy of its format."""
    with pytest.raises(ConfigurationError, match="Write a name") as caught:
        read(text)
    assert caught.value.slug == slug


def test_json_schema() -> None:
    """Editors see no None, no titles, and defaults as users write them."""
    schema = json_schema(File, lambda number: f"{number}s")
    assert schema["properties"]["length"]["default"] == "60s"
    assert schema["$defs"]["Window"]["properties"]["note"] == {"description": "A note.", "type": "string"}
    assert "default" not in schema["properties"]["windows"]
