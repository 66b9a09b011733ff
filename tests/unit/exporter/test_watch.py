"""Tests of the watch over objectives."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from locust_otel.core.errors import ExitCode
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import ObjectivePoint, SeriesKey
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import resolve
from locust_otel.exporter.watch import Watch
from locust_otel.slo.objectives import Match, Objective, Sli, Slo, Window
from locust_otel.slo.progress import Progress
from locust_otel.wire import frames
from locust_otel.wire.report import Vitals
from tests.unit.factories import Load, objectives, record

GOOD, BAD = SeriesKey("GET", "/", "Shopper", "success"), SeriesKey("GET", "/", "Shopper", "failure")
CRITICAL = Window("critical", Decimal(120), Decimal(30), Decimal("0.2"))
WARNING = Window("warning", Decimal(600), Decimal(120), Decimal("0.5"))
START = 1_764_000_000.0


class Clock:
    """The monotonic clock, set by the test."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    """Give the clock of all runs."""
    caplog.set_level(logging.INFO)
    made = Clock()
    monkeypatch.setattr("locust_otel.exporter.run.monotonic", made)
    return made


class Exporter:
    """A session with a watch, and a run in it.

    Attributes:
        told: Messages to Locust's process.
    """

    def __init__(self, slo: Slo | None, *, abort: bool = False, state: State | None = None, **run_changes: Any) -> None:
        settings = replace(resolve(values_of(None, {"prometheus_port": "off"})), slo=slo, slo_abort=abort)
        self.told: list[tuple[object, ...]] = []
        self.session = Session(settings, Origin(name="host-0"), lambda *message: self.told.append(message), state)
        self.watch = Watch(self.session)
        self.load = Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,))
        if state is None:
            self.begin(**run_changes)

    @property
    def run(self) -> Run:
        """The run."""
        assert self.session.run is not None
        return self.session.run

    def begin(self, run_id: str = "run-1", **run_changes: Any) -> None:
        """Begin a run."""
        slo = self.session.settings.slo
        self.load = Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,))
        values: dict[str, Any] = {"settings": {}, "phase": Phase.RUNNING, **run_changes}
        self.session.state.run = Run(
            run_id=run_id, info={}, start_time=START, started_s=Clock.now_s, merged=self.load.merged,
            progress=Progress(slo, START) if slo is not None else None, **values,
        )  # fmt: skip
        self.watch.begin(self.run)

    def collect(self) -> None:
        """Collect a snapshot."""
        self.watch.collect(self.session.snapshot())

    def verdict(self) -> int:
        """Return the current exit code."""
        code: int = self.watch.answer("verdict", None)
        return code

    def events(self) -> list[tuple[str, str]]:
        """Return name and severity of the events so far."""
        return [(event.name, event.severity) for event in self.session.state.events.peek(100)]


def slo(*windows: Window, **changes: Any) -> Slo:
    """Return objectives with these windows."""
    return objectives(windows=windows or (CRITICAL, WARNING), **changes)


def successor(exporter: Exporter) -> Exporter:
    """Return an exporter with the saved state of another."""
    settings = exporter.session.settings
    return Exporter(settings.slo, abort=settings.slo_abort, state=pickle.loads(exporter.session.saved()))  # noqa: S301


def test_burning_is_logged_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Each pair that begins to burn is logged once, with its numbers; without --slo-abort the run continues."""
    exporter = Exporter(slo())
    record(exporter.load, BAD, [10] * 20)
    for clock.now_s in (105, 106, 107):
        exporter.collect()
    assert exporter.events() == [("locust.slo.burning", "WARN")] * 2
    attributes = exporter.session.state.events.peek(1)[0].attributes
    assert attributes == {
        "run_id": "run-1", "slo": "availability", "severity": "critical", "long_window_s": 120.0,
        "short_window_s": 30.0,
        "long_burn_rate": pytest.approx(100), "short_burn_rate": pytest.approx(100), "factor": 3.0,
    }  # fmt: skip
    assert caplog.text.count("availability spends its budget 100.0 times as fast as it may over 2m") == 1
    assert exporter.told == []


def test_burning_again_is_logged_again(clock: Clock) -> None:
    """A pair that stopped burning is logged again when it begins to burn."""
    exporter = Exporter(slo(CRITICAL))
    for second in range(300):
        record(exporter.load, BAD if second < 50 or second > 250 else GOOD, [10] * 20)
        clock.now_s = 101.0 + second
        exporter.collect()
    assert exporter.events() == [("locust.slo.burning", "WARN")] * 2


def test_abort(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A critical pair stops the run once, and later requests change neither that nor the verdict."""
    exporter = Exporter(slo(), abort=True)
    record(exporter.load, BAD, [10] * 20)
    for clock.now_s in (105, 106):
        exporter.collect()
    assert exporter.told == [(frames.ABORT, "run-1")]
    assert exporter.events()[-1] == ("locust.slo.abort", "ERROR")
    assert exporter.events().count(("locust.slo.abort", "ERROR")) == 1
    assert "Stopping the run, as --slo-abort asks for: availability spends its budget" in caplog.text
    assert exporter.run.marks == {("slo-abort availability", "abort"): 1}
    assert exporter.verdict() == ExitCode.MISSED
    record(exporter.load, GOOD, [10] * 100_000)
    assert exporter.verdict() == ExitCode.MISSED


def test_abort_of_a_second_run(clock: Clock) -> None:
    """Each run is stopped by its own requests."""
    exporter = Exporter(slo(), abort=True)
    record(exporter.load, BAD, [10] * 20)
    clock.now_s = 105
    exporter.collect()
    exporter.begin("run-2")
    exporter.collect()
    assert exporter.told == [(frames.ABORT, "run-1")]
    record(exporter.load, BAD, [10] * 20)
    exporter.collect()
    assert exporter.told == [(frames.ABORT, "run-1"), (frames.ABORT, "run-2")]


def test_a_warning_does_not_abort() -> None:
    """Only a critical pair stops a run."""
    exporter = Exporter(slo(WARNING), abort=True)
    record(exporter.load, BAD, [10] * 20)
    exporter.collect()
    assert exporter.events() == [("locust.slo.burning", "WARN")]
    assert exporter.told == []


@pytest.mark.parametrize("case", ["no run", "stopped", "stopped meanwhile", "another run", "no file"])
def test_nothing_to_watch(case: str) -> None:
    """Before the first run, after its end and without an SLO file nothing is reported."""
    exporter = Exporter(slo() if case != "no file" else None, abort=True)
    record(exporter.load, BAD, [10] * 20)
    snapshot = exporter.session.snapshot()
    if case == "no run":
        exporter.session.state.run = None
    elif case.startswith("stopped"):
        exporter.run.stop(101)
    elif case == "another run":
        exporter.begin("run-2")
    if case in {"no run", "stopped"}:
        snapshot = exporter.session.snapshot()
    exporter.watch.collect(snapshot)
    assert (exporter.events(), exporter.told) == ([], [])


@pytest.mark.parametrize(
    ("run_changes", "times"),
    [
        ({"is_headless": True}, 3), ({"is_headless": True, "only_summary": True}, 0), ({"is_headless": False}, 0),
        ({}, 0),
    ],
    ids=str,
)  # fmt: skip
def test_the_table_in_the_log(clock: Clock, caplog: pytest.LogCaptureFixture, run_changes: Any, times: int) -> None:
    """A headless run logs its objectives every ten seconds after the warm-up."""
    exporter = Exporter(slo(warmup_s=Decimal(15)), **run_changes)
    for second in range(46):
        record(exporter.load, GOOD, [10] * 20)
        clock.now_s = 100.0 + second
        exporter.collect()
    assert caplog.text.count("objectives so far") == times


def test_exit_codes() -> None:
    """Without a run or requests the exit code is UNDECIDED; else the verdict decides."""
    exporter = Exporter(None)
    assert exporter.verdict() == ExitCode.UNDECIDED
    exporter.session.state.run = None
    assert exporter.verdict() == ExitCode.UNDECIDED
    exporter = Exporter(slo())
    assert exporter.verdict() == ExitCode.UNDECIDED
    record(exporter.load, GOOD, [10] * 20)
    assert exporter.verdict() == ExitCode.OK
    record(exporter.load, BAD, [10])
    assert exporter.verdict() == ExitCode.MISSED


def test_answers() -> None:
    """The answers are the exit code, and the fields of each objective."""
    exporter = Exporter(slo())
    assert exporter.watch.answer("verdict", None) == ExitCode.UNDECIDED
    points = exporter.session.snapshot().run.slo  # type: ignore[union-attr]
    assert points is not None
    assert [ObjectivePoint(*fields) for fields in exporter.watch.answer("objectives", None)] == list(points)
    assert exporter.watch.answer("page", None) is None
    assert Exporter(None).watch.answer("objectives", None) is None


def test_a_saturated_generator(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """An objective that is missed while the generator is saturated is not valid, and a line says why."""
    exporter = Exporter(slo())
    record(exporter.load, GOOD, [10] * 20)
    exporter.session.state.workers.vitals["host-0"] = Vitals(0.99, 1, ("cpu",), 0.0, {}, 0.0, {})
    clock.now_s = 105
    exporter.collect()
    assert exporter.verdict() == ExitCode.OK
    record(exporter.load, GOOD, [1000] * 20)
    clock.now_s = 106
    exporter.collect()
    exporter.run.stop(106)
    assert exporter.verdict() == ExitCode.NOT_VALID
    exporter.watch.finish(exporter.run)
    assert "generator saturated (no CPU left) from 16:00:00 to 16:00:06 UTC: 6 of 6 s" in caplog.text


def test_the_verdict(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The verdict is logged once as a table, and reported as one event for each objective."""
    exporter = Exporter(slo())
    record(exporter.load, GOOD, [10] * 99)
    record(exporter.load, BAD, [10] * 2)
    clock.now_s = 101
    exporter.run.finish()
    for _ in range(2):
        exporter.watch.finish(exporter.run)
    assert caplog.text.count("objectives of shop:") == 1
    assert "GET /: 2 bad of 101" in caplog.text
    assert exporter.events() == [("locust.slo.verdict", "ERROR")] + [("locust.slo.verdict", "INFO")] * 2
    first, _, mean = exporter.session.state.events.peek(3)
    assert first.attributes == {
        "run_id": "run-1", "slo": "availability", "status": "missed", "good": 99, "bad": 2,
        "budget_spent": pytest.approx(2 / 101 / 0.01 / 1800),
    }  # fmt: skip
    assert first.body == "availability is missed: 98.0 %"
    assert "budget_spent" not in mean.attributes
    exporter.begin("run-2")
    exporter.watch.finish(exporter.run)
    assert caplog.text.count("objectives of shop:") == 2


def test_a_verdict_in_the_warmup(caplog: pytest.LogCaptureFixture) -> None:
    """A run that ends in its warm-up logs that nothing was judged."""
    exporter = Exporter(slo(warmup_s=Decimal(90)))
    exporter.watch.finish(exporter.run)
    assert "over before its warm-up of 90 s: nothing was judged" in caplog.text
    assert exporter.events() == [("locust.slo.verdict", "WARN")] * 3


def test_a_verdict_without_a_match(caplog: pytest.LogCaptureFixture) -> None:
    """An objective that matches no request is logged."""
    typo = Objective("a", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("/typo",)))
    exporter = Exporter(slo(objectives=(typo,)))
    exporter.watch.finish(exporter.run)
    assert (
        "objectives.a.match: no request was judged with name /typo; is it written as in Locust's table?" in caplog.text
    )


def test_no_verdict_without_objectives(caplog: pytest.LogCaptureFixture) -> None:
    """Without an SLO file nothing is logged."""
    exporter = Exporter(None, settings={"run_time_s": 1})
    exporter.collect()
    exporter.watch.finish(exporter.run)
    assert (caplog.text, exporter.events()) == ("", [])


@pytest.mark.parametrize(
    ("run_time_s", "is_logged"),
    [(None, False), (0, False), (899, True), (900, False), (1800, False), (3600, False), (3601, True)],
)  # fmt: skip
def test_a_run_time_far_from_the_period(
    caplog: pytest.LogCaptureFixture, run_time_s: float | None, is_logged: bool
) -> None:
    """A run time of less than half or more than twice the period is logged."""
    Exporter(slo(), settings={"run_time_s": run_time_s})
    assert ("Budgets are those of the period of 30 min" in caplog.text) == is_logged


def test_a_successor(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A successor repeats no line about burning, no table, and no verdict."""
    exporter = Exporter(slo(), is_headless=True)
    record(exporter.load, BAD, [10] * 20)
    for clock.now_s in (105, 111):
        exporter.collect()
    assert caplog.text.count("objectives so far") == 1
    exporter = successor(exporter)
    for clock.now_s in (112, 120):
        exporter.collect()
    assert exporter.events() == [("locust.slo.burning", "WARN")] * 2
    assert caplog.text.count("objectives so far") == 1
    clock.now_s = 122
    exporter.collect()
    assert caplog.text.count("objectives so far") == 2
    exporter.run.finish()
    exporter.watch.finish(exporter.run)
    assert [str(text).splitlines()[0] for name, text in exporter.told if name == frames.SAY] == [
        "objectives of shop: missed"
    ]
    exporter = successor(exporter)
    exporter.watch.finish(exporter.run)
    assert exporter.told == []
    assert exporter.verdict() == ExitCode.MISSED


def test_a_successor_of_an_abort(clock: Clock) -> None:
    """A successor asks Locust again to stop the run, since the first request may be lost; it makes no second mark."""
    exporter = Exporter(slo(), abort=True)
    record(exporter.load, BAD, [10] * 20)
    clock.now_s = 105
    exporter.collect()
    exporter = successor(exporter)
    for clock.now_s in (106, 107):
        exporter.collect()
    assert exporter.told == [(frames.ABORT, "run-1")]
    assert exporter.run.marks == {("slo-abort availability", "abort"): 1}
    assert exporter.events().count(("locust.slo.abort", "ERROR")) == 1
    assert exporter.verdict() == ExitCode.MISSED
