"""Spoils values that are otherwise good: one place within them is changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


def paths(value: object, most: int | None = None, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value within a value; of each list to as many items at the most."""
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:most]))
    return [path, *(way for key, inner in items for way in paths(inner, most, (*path, key)))]


def changed(good: Any, path: Sequence[Any], value: object) -> Any:
    """Return a value with one value in it changed."""
    if not path:
        return value
    spoilt = copy.deepcopy(good)
    place: Any = spoilt
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return spoilt
