"""Everything this package raises, and the exit codes it ends a process with."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ours; without an SLO file Locust's own codes stand."""

    OK = 0
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
    """

    def __init__(self, where: str, found: str, remedy: str, *, slug: str) -> None:
        self.where = where
        self.found = found
        self.remedy = remedy
        self.slug = slug
        super().__init__(f"{where}: {found} {remedy} ({slug})")
