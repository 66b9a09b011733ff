"""How many series a run may have: which method and name get series of their own, and which error types."""

from __future__ import annotations

from collections.abc import Iterable

from locust_otel.core.catalogue import OTHER

MAX_ERROR_TYPES = 64
"""Distinct values of `error_type` in a run before the rest is counted as `_OTHER`."""


class Names:
    """Decides under which method and name a request is counted.

    Args:
        most: Methods and names that get series of their own.
        kept: Names that objectives ask for, which are never too many.
    """

    def __init__(self, most: int, kept: Iterable[str] = ()) -> None:
        self._most = most
        self._kept = frozenset(kept)
        self._names: set[tuple[str, str]] = set()
        self._methods: set[str] = set()
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether no further method and name gets a series of its own."""
        return self._closed or len(self._names) >= self._most

    @property
    def all(self) -> frozenset[tuple[str, str]]:
        """The methods and names that have a series of their own."""
        return frozenset(self._names)

    def admit_only(self, names: Iterable[tuple[str, str]]) -> None:
        """Give series of their own to these methods and names, besides those that have one, and to no others."""
        self._names.update(names)
        self._methods.update(method for method, _ in self._names)
        self._closed = True

    def admitted(self, method: str, name: str) -> tuple[str, str]:
        """Return the method and name to count under: the given ones, or `_OTHER` once there are too many."""
        if (method, name) in self._names:
            return method, name
        if not self.is_full or name in self._kept:
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
