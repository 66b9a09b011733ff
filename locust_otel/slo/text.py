"""Results of objectives as text: a table and a line."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from locust_otel.core.words import duration
from locust_otel.slo.burn import Burning
from locust_otel.slo.objectives import span
from locust_otel.slo.verdict import Result, Status, Worst

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {Status.MET: "green", Status.MISSED: "bold red", Status.UNDECIDED: "yellow", Status.INVALID: "magenta"}
_WIDTH = 140


def table(results: Sequence[Result], *, has_worst: bool = False) -> Table:
    """Return a table of results, with the worst endpoints if the verdict is final."""
    from rich.table import Table  # noqa: PLC0415  # it would add 40 ms to the start of the exporter
    from rich.text import Text  # noqa: PLC0415  # likewise

    columns = Table(box=None, pad_edge=False, header_style="dim")
    columns.add_column("objective", no_wrap=True)
    columns.add_column("asked for")
    for column in ("actual", "good", "of", "budget spent"):
        columns.add_column(column, justify="right", no_wrap=True)
    columns.add_column("status", no_wrap=True)
    if has_worst:
        columns.add_column("worst endpoint")
    columns.add_column("reason" if any(result.note for result in results) else "")
    for result in results:
        is_mean = result.objective.target is None
        columns.add_row(
            Text(result.objective.name),
            Text(result.objective.sentence),
            actual(result),
            "" if is_mean or result.told else f"{result.counts.good:,}",
            f"{result.counts.total:,}",
            "–" if result.budget_spent is None else f"{result.budget_spent:.0%}",
            Text(result.status.value, style=_STYLES[result.status]),
            *([Text(_worst(result.worst, is_mean=is_mean))] if has_worst else ()),
            Text(result.note),
        )
    return columns


def written(columns: Table) -> str:
    """Return a table as plain text, for a log."""
    from rich.console import Console  # noqa: PLC0415  # as above

    file = StringIO()
    Console(file=file, width=_WIDTH, color_system=None).print(columns)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def actual(result: Result) -> str:
    """Return the measured value of an objective: `99.62 %`, `312 ms`."""
    if result.told:
        return result.told
    value = result.actual
    if value is None:
        return "–"
    return duration(value) if result.objective.target is None else share(value, result.counts.total)


def share(value: float, total: int) -> str:
    """Return a ratio in percent, with more digits for more requests."""
    digits = 1 if total < 1000 else 2 if total < 100_000 else 3
    text = f"{value * 100:.{digits}f}"
    while value < 1 and float(text) == 100 and digits < 12:  # one bad request among many must show
        digits += 1
        text = f"{value * 100:.{digits}f}"
    return f"{text} %"


def line(results: Sequence[Result]) -> str:
    """Return the results in one line."""
    return " · ".join(f"{result.objective.name} {actual(result)} {result.status.value}" for result in results)


def burning(pair: Burning) -> str:
    """Return a sentence about a pair of windows that burns."""
    window = pair.window
    return (
        f"{pair.objective.name} spends its budget {pair.long_rate:.1f} times as fast as it may over "
        f"{span(window.long_s)}, and {pair.short_rate:.1f} times over {span(window.short_s)} "
        f"({window.severity} above {pair.factor:g})"
    )


def _worst(worst: Worst | None, *, is_mean: bool) -> str:
    if worst is None:
        return ""
    value = duration(worst.value) if is_mean else f"{worst.counts.bad:,} bad of {worst.counts.total:,}"
    return f"{worst.method} {worst.name}: {value}"
