"""Tests of the load shapes: their users over time, and the choice of a shape."""

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
    _, instances = load_locustfile(str(FILE))
    return {type(shape).__name__: shape for shape in instances}


def users(shape: Any, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[int | None]:
    """Return the users of a shape at these times; None after its end."""
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
    """Each shape has its users over time, and ends."""
    offered = shapes(monkeypatch, SHAPE=name, SHAPE_USERS="160", SHAPE_TIME="90")
    assert [title.lower() for title in offered] == [name]
    (shape,) = offered.values()
    assert users(shape, monkeypatch, 0, 25, 72, 80, 89, 91) == expected


def test_spike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spike lasts from two fifths to three fifths of the time."""
    shape = shapes(monkeypatch, SHAPE_USERS="100", SHAPE_TIME="100")["Spike"]
    assert users(shape, monkeypatch, 39, 41, 59, 61) == [25, 100, 100, 25]


def test_all_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a choice the file has all shapes; Locust uses the first, the steps."""
    assert list(shapes(monkeypatch)) == ["Steps", "Ramp", "Spike", "Soak"]


def test_unknown_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown shape is an error with the names of the shapes."""
    with pytest.raises(ValueError, match=r"SHAPE=stairs is none of steps, ramp"):
        shapes(monkeypatch, SHAPE="stairs")
