"""Limits of the series of a run: the methods, names and error types that get series of their own."""

from __future__ import annotations

from collections.abc import Iterable

from locust_otel.core.catalogue import OTHER
from locust_otel.core.grouping import grouped

MAX_ERROR_TYPES = 64
"""Distinct values of `error_type` in a run before the rest is counted as `_OTHER`."""


class Names:
    """Decides under which method and name a request is counted: `most` of them, and each `kept` name, as themselves.

    If it `groups`, names that differ in their ids alone are one.
    """

    def __init__(self, most: int, kept: Iterable[str] = (), *, groups: bool = False) -> None:
        self.groups = groups
        self._most = most
        self._kept = frozenset(kept)
        self._names: set[tuple[str, str]] = set()
        self._methods: set[str] = set()

    @property
    def all(self) -> frozenset[tuple[str, str]]:
        """The methods and names that have a series of their own."""
        return frozenset(self._names)

    def admit_only(self, names: Iterable[tuple[str, str]]) -> None:
        """Give series of their own to these methods and names, besides those that have one, and to no others."""
        self._names.update(names)
        self._methods.update(method for method, _ in self._names)
        self._most = 0

    def admitted(self, method: str, name: str) -> tuple[str, str]:
        """Return the method and name to count under: the given ones, or `_OTHER` once there are too many."""
        if self.groups:
            name = grouped(name)
        if (method, name) in self._names:
            return method, name
        if len(self._names) < self._most or name in self._kept:
            self._names.add((method, name))
            self._methods.add(method)
            return method, name
        return method if method in self._methods else OTHER, OTHER


class ErrorTypes:
    """Bounds the values of `error_type`."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def admitted(self, error_type: str) -> str:
        """Return the type to count under: the given one, or `_OTHER` once there are too many."""
        if error_type in self._known:
            return error_type
        if len(self._known) >= MAX_ERROR_TYPES:
            return OTHER
        self._known.add(error_type)
        return error_type
