"""Changes of single values within nested values."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


def paths(value: object, most: int | None = None, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values within a value; of each list only for the first `most` items."""
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:most]))
    return [path, *(way for key, inner in items for way in paths(inner, most, (*path, key)))]


def changed(good: Any, path: Sequence[Any], value: object) -> Any:
    """Return a copy of a value with another value at a path."""
    if not path:
        return value
    copied = copy.deepcopy(good)
    place: Any = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copied
