"""The figures of a bench run and their bars, printed as one table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

_HEADINGS = ("budget", "bar", "measured", "verdict", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: Name of the figure.
        bar: `≤ 2.5x`; empty for a figure without one.
        measured: `1.9x`.
        holds: Whether the bar holds; None without one.
        note: Further numbers.
    """

    what: str
    bar: str
    measured: str
    holds: bool | None
    note: str

    @property
    def verdict(self) -> str:
        """`ok`, `OVER`, or `info` without a bar."""
        return "info" if self.holds is None else "ok" if self.holds else "OVER"


@dataclass(slots=True)
class Figures:
    """All rows of a session, in the order measured."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def judged(self) -> Iterator[Figures]:
        """Judge all figures that are added inside at the end, so that a failure hides none of them.

        Raises:
            Failed: A figure is over its bar.
        """
        before = len(self.rows)
        yield self
        over = [row for row in self.rows[before:] if row.holds is False]
        if over:
            pytest.fail("\n".join(f"{row.what.strip()}: {row.measured}, bar {row.bar}" for row in over), pytrace=False)

    def at_most(self, what: str, measured: float, bar: float, unit: str = "x", note: str = "") -> None:
        """Add a figure that must not exceed its bar."""
        self.rows.append(Row(what, f"≤ {bar:g}{unit}", f"{_short(measured)}{unit}", measured <= bar, note))

    def at_least(self, what: str, measured: float, bar: float, unit: str = "x", note: str = "") -> None:
        """Add a figure that must reach its bar."""
        self.rows.append(Row(what, f"≥ {bar:g}{unit}", f"{_short(measured)}{unit}", measured >= bar, note))

    def info(self, what: str, measured: float, unit: str = "x", note: str = "") -> None:
        """Add a figure without a bar."""
        self.rows.append(Row(what, "", f"{_short(measured)}{unit}", None, note))

    def skipped(self, what: str, reason: str) -> None:
        """Add a figure that could not be measured here."""
        self.rows.append(Row(what, "", "skipped", None, reason))

    def lines(self) -> list[str]:
        """Return the table as text."""
        cells = [_HEADINGS, *((r.what, r.bar, r.measured, r.verdict, r.note) for r in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADINGS))]
        lines = [
            f"{what:<{widths[0]}}  {bar:>{widths[1]}}  {measured:>{widths[2]}}  {verdict:<{widths[3]}}  {note}".rstrip()
            for what, bar, measured, verdict, note in cells
        ]
        return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
