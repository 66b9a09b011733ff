"""Tests of the display of the demo: a table in a terminal, lines elsewhere, and the board of the alerts."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import SeriesKey
from locust_otel.demo.live import Board, LiveView, results, table
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Origin, Session
from locust_otel.exporter.settings import resolve
from locust_otel.slo.objectives import Window
from locust_otel.slo.progress import Progress
from locust_otel.wire import frames
from tests.unit.factories import Load, objectives, record

GOOD, BAD = SeriesKey("GET", "/products", "Shopper", "success"), SeriesKey("GET", "/products", "Shopper", "failure")
BUY = SeriesKey("POST", "/orders", "Shopper", "success")
SLO = objectives(warmup_s=Decimal(2), windows=(Window("critical", Decimal(120), Decimal(30), Decimal("0.2")),))


class Demo:
    """An exporter without a process, whose live page the demo draws."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr("locust_otel.exporter.run.monotonic", lambda: self.now_s)
        self.session = Session(resolve(values_of(None, {})), Origin(name="host-0"), lambda *_: None)
        self.page = Page(self.session)
        self.load = Load(slow_s=2.0, thresholds_s=(0.3,))
        self.progress = Progress(SLO, 0.0)
        self.run = Run("run-1", {}, 0.0, 0.0, {}, self.load.merged, self.progress)

    def play(self, seconds: int, *, failing: bool = False) -> None:
        """Let seconds pass."""
        self.session.state.run = self.run
        self.run.go_on(Phase.RUNNING)
        self.run.users, self.run.users_target = {"Shopper": 20}, {"Shopper": 20}
        for _ in range(seconds):
            self.now_s += 1
            record(self.load, BAD if failing else GOOD, [40] * 3)
            record(self.load, BUY, [1500])
            self.page.collect(self.session.snapshot())
            self.progress.observe(self.load.snapshot(), self.now_s)

    def values(self) -> Any:
        """Return the values as Locust's process gets them."""
        ((_, _, values),) = frames.Frames().feed(frames.packed("answer", 1, self.page.answer("page", None)))
        return values


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Demo:
    """Make a demo before its run."""
    return Demo(monkeypatch)


def lines(*tables: Any) -> list[str]:
    """Return what is printed."""
    console = Console(file=io.StringIO(), width=110)
    console.print(*tables, sep="\n")
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table(demo: Demo) -> None:
    """Each endpoint has a row, and so has their sum: counts since the start, recent rates and percentiles."""
    demo.play(20)
    assert lines(table(demo.values())) == [
        "method  name       requests  failed        last 10 s: req/s     p50     p95     p99",
        "GET     /products        60       0  0.0%               3.0   40 ms   40 ms   40 ms",
        "POST    /orders          20       0  0.0%               1.0  1.51 s  1.51 s  1.51 s",
        "        all              80       0  0.0%               4.0   40 ms  1.51 s  1.51 s",
    ]


def test_the_table_of_the_whole_run(demo: Demo) -> None:
    """At the end it has the rates and percentiles of the run."""
    demo.play(10)
    demo.play(2, failing=True)
    demo.run.stop(16.0)
    head, products, _, total = lines(table(demo.values()))
    assert head.split() == ["method", "name", "requests", "failed", "req/s", "p50", "p95", "p99"]
    assert products.split() == ["GET", "/products", "36", "6", "16.7%", "2.2", "40", "ms", "40", "ms", "40", "ms"]
    assert total.split()[:5] == ["all", "48", "6", "12.5%", "3.0"]


def test_lines_where_there_is_no_terminal(demo: Demo) -> None:
    """There is a line every five seconds, with one of the objectives after the warm-up; none before the run."""
    console = Console(file=io.StringIO(), width=110)
    view = LiveView(console, 60.0)
    view.start()
    view.show(demo.values(), SLO)
    for _ in range(7):
        demo.play(1)
        view.show(demo.values(), SLO)
    view.stop()
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "0:01  20 users  4.0 req/s  p50 40 ms  p95 1.51 s  p99 1.51 s  4 requests  0 failed (0.0%)",
        "0:06  20 users  4.0 req/s  p50 40 ms  p95 1.51 s  p99 1.51 s  24 requests  0 failed (0.0%)",
        "      availability 100.0 % met · latency 75.0 % met · mean 405 ms met",
    ]


def test_the_screen(demo: Demo) -> None:
    """A terminal shows run, table, objectives and burning windows, and below them further parts."""
    console = Console(file=io.StringIO(), width=110, force_terminal=True, color_system=None)
    view = LiveView(console, 60.0, lambda: [Text("below")])
    view.start()
    demo.play(1)
    view.show(demo.values(), SLO)
    demo.play(9, failing=True)
    view.show(demo.values(), SLO)
    view.stop()
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    for text in (
        "run-1  running  0:10 of 1:00  20/20 users", "objectives: nothing is judged in the warm-up of 2 s", "below",
        "availability  99 % of requests succeed", "availability spends its budget ", "(critical above",
    ):  # fmt: skip
        assert text in drawn


def test_results_are_those_of_the_verdict(demo: Demo) -> None:
    """From the values of the page come the same results as in the exporter."""
    demo.play(6)
    demo.play(6, failing=True)
    judged = demo.progress.judge(demo.load.snapshot(), demo.now_s).results
    assert results(demo.values(), SLO) == judged
    assert judged[0].worst is not None


AT = datetime(2026, 11, 22, 11, 40, 31, tzinfo=UTC)
BURN = {"alertname": "LocustSLOBudgetBurn", "severity": "critical", "slo": "availability", "run_id": "r1"}
TITLE = "LocustSLOBudgetBurn critical availability"


def alert(state: str, **labels: str) -> dict[str, Any]:
    """Return an alert as Prometheus has it."""
    at = "2026-11-22T11:40:01.123456789Z"
    return {"labels": labels, "annotations": {"summary": "It burns."}, "state": state, "activeAt": at}


def payload(number: int = 1) -> dict[str, Any]:
    """Return the payload of a webhook."""
    annotations = {"summary": f"Message {number}."}
    return {"receiver": "pages", "alerts": [{"status": "firing", "labels": BURN, "annotations": annotations}]}


def test_the_board_reports_each_change_once() -> None:
    """Pending, firing, over and a webhook have a line each; alerts of severity none have no line."""
    board = Board()
    for state in ("pending", "pending", "firing"):
        board.update([alert(state, **BURN), alert("firing", alertname="LocustRunActive", severity="none")], AT)
    board.take(payload())
    board.update([], AT)
    pending, firing, webhook, over = board.news()
    assert pending == f"alert    11:40:31Z  pending  {TITLE}  It burns."
    assert firing == f"alert    11:40:31Z  firing  {TITLE}  It burns."
    assert webhook.partition("Z  ")[2] == f"pages  firing  {TITLE}  Message 1."
    assert over == f"alert    11:40:31Z  over  {TITLE}"
    assert list(board.news()) == []


def test_the_board_shows_alerts_and_messages() -> None:
    """Firing alerts come first, with their age in seconds; below them are the last six messages."""
    board = Board()
    assert lines(*board.screen(AT)) == ["", "alerts: none is pending or firing", "webhook: nothing has come"]
    board.update([alert("pending", alertname="LocustWorkerMissing", severity="warning"), alert("firing", **BURN)], AT)
    for number in range(8):
        board.take(payload(number))
    _, _, first, second, *shown = lines(*board.screen(AT))
    assert first.split() == ["LocustSLOBudgetBurn", "critical", "availability", "firing", "30", "s"]
    assert second.split() == ["LocustWorkerMissing", "warning", "pending", "30", "s"]
    assert [line[-2] for line in shown] == ["2", "3", "4", "5", "6", "7"]
    assert len(lines(*board.notifications())) == 8
