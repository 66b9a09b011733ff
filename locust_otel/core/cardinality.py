"""Limits on the number of series of a run: methods, names and error types with their own series."""

from __future__ import annotations

from collections.abc import Iterable

from locust_otel.core.catalogue import OTHER
from locust_otel.core.grouping import grouped

MAX_ERROR_TYPES = 64  # values of `error_type` in a run; further values are counted as `_OTHER`


class Names:
    """Methods and names with their own series: the first `most` pairs, and each `kept` name.

    With `groups`, names that differ only in ids share one series.
    """

    def __init__(self, most: int, kept: Iterable[str] = (), *, groups: bool = False) -> None:
        self.groups = groups
        self._most = most
        self._kept = frozenset(kept)
        self._names: set[tuple[str, str]] = set()
        self._methods: set[str] = set()

    @property
    def all(self) -> frozenset[tuple[str, str]]:
        """Methods and names with their own series."""
        return frozenset(self._names)

    def admit_only(self, names: Iterable[tuple[str, str]]) -> None:
        """Give these methods and names their own series, besides those that have one, and admit no others."""
        self._names.update(names)
        self._methods.update(method for method, _ in self._names)
        self._most = 0

    def admitted(self, method: str, name: str) -> tuple[str, str]:
        """Return the method and name to count under: the given ones, or `_OTHER` beyond the limit."""
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
    """Values of `error_type` with their own series."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def admitted(self, error_type: str) -> str:
        """Return the type to count under: the given one, or `_OTHER` beyond the limit."""
        if error_type not in self._known and len(self._known) >= MAX_ERROR_TYPES:
            return OTHER
        self._known.add(error_type)
        return error_type
