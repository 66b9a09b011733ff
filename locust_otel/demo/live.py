"""What a person watches while a load test runs: a table that is redrawn in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, spoken
from locust_otel.slo.text import line as slo_line
from locust_otel.slo.text import table as slo_table
from locust_otel.slo.verdict import Result, Status, Worst

PLAIN_INTERVAL_S = 5.0
"""Seconds between two lines where there is no terminal."""


Row = Mapping[str, Any]
"""One endpoint, or all of them, as the live page has it: `requests` and `failures` since the start, `rate` in requests
a second, `p50_s` and the like in seconds; None where there was no request lately."""


class LiveView:
    """Shows snapshots of a run as they come.

    Args:
        console: Where to; a table where it is a terminal, else a line every `PLAIN_INTERVAL_S`.
        run_time_s: How long the run is to last; None for open end.
        below: Gives what else stands below the table, in a terminal.
    """

    def __init__(
        self,
        console: Console,
        run_time_s: float | None,
        below: Callable[[], Iterable[RenderableType]] = tuple,
    ) -> None:
        self._console = console
        self._below = below
        self._run_time_s = run_time_s
        self._run_id = ""
        self._next_line_s = 0.0
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def start(self) -> None:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()

    def stop(self) -> None:
        """Leave the last table on the screen."""
        if self._live is not None:
            self._live.stop()

    def show(self, page: Mapping[str, Any], slo: Slo | None) -> None:
        """Draw the values of the live page.

        Args:
            page: What `bridge.ask("page")` returns.
            slo: The SLO file of the run.
        """
        run = page["run"]
        if run is None:
            return
        if run["id"] != self._run_id:
            self._run_id, self._next_line_s = run["id"], 0.0
        if self._live is not None:
            self._live.update(self._screen(page, slo), refresh=True)
        elif run["elapsed_s"] >= self._next_line_s:
            self._next_line_s = run["elapsed_s"] + PLAIN_INTERVAL_S
            self._console.print(_line(run, page["total"]), highlight=False, soft_wrap=True)
            if slo is not None and page["slo"] is not None and not page["slo"]["is_warming_up"]:
                self._console.print(f"      {slo_line(results(page, slo))}", highlight=False, soft_wrap=True)

    def _screen(self, page: Mapping[str, Any], slo: Slo | None) -> RenderableType:
        run = page["run"]
        of = f" of {_clock(self._run_time_s)}" if self._run_time_s else ""
        title = Text.assemble(
            (run["id"], "bold"),
            f"  {run['state']}  {_clock(run['elapsed_s'])}{of}  ",
            (f"{run['users']}/{run['users_target']} users", "bold"),
        )
        objectives = _objectives(page, slo) if slo is not None and page["slo"] is not None else ()
        return Group(Text(), title, table(page), *objectives, *self._below())


def results(page: Mapping[str, Any], slo: Slo) -> tuple[Result, ...]:
    """Return how the objectives of an SLO file stand, by the values of the live page."""
    by_name = {objective["name"]: objective for objective in page["slo"]["objectives"]}
    return tuple(_result(objective, by_name[objective.name]) for objective in slo.objectives)


def _result(objective: Objective, shown: Mapping[str, Any]) -> Result:
    worst = None
    if shown["worst"] is not None:
        method, name, counts, value = shown["worst"]
        worst = Worst(method, name, Counts(*counts), value)
    status = Status(shown["status"])
    return Result(objective, Counts(*shown["counts"]), status, shown["budget_spent"], worst, shown["note"])


def _objectives(page: Mapping[str, Any], slo: Slo) -> Iterator[RenderableType]:
    yield Text()
    if page["slo"]["is_warming_up"]:
        yield Text(f"objectives: nothing is judged in the warm-up of {spoken(slo.warmup_s)}", style="dim")
        return
    yield slo_table(results(page, slo))
    for pair in page["slo"]["burning"]:
        yield Text(pair["text"], style="bold red" if pair["severity"] == "critical" else "yellow")


def _line(run: Mapping[str, Any], total: Row) -> str:
    return (
        f"{_clock(run['elapsed_s'])}  {run['users']} users  {_rate(total['rate'])} req/s"
        f"  p50 {_time(total['p50_s'])}  p95 {_time(total['p95_s'])}  p99 {_time(total['p99_s'])}"
        f"  {total['requests']:,} requests  {total['failures']:,} failed ({_share(total)})"
    )


def table(page: Mapping[str, Any]) -> Table:
    """Return the endpoints as a table, with their sum: lately while the run is active, else as a whole."""
    result = Table(box=None, pad_edge=False, header_style="dim", show_footer=False)
    result.add_column("method", no_wrap=True, min_width=6)
    result.add_column("name", ratio=1, overflow="ellipsis", no_wrap=True)
    lately = f"last {page['recent_s']:.0f} s: req/s" if page["recent_s"] is not None else "req/s"
    for column in ("requests", "failed", "", lately, "p50", "p95", "p99"):
        result.add_column(column, justify="right", no_wrap=True)
    for row in (*page["endpoints"], page["total"]):
        result.add_row(
            Text(row["method"]),
            Text(row["name"]),
            f"{row['requests']:,}",
            f"{row['failures']:,}",
            Text(_share(row), style="red" if row["failures"] else "dim"),
            _rate(row["rate"]),
            _time(row["p50_s"]),
            _time(row["p95_s"]),
            _time(row["p99_s"]),
            style="bold" if row is page["total"] else "",
        )
    return result


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{seconds:.2f} s"
        if seconds >= 1
        else f"{seconds * 1000:.0f} ms"
        if seconds >= 0.01
        else f"{seconds * 1000:.1f} ms"
    )


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:,.1f}"


def _share(row: Row) -> str:
    return f"{row['failures'] / row['requests']:.1%}" if row["requests"] else "–"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
