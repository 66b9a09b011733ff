"""Everything this package raises, and the exit codes it ends a process with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of ours; without an SLO file Locust's own codes stand."""

    OK = 0  # all objectives are met
    MISSED = 3
    UNDECIDED = 4  # no data, or too little
    NOT_VALID = 5  # a late load generator may have caused what is missed, or workers were missing
    BAD_CONFIGURATION = 78  # EX_CONFIG of sysexits.h


class LocustOtelError(Exception):
    """Base of all errors this package raises on purpose."""


class ConfigurationError(LocustOtelError):
    """The user's configuration cannot be used; nothing has started yet.

    Attributes:
        where: What the user wrote it in: a flag, an environment variable, `file.yaml:7`.
        found: What is wrong with it, with the value found.
        remedy: What would be right.
        slug: A stable name of the problem, `prometheus-port-taken`; tests and searches rely on it.
        problems: All problems where there are several, else this one.
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
        """Return one error that tells of all problems, one a line; there must be at least one."""
        flat = tuple(problem for several in problems for problem in several.problems)
        if len(flat) == 1:
            return flat[0]
        first = flat[0]
        error = cls(first.where, first.found, first.remedy, slug=first.slug)
        error.problems = flat
        error.args = ("\n".join(map(str, flat)),)
        return error

    @property
    def fields(self) -> list[tuple[str, str, str, str]]:
        """Where, found, remedy and slug of each problem, for another process; `of_fields` is the way back."""
        return [(problem.where, problem.found, problem.remedy, problem.slug) for problem in self.problems]

    @classmethod
    def of_fields(cls, fields: Iterable[Sequence[str]]) -> ConfigurationError:
        """Return the error of these fields; there must be at least one problem."""
        return cls.of([cls(where, found, remedy, slug=slug) for where, found, remedy, slug in fields])

    def __reduce__(self) -> tuple[Any, ...]:
        return ConfigurationError.of_fields, (self.fields,)
