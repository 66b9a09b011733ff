"""Tests of the watch over objectives, on a node that is none of Locust's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from locust_otel.core.errors import ExitCode
from locust_otel.core.events import EventQueue
from locust_otel.core.settings import resolve
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter import watch as module
from locust_otel.exporter.watch import Watch
from locust_otel.plugin.run import Run
from locust_otel.plugin.series import Aggregate
from locust_otel.slo.objectives import Match, Objective, Sli, Slo, Window
from tests.unit.factories import objectives, record, worker

GOOD, BAD = SeriesKey("GET", "/", "Shopper", "success"), SeriesKey("GET", "/", "Shopper", "failure")
CRITICAL = Window("critical", Decimal(120), Decimal(30), Decimal("0.2"))
WARNING = Window("warning", Decimal(600), Decimal(120), Decimal("0.5"))


class Node:
    """What a watch needs of a node."""

    def __init__(self, slo: Slo, *, web_ui: object = None, **options: object) -> None:
        self.calls: list[str] = []
        runner = SimpleNamespace(quit=lambda: self.calls.append("quit"), stop=lambda: self.calls.append("stop"))
        self.environment = SimpleNamespace(runner=runner, web_ui=web_ui, parsed_options=SimpleNamespace(**options))
        self.events = EventQueue()
        self.slo = slo
        self.reasons: tuple[str, ...] = ()
        self.looks = 0
        self.run: Run | None = self.new_run()

    def new_run(self) -> Run:
        """Return a run that has just begun."""
        return Run("run-1", Aggregate(slow_s=2.0, max_names=10, thresholds_s=(0.3,)), {}, self.slo)

    def workers(self) -> tuple[Any, ...]:
        """Return one generating process."""
        self.looks += 1
        return (worker(reasons=self.reasons),)

    def worker_states(self) -> dict[str, int]:
        """Return no workers."""
        return {}

    def told(self) -> list[tuple[str, str]]:
        """Return name and severity of the events so far."""
        return [(event.name, event.severity) for event in self.events.peek(100)]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Look a hundred times as often."""
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    caplog.set_level(logging.INFO)


@pytest.fixture
def watches() -> Iterator[list[Watch]]:
    """Stop what a test has started."""
    started: list[Watch] = []
    yield started
    for each in started:
        each.stop()


def watch(node: Node, *, abort: bool = False) -> Watch:
    """Return a watch over a node."""
    settings = replace(resolve(None, {"prometheus_port": "off"}), slo=node.slo, slo_abort=abort)
    return Watch(node, settings)  # type: ignore[arg-type]


def look(watches: list[Watch], of: Watch) -> None:
    """Have a watch look a few times, or have the time for it."""
    node: Any = of._node
    is_watched = node.run is not None and node.run.slo is not None and not node.run.stopped
    watches.append(of)
    of.start()
    with gevent.Timeout(10):
        while is_watched and node.looks < 4:
            gevent.sleep(0.001)
    gevent.sleep(0.02)
    of.stop()


def slo(*windows: Window, **changes: Any) -> Slo:
    """Return objectives with these windows."""
    return objectives(windows=windows or (CRITICAL, WARNING), **changes)


def test_burning_is_told_once(watches: list[Watch], caplog: pytest.LogCaptureFixture) -> None:
    """Each pair that begins to burn is logged and told once, with its numbers; without --slo-abort the run goes on."""
    node = Node(slo())
    assert node.run is not None
    record(node.run.aggregate, BAD, [10] * 20)
    look(watches, watch(node))
    assert node.told() == [("locust.slo.burning", "WARN")] * 2
    attributes = node.events.peek(1)[0].attributes
    assert attributes == {
        "run_id": "run-1", "slo": "availability", "severity": "critical", "long_window_s": 120.0,
        "short_window_s": 30.0,
        "long_burn_rate": pytest.approx(100), "short_burn_rate": pytest.approx(100), "factor": 3.0,
    }  # fmt: skip
    assert caplog.text.count("availability spends its budget 100.0 times as fast as it may over 2m") == 1
    assert node.calls == []


@pytest.mark.parametrize(("web_ui", "call"), [(None, "quit"), (object(), "stop")])
def test_abort(watches: list[Watch], web_ui: object, call: str) -> None:
    """A critical pair ends the run, once; a process with a web UI goes on for another one."""
    node = Node(slo(), web_ui=web_ui)
    assert node.run is not None
    record(node.run.aggregate, BAD, [10] * 20)
    of = watch(node, abort=True)
    look(watches, of)
    assert node.calls == [call]
    assert node.told()[-1] == ("locust.slo.abort", "ERROR")
    assert node.run.marks == {("slo-abort availability", "abort"): 1}
    assert of.decide(node.run) == ExitCode.MISSED
    record(node.run.aggregate, GOOD, [10] * 100_000)
    assert of.decide(node.run) == ExitCode.MISSED


def test_a_warning_aborts_nothing(watches: list[Watch]) -> None:
    """Only a critical pair ends a run."""
    node = Node(slo(WARNING))
    assert node.run is not None
    record(node.run.aggregate, BAD, [10] * 20)
    look(watches, watch(node, abort=True))
    assert node.told() == [("locust.slo.burning", "WARN")]
    assert node.calls == []


@pytest.mark.parametrize("case", ["no run", "stopped", "no file"])
def test_nothing_to_watch(watches: list[Watch], case: str) -> None:
    """Before the first run, after its end and without a file nothing is told."""
    node = Node(slo())
    assert node.run is not None
    record(node.run.aggregate, BAD, [10] * 20)
    if case == "no run":
        node.run = None
    elif case == "stopped":
        node.run.stop()
    else:
        node.run.slo = None
    look(watches, watch(node, abort=True))
    assert (node.told(), node.calls) == ([], [])


@pytest.mark.parametrize(
    ("options", "is_logged"),
    [
        ({"headless": True}, True), ({"headless": True, "only_summary": True}, False), ({"headless": False}, False),
        ({}, False),
    ],
    ids=str,
)  # fmt: skip
def test_the_table_in_the_log(
    watches: list[Watch],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    options: Any,
    is_logged: bool,
) -> None:
    """A headless run logs how its objectives stand, from time to time."""
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.0)
    node = Node(slo(), **options)
    assert node.run is not None
    record(node.run.aggregate, GOOD, [10] * 20)
    look(watches, watch(node))
    assert ("objectives so far" in caplog.text) == is_logged


def test_decide() -> None:
    """No run, and one without requests, is no pass; else the verdict decides."""
    node = Node(slo())
    of = watch(node)
    assert of.decide(None) == ExitCode.UNDECIDED
    assert node.run is not None
    assert of.decide(node.run) == ExitCode.UNDECIDED
    record(node.run.aggregate, GOOD, [10] * 20)
    assert of.decide(node.run) == ExitCode.OK
    record(node.run.aggregate, BAD, [10])
    assert of.decide(node.run) == ExitCode.MISSED


def test_a_generator_that_is_too_slow(watches: list[Watch]) -> None:
    """What a saturated generator measured is not valid."""
    node = Node(slo())
    assert node.run is not None
    record(node.run.aggregate, GOOD, [10] * 20)
    node.reasons = ("cpu",)
    of = watch(node)
    look(watches, of)
    node.run.stop()
    assert of.decide(node.run) == ExitCode.NOT_VALID


def test_conclude(caplog: pytest.LogCaptureFixture) -> None:
    """The verdict is logged as a table, and told objective by objective."""
    node = Node(slo())
    assert node.run is not None
    record(node.run.aggregate, GOOD, [10] * 99)
    record(node.run.aggregate, BAD, [10] * 2)
    watch(node).conclude(node.run)
    assert "objectives of shop:" in caplog.text
    assert node.told() == [("locust.slo.verdict", "ERROR")] + [("locust.slo.verdict", "INFO")] * 2
    first, _, mean = node.events.peek(3)
    assert first.attributes == {
        "run_id": "run-1", "slo": "availability", "status": "missed", "good": 99, "bad": 2,
        "budget_spent": pytest.approx(0, abs=0.01),
    }  # fmt: skip
    assert first.body == "availability is missed: 98.0 %"
    assert "budget_spent" not in mean.attributes


def test_conclude_in_the_warmup(caplog: pytest.LogCaptureFixture) -> None:
    """A run that ends in its warm-up says that nothing was judged, and how long the warm-up is."""
    node = Node(slo(warmup_s=Decimal(90)))
    assert node.run is not None
    watch(node).conclude(node.run)
    assert "over before its warm-up of 90 s: nothing was judged" in caplog.text
    assert node.told() == [("locust.slo.verdict", "WARN")] * 3


def test_conclude_without_a_match(caplog: pytest.LogCaptureFixture) -> None:
    """An objective whose match fits no request says so."""
    typo = Objective("a", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("/typo",)))
    node = Node(slo(objectives=(typo,)))
    assert node.run is not None
    watch(node).conclude(node.run)
    assert (
        "objectives.a.match: no request was judged with name /typo; is it written as in Locust's table?" in caplog.text
    )


@pytest.mark.parametrize(
    ("run_time_s", "is_told"),
    [(None, False), (0, False), (899, True), (900, False), (1800, False), (3600, False), (3601, True)],
)  # fmt: skip
def test_a_run_time_far_from_the_period(
    caplog: pytest.LogCaptureFixture, run_time_s: float | None, is_told: bool
) -> None:
    """A run time of less than half or more than twice the period is told of."""
    watch(Node(slo())).begin(run_time_s)
    assert ("is far from the period of 30 min" in caplog.text) == is_told
