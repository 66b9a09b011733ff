"""Results of objectives as text: a table, and a line."""

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
    """Return the table of results; with the worst endpoints if the verdict is final."""
    from rich.table import Table  # noqa: PLC0415  # 40 ms at the start of the exporter, which needs it at the end only
    from rich.text import Text  # noqa: PLC0415  # likewise

    result = Table(box=None, pad_edge=False, header_style="dim")
    result.add_column("objective", no_wrap=True)
    result.add_column("asked for")
    for column in ("actual", "good", "of", "budget spent"):
        result.add_column(column, justify="right", no_wrap=True)
    result.add_column("status", no_wrap=True)
    if has_worst:
        result.add_column("worst endpoint")
    result.add_column("reason" if any(each.note for each in results) else "")
    for each in results:
        is_mean = each.objective.target is None
        worst = [] if not has_worst else [Text("" if each.worst is None else _worst(each.worst, is_mean=is_mean))]
        result.add_row(
            Text(each.objective.name),
            Text(each.objective.sentence),
            actual(each),
            "" if is_mean or each.told else f"{each.counts.good:,}",
            f"{each.counts.total:,}",
            "–" if each.budget_spent is None else f"{each.budget_spent:.0%}",
            Text(each.status.value, style=_STYLES[each.status]),
            *worst,
            Text(each.note),
        )
    return result


def written(tables: Table) -> str:
    """Return a table as plain text, for a log."""
    from rich.console import Console  # noqa: PLC0415  # as above

    file = StringIO()
    Console(file=file, width=_WIDTH, color_system=None).print(tables)
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
    while value < 1 and float(text) == 100 and digits < 12:  # one bad request among many is not none
        digits += 1
        text = f"{value * 100:.{digits}f}"
    return f"{text} %"


def line(results: Sequence[Result]) -> str:
    """Return the results in one line."""
    return " · ".join(f"{each.objective.name} {actual(each)} {each.status.value}" for each in results)


def burning(pair: Burning) -> str:
    """Return a burning pair in words."""
    window = pair.window
    return (
        f"{pair.objective.name} spends its budget {pair.long_rate:.1f} times as fast as it may over "
        f"{span(window.long_s)}, and {pair.short_rate:.1f} times over {span(window.short_s)} "
        f"({window.severity} above {pair.factor:g})"
    )


def _worst(found: Worst, *, is_mean: bool) -> str:
    told = duration(found.value) if is_mean else f"{found.counts.bad:,} bad of {found.counts.total:,}"
    return f"{found.method} {found.name}: {told}"
