"""What a person watches while a load test runs: a table that is redrawn in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import RunSnapshot, Snapshot
from locust_otel.slo.objectives import spoken
from locust_otel.slo.progress import Standing
from locust_otel.slo.text import burning
from locust_otel.slo.text import line as slo_line
from locust_otel.slo.text import table as slo_table

RECENT_S = 10.0
"""Seconds that rates and percentiles look back."""

PLAIN_INTERVAL_S = 5.0
"""Seconds between two lines where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint, or all of them.

    Attributes:
        requests: Since the start of the run.
        failures: Among them.
        rate: Requests a second lately; None where nothing is known of it.
        p50_s: Seconds, like the next two; None where there was no request lately.
    """

    method: str
    name: str
    requests: int
    failures: int
    rate: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


class _Endpoint(NamedTuple):
    method: str
    name: str


@dataclass(slots=True)
class _Sums:
    requests: int
    failures: int
    counts: Sequence[int]


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
        self._recent: deque[tuple[float, dict[_Endpoint, _Sums]]] = deque()
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

    def show(self, snapshot: Snapshot, standing: Standing | None = None) -> None:
        """Draw a snapshot, and how its objectives stand."""
        run = snapshot.run
        if run is None:
            return
        if run.run_id != self._run_id:
            self._run_id, self._next_line_s = run.run_id, 0.0
            self._recent.clear()
        sums = _by_endpoint(run)
        self._recent.append((run.elapsed_s, sums))
        while len(self._recent) > 2 and run.elapsed_s - self._recent[1][0] >= RECENT_S:
            self._recent.popleft()
        since_s, before = self._recent[0]
        rows = list(_rows(run.requests.layout, sums, before, run.elapsed_s - since_s))
        if self._live is not None:
            self._live.update(self._screen(run, rows, standing), refresh=True)
        elif run.elapsed_s >= self._next_line_s:
            self._next_line_s = run.elapsed_s + PLAIN_INTERVAL_S
            self._console.print(_line(run, rows[-1]), highlight=False, soft_wrap=True)
            if standing is not None and not standing.is_warming_up:
                self._console.print(f"      {slo_line(tuple(standing.results()))}", highlight=False, soft_wrap=True)

    def _screen(self, run: RunSnapshot, rows: Sequence[Row], standing: Standing | None) -> RenderableType:
        users, target = sum(run.users.values()), sum(run.users_target.values())
        of = f" of {_clock(self._run_time_s)}" if self._run_time_s else ""
        title = Text.assemble(
            (run.run_id, "bold"), f"  {run.state}  {_clock(run.elapsed_s)}{of}  ", (f"{users}/{target} users", "bold")
        )
        objectives = _objectives(standing) if standing is not None else ()
        return Group(Text(), title, table(rows, recent=True), *objectives, *self._below())


def _objectives(standing: Standing) -> Iterator[RenderableType]:
    yield Text()
    if standing.is_warming_up:
        yield Text(f"objectives: nothing is judged in the warm-up of {spoken(standing.slo.warmup_s)}", style="dim")
        return
    yield slo_table(standing.results())
    for pair in standing.burning:
        yield Text(burning(pair), style="bold red" if pair.window.severity == "critical" else "yellow")


def _line(run: RunSnapshot, total: Row) -> str:
    return (
        f"{_clock(run.elapsed_s)}  {sum(run.users.values())} users  {_rate(total.rate)} req/s"
        f"  p50 {_time(total.p50_s)}  p95 {_time(total.p95_s)}  p99 {_time(total.p99_s)}"
        f"  {total.requests:,} requests  {total.failures:,} failed ({_share(total)})"
    )


def final_table(run: RunSnapshot) -> Table:
    """Return the whole run as a table."""
    return table(list(_rows(run.requests.layout, _by_endpoint(run), {}, run.elapsed_s)), recent=False)


def table(rows: Sequence[Row], *, recent: bool) -> Table:
    """Return rows as a table; the last one is the sum."""
    result = Table(box=None, pad_edge=False, header_style="dim", show_footer=False)
    result.add_column("method", no_wrap=True, min_width=6)
    result.add_column("name", ratio=1, overflow="ellipsis", no_wrap=True)
    lately = f"last {RECENT_S:.0f} s: req/s" if recent else "req/s"
    for column in ("requests", "failed", "", lately, "p50", "p95", "p99"):
        result.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        is_sum = row is rows[-1]
        result.add_row(
            Text(row.method),
            Text(row.name),
            f"{row.requests:,}",
            f"{row.failures:,}",
            Text(_share(row), style="red" if row.failures else "dim"),
            _rate(row.rate),
            _time(row.p50_s),
            _time(row.p95_s),
            _time(row.p99_s),
            style="bold" if is_sum else "",
        )
    return result


def _by_endpoint(run: RunSnapshot) -> dict[_Endpoint, _Sums]:
    sums: dict[_Endpoint, _Sums] = {}
    for series in run.requests.series:
        place = _Endpoint(series.key.method, series.key.name)
        known = sums.setdefault(place, _Sums(0, 0, run.requests.layout.empty()))
        known.requests += series.total
        known.failures += series.total if series.key.outcome == "failure" else 0
        known.counts = [a + b for a, b in zip(known.counts, series.counts, strict=True)]
    return dict(sorted(sums.items()))


def _rows(layout: Layout, now: dict[_Endpoint, _Sums], before: dict[_Endpoint, _Sums], seconds: float) -> Iterator[Row]:
    everything, earlier = _Sums(0, 0, layout.empty()), _Sums(0, 0, layout.empty())
    for place, sums in now.items():
        old = before.get(place) or _Sums(0, 0, layout.empty())
        yield _row(layout, place, sums, old, seconds)
        for target, part in ((everything, sums), (earlier, old)):
            target.requests += part.requests
            target.failures += part.failures
            target.counts = [a + b for a, b in zip(target.counts, part.counts, strict=True)]
    yield _row(layout, _Endpoint("", "all"), everything, earlier, seconds)


def _row(layout: Layout, place: _Endpoint, now: _Sums, before: _Sums, seconds: float) -> Row:
    recent = [a - b for a, b in zip(now.counts, before.counts, strict=True)]
    p50, p95, p99 = (layout.quantile(recent, q) for q in (0.5, 0.95, 0.99))
    rate = (now.requests - before.requests) / seconds if seconds > 0 else None
    return Row(*place, now.requests, now.failures, rate, p50, p95, p99)


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
    return f"{row.failures / row.requests:.1%}" if row.requests else "–"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
