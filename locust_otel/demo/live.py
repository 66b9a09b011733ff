"""The display of a running load test and of its alerts: redrawn in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from locust_otel.core.words import clock, duration
from locust_otel.demo.webhook import Message
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, spoken
from locust_otel.slo.text import line as slo_line
from locust_otel.slo.text import table as slo_table
from locust_otel.slo.verdict import Result, Status, Worst

SHOWN = 6
"""Messages of the webhook that are shown below the alerts; all are kept."""

_STYLES = {"firing": "bold red", "pending": "yellow", "resolved": "green"}
_IDENTITY = ("alertname", "severity", "slo", "run_id", "window", "instance", "exporter")

PLAIN_INTERVAL_S = 5.0
"""Seconds between two lines where there is no terminal."""

Row = Mapping[str, Any]
"""One endpoint, or all of them, as the live page has it: `requests` and `failures` since the start, `rate` in requests
a second, `p50_s` and the like in seconds; None where there was no request lately."""


class LiveView:
    """Shows the values of the live page: as a table in a terminal, else as a line every `PLAIN_INTERVAL_S`.

    What `below` returns is drawn below the table.
    """

    def __init__(
        self, console: Console, run_time_s: float, below: Callable[[], Iterable[RenderableType]] = tuple
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
        """Draw the values of the live page, which `bridge.ask("page")` returns; nothing before the run."""
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
        title = Text.assemble(
            (run["id"], "bold"),
            f"  {run['state']}  {clock(int(run['elapsed_s']))} of {clock(self._run_time_s)}  ",
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
        f"{clock(int(run['elapsed_s']))}  {run['users']} users  {_rate(total['rate'])} req/s"
        f"  p50 {duration(total['p50_s'])}  p95 {duration(total['p95_s'])}  p99 {duration(total['p99_s'])}"
        f"  {total['requests']:,} requests  {total['failures']:,} failed ({_share(total)})"
    )


def table(page: Mapping[str, Any]) -> Table:
    """Return the endpoints as a table, with their sum: lately while the run is active, else as a whole."""
    result = Table(box=None, pad_edge=False, header_style="dim")
    result.add_column("method", no_wrap=True, min_width=6)
    result.add_column("name", ratio=1, overflow="ellipsis", no_wrap=True)
    lately = f"last {page['recent_s']:.0f} s: req/s" if page["recent_s"] is not None else "req/s"
    for column in ("requests", "failed", "", lately, "p50", "p95", "p99"):
        result.add_column(column, justify="right", no_wrap=True)
    for row in (*page["endpoints"], page["total"]):
        failed = Text(_share(row), style="red" if row["failures"] else "dim")
        counts = (f"{row['requests']:,}", f"{row['failures']:,}", failed, _rate(row["rate"]))
        times = (duration(row[quantile]) for quantile in ("p50_s", "p95_s", "p99_s"))
        style = "bold" if row is page["total"] else ""
        result.add_row(Text(row["method"]), Text(row["name"]), *counts, *times, style=style)
    return result


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:,.1f}"


def _share(row: Row) -> str:
    return f"{row['failures'] / row['requests']:.1%}" if row["requests"] else "–"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that Prometheus holds, `pending` or `firing`; the labels of its key tell it from others."""

    key: tuple[str, ...]
    state: str
    since: datetime
    summary: str

    @property
    def title(self) -> str:
        """Name, severity and objective."""
        return " ".join(filter(None, self.key[:3]))


def alerts(document: Mapping[str, Any]) -> list[Alert]:
    """Return the alerts of Prometheus' `/api/v1/alerts`, firing ones first; those that notify nobody are left out."""
    result = [
        Alert(
            tuple(alert["labels"].get(label, "") for label in _IDENTITY),
            alert["state"],
            datetime.fromisoformat(alert["activeAt"]),
            alert["annotations"].get("summary", ""),
        )
        for alert in document["data"]["alerts"]
        if alert["labels"].get("severity") != "none"
    ]
    return sorted(result, key=lambda alert: (alert.state != "firing", alert.key))


class Board:
    """Keeps what is known, and what of it is new."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._alerts: list[Alert] = []
        self._news: deque[str] = deque()

    def got(self, message: Message) -> None:
        """Take what the webhook got."""
        self.messages.append(message)
        self._news.append(f"webhook  {message.line}")

    def update(self, now: Iterable[Alert], at: datetime) -> None:
        """Take the alerts that Prometheus holds now."""
        before = {alert.key: alert for alert in self._alerts}
        self._alerts = list(now)
        for alert in self._alerts:
            known = before.pop(alert.key, None)
            if known is None or known.state != alert.state:
                self._news.append(f"alert    {at:%H:%M:%S}Z  {alert.state}  {alert.title}  {alert.summary}")
        for gone in before.values():
            self._news.append(f"alert    {at:%H:%M:%S}Z  over  {gone.title}")

    def news(self) -> Iterator[str]:
        """Yield what has changed since the last call, a line each."""
        while self._news:
            yield self._news.popleft()

    def screen(self, at: datetime) -> Iterator[RenderableType]:
        """Yield what stands below the live table."""
        yield Text()
        if not self._alerts:
            yield Text("alerts: none is pending or firing", style="dim")
        else:
            table = Table(box=None, pad_edge=False, header_style="dim")
            for column in ("alert", "severity", "objective", "state", "for"):
                table.add_column(column, no_wrap=True)
            for alert in self._alerts:
                state = Text(alert.state, style=_STYLES.get(alert.state, ""))
                table.add_row(*alert.key[:3], state, f"{max(0, (at - alert.since).total_seconds()):.0f} s")
            yield table
        yield from self.notifications(SHOWN)

    def notifications(self, last: int = 0) -> Iterator[RenderableType]:
        """Yield what the webhook got, all of it or the last so many."""
        shown = self.messages[-last:]
        if not shown:
            yield Text("webhook: nothing has come", style="dim")
        for message in shown:
            style = _STYLES.get(message.status, "")
            yield Text(f"webhook  {message.line}", style=style, no_wrap=True, overflow="ellipsis")
