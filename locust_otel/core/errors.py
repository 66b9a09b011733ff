"""Errors that this package raises, and exit codes of its processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes; a run without an SLO file keeps Locust's own codes."""

    OK = 0  # all objectives are met
    MISSED = 3
    UNDECIDED = 4  # too few requests
    NOT_VALID = 5  # a slow load generator may have caused the misses, or workers were missing
    BAD_CONFIGURATION = 78  # EX_CONFIG of sysexits.h


class LocustOtelError(Exception):
    """Base class of all errors that this package raises on purpose."""


class ConfigurationError(LocustOtelError):
    """Problem of the user's configuration; nothing has started yet.

    Attributes:
        where: Source of the value: a flag, an environment variable, `file.yaml:7`.
        found: The problem, with the value found.
        remedy: A correct value, or how to write one.
        slug: Stable name of the problem, `prometheus-port-taken`; tests and searches rely on it.
        problems: All problems if there are several, else this one.
    """

    def __init__(self, where: str, found: str, remedy: str, *, slug: str) -> None:
        self.where = where
        self.found = found
        self.remedy = remedy
        self.slug = slug
        self.problems: tuple[ConfigurationError, ...] = (self,)
        super().__init__(f"{where}: {found} {remedy} ({slug})")

    @classmethod
    def of(cls, problems: Sequence[ConfigurationError]) -> ConfigurationError:
        """Return one error for all problems, one on each line; there must be at least one."""
        flat = tuple(problem for error in problems for problem in error.problems)
        first = flat[0]
        if len(flat) == 1:
            return first
        error = cls(first.where, first.found, first.remedy, slug=first.slug)
        error.problems = flat
        error.args = ("\n".join(map(str, flat)),)
        return error

    @property
    def fields(self) -> list[tuple[str, str, str, str]]:
        """Where, found, remedy and slug of each problem, for another process; `of_fields` reads them."""
        return [(problem.where, problem.found, problem.remedy, problem.slug) for problem in self.problems]

    @classmethod
    def of_fields(cls, fields: Iterable[Sequence[str]]) -> ConfigurationError:
        """Return the error with these fields; there must be at least one problem."""
        return cls.of([cls(where, found, remedy, slug=slug) for where, found, remedy, slug in fields])

    def __reduce__(self) -> tuple[Any, ...]:
        return ConfigurationError.of_fields, (self.fields,)


@contextmanager
def writing(where: str, path: object, remedy: str, *, slug: str) -> Iterator[None]:
    """Raise a ConfigurationError if code in the context cannot write to a path of the user."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigurationError(where, f"{str(path)!r} cannot be written to: {reason}.", remedy, slug=slug) from None
