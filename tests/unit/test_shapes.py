"""Tests of the load shapes: how many users at which moment, and which shape Locust takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from locust.util.load_locustfile import load_locustfile

FILE = Path(__file__).parents[2] / "locustfiles" / "shapes.py"


def shapes(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    """Return the shapes that Locust offers, by name."""
    for name in ("SHAPE", "SHAPE_USERS", "SHAPE_TIME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _, found = load_locustfile(str(FILE))
    return {type(shape).__name__: shape for shape in found}


def users(shape: Any, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[int | None]:
    """Return the users a shape asks for at these moments; None where it ends."""
    result = []
    for second in seconds:
        monkeypatch.setattr(shape, "get_run_time", lambda second=second: second)
        tick = shape.tick()
        result.append(None if tick is None else tick[0])
    return result


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("steps", [20, 60, 160, 160, 160, None]),
        ("ramp", [1, 49, 142, 158, 160, None]),
        ("spike", [40, 40, 40, 40, 40, None]),
        ("soak", [160, 160, 160, 160, 160, None]),
    ],
)
def test_users(name: str, expected: list[int | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shape has its users at its moments, and ends with its time."""
    offered = shapes(monkeypatch, SHAPE=name, SHAPE_USERS="160", SHAPE_TIME="90")
    assert [each.lower() for each in offered] == [name]
    (shape,) = offered.values()
    assert users(shape, monkeypatch, 0, 25, 72, 80, 89, 91) == expected


def test_the_spike_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All users are there from two fifths to three fifths of the time."""
    shape = shapes(monkeypatch, SHAPE_USERS="100", SHAPE_TIME="100")["Spike"]
    assert users(shape, monkeypatch, 39, 41, 59, 61) == [25, 100, 100, 25]


def test_all_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a choice all are offered, and the steps come first: Locust takes them."""
    assert list(shapes(monkeypatch)) == ["Steps", "Ramp", "Spike", "Soak"]


def test_an_unknown_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape that is none is refused by name."""
    with pytest.raises(ValueError, match=r"SHAPE=stairs is none of steps, ramp"):
        shapes(monkeypatch, SHAPE="stairs")
