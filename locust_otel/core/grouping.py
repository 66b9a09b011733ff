"""Ids in request names: groups of names that differ only in ids, and the name of a group."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_PART = re.compile(r"(?<=[/=])[^/?&=#;]+")  # segment of a path, or value of a parameter
_ID = re.compile(r"[0-9]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", re.IGNORECASE)
_MIN_NAMES = 3  # in a group


class Alike(NamedTuple):
    """Names of one method that differ only in ids."""

    method: str
    name: str  # recommended name for all of them
    names: list[str]

    @property
    def sentence(self) -> str:
        """The group in words: `GET /items/393, /items/396, … look like one: /items/[id]`."""
        more = ", …" if len(self.names) > 2 else ""
        return f"{self.method} {', '.join(self.names[:2])}{more} look like one: {self.name}"


def grouped(name: str) -> str:
    """Return a name with `[id]` for each segment and each value that is a number, a UUID or a long hex number.

    A name without a slash is not a path and is returned unchanged.
    """
    if "/" not in name:
        return name
    return _PART.sub(lambda part: "[id]" if _ID.fullmatch(part[0]) else part[0], name)


def alike(names: Iterable[tuple[str, str]]) -> list[Alike]:
    """Return the groups of at least three names, by method and name, that differ only in ids; largest group first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for method, name in names:
        groups.setdefault((method, grouped(name)), []).append(name)
    large = (Alike(*key, members) for key, members in groups.items() if len(members) >= _MIN_NAMES)
    return sorted(large, key=lambda group: -len(group.names))
