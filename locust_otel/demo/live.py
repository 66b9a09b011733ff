"""The display of a running load test and of its alerts: redrawn in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from locust_otel.core.words import clock, duration
from locust_otel.demo.webhook import Message, messages
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Slo, spoken
from locust_otel.slo.text import line as slo_line
from locust_otel.slo.text import table as slo_table
from locust_otel.slo.verdict import Result, Status, Worst

SHOWN = 6
"""Number of the webhook's last messages that are shown below the alerts."""

_STYLES = {"firing": "bold red", "pending": "yellow", "resolved": "green"}
_TITLE = ("alertname", "severity", "slo")

PLAIN_INTERVAL_S = 5.0
"""Seconds between two lines without a terminal."""

Row = Mapping[str, Any]
"""One endpoint, or all of them, as on the live page: `requests` and `failures` since the start, `rate` in requests a
second, `p50_s` and so on in seconds; None without a recent request."""


class LiveView:
    """Shows the values of the live page: as a table in a terminal, with `below` under it, else as lines.

    A line is printed every `PLAIN_INTERVAL_S`.
    """

    def __init__(
        self, console: Console, run_time_s: float, below: Callable[[], Iterable[RenderableType]] = tuple
    ) -> None:
        self._console = console
        self._below = below
        self._run_time_s = run_time_s
        self._run_id = ""
        self._next_line_s = 0.0
        self._live = Live(console=console, auto_refresh=False)

    def start(self) -> None:
        """Start to draw."""
        if self._console.is_terminal:
            self._live.start()

    def stop(self) -> None:
        """Stop drawing; the last table stays on the screen."""
        self._live.stop()

    def show(self, page: Mapping[str, Any], slo: Slo | None) -> None:
        """Draw the values of the live page, as `bridge.ask("page")` returns them; nothing before the run."""
        run = page["run"]
        if run is None:
            return
        if run["id"] != self._run_id:
            self._run_id, self._next_line_s = run["id"], 0.0
        if self._live.is_started:
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
    """Return the results of the objectives of an SLO file, by the values of the live page."""
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
    """Return the endpoints and their sum as a table: recent rates while the run is active, else those of the run."""
    result = Table(box=None, pad_edge=False, header_style="dim")
    result.add_column("method", no_wrap=True, min_width=6)
    result.add_column("name", ratio=1, overflow="ellipsis", no_wrap=True)
    rate = f"last {page['recent_s']:.0f} s: req/s" if page["recent_s"] is not None else "req/s"
    for column in ("requests", "failed", "", rate, "p50", "p95", "p99"):
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


class Board:
    """Keeps the alerts of Prometheus and the messages of the webhook, and the lines on their changes."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._alerts: list[Mapping[str, Any]] = []
        self._news: deque[str] = deque()

    def take(self, payload: Any) -> None:
        """Add the messages of a webhook's payload, which has just come."""
        for message in messages(payload, datetime.now(UTC)):
            self.messages.append(message)
            self._news.append(f"webhook  {message.line}")

    def update(self, alerts: Iterable[Mapping[str, Any]], at: datetime) -> None:
        """Replace the alerts by those that Prometheus' `/api/v1/alerts` has now; severity `none` is left out."""
        ended = {_key(alert): alert for alert in self._alerts}
        shown = [alert for alert in alerts if alert["labels"].get("severity") != "none"]
        self._alerts = sorted(shown, key=lambda alert: (alert["state"] != "firing", _title(alert)))
        for alert in self._alerts:
            known = ended.pop(_key(alert), None)
            if known is None or known["state"] != alert["state"]:
                summary = alert["annotations"].get("summary", "")
                self._news.append(f"alert    {at:%H:%M:%S}Z  {alert['state']}  {_title(alert)}  {summary}")
        for alert in ended.values():
            self._news.append(f"alert    {at:%H:%M:%S}Z  over  {_title(alert)}")

    def news(self) -> Iterator[str]:
        """Yield the changes since the last call, a line each."""
        while self._news:
            yield self._news.popleft()

    def screen(self, at: datetime) -> Iterator[RenderableType]:
        """Yield the part below the live table: the alerts with their age, and the last messages."""
        yield Text()
        if not self._alerts:
            yield Text("alerts: none is pending or firing", style="dim")
        else:
            table = Table(box=None, pad_edge=False, header_style="dim")
            for column in ("alert", "severity", "objective", "state", "for"):
                table.add_column(column, no_wrap=True)
            for alert in self._alerts:
                state = Text(alert["state"], style=_STYLES.get(alert["state"], ""))
                age_s = (at - datetime.fromisoformat(alert["activeAt"])).total_seconds()
                names = (alert["labels"].get(label, "") for label in _TITLE)
                table.add_row(*names, state, f"{max(0, age_s):.0f} s")
            yield table
        yield from self.notifications(SHOWN)

    def notifications(self, last: int = 0) -> Iterator[RenderableType]:
        """Yield the messages of the webhook: the last ones, or with 0 all of them."""
        shown = self.messages[-last:]
        if not shown:
            yield Text("webhook: nothing has come", style="dim")
        for message in shown:
            style = _STYLES.get(message.status, "")
            yield Text(f"webhook  {message.line}", style=style, no_wrap=True, overflow="ellipsis")


def _key(alert: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset(alert["labels"].items())


def _title(alert: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (alert["labels"].get(label) for label in _TITLE)))
