"""Tests of the watch over objectives, in a session without a process."""

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
    """The monotonic clock, stopped.

    Attributes:
        now_s: Its time.
    """

    now_s = 100.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    """Give the clock of all runs here."""
    caplog.set_level(logging.INFO)
    made = Clock()
    monkeypatch.setattr("locust_otel.exporter.run.monotonic", made)
    return made


class Exporter:
    """A session with a watch, and a run in it.

    Attributes:
        told: Messages to Locust's process.
    """

    def __init__(self, slo: Slo | None, *, abort: bool = False, state: State | None = None, **of_run: Any) -> None:
        settings = replace(resolve(values_of(None, {"prometheus_port": "off"})), slo=slo, slo_abort=abort)
        self.told: list[tuple[object, ...]] = []
        self.session = Session(settings, Origin(name="host-0"), lambda *message: self.told.append(message), state)
        self.watch = Watch(self.session)
        self.load = Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,))
        if state is None:
            self.begin(**of_run)

    @property
    def run(self) -> Run:
        """The run."""
        assert self.session.run is not None
        return self.session.run

    def begin(self, run_id: str = "run-1", **of_run: Any) -> None:
        """Begin a run."""
        slo = self.session.settings.slo
        self.load = Load(slow_s=2.0, max_names=10, thresholds_s=(0.3,))
        values: dict[str, Any] = {"settings": {}, "phase": Phase.RUNNING, **of_run}
        self.session.state.run = Run(
            run_id=run_id, info={}, start_time=START, started_s=Clock.now_s, merged=self.load.merged,
            progress=Progress(slo, START) if slo is not None else None, **values,
        )  # fmt: skip
        self.watch.begin(self.run)

    def look(self) -> None:
        """Look at the run, as once a second."""
        self.watch.collect(self.session.snapshot())

    def verdict(self) -> int:
        """Return the exit code so far."""
        code: int = self.watch.answer("verdict", None)
        return code

    def events(self) -> list[tuple[str, str]]:
        """Return name and severity of the events so far."""
        return [(event.name, event.severity) for event in self.session.events.peek(100)]


def slo(*windows: Window, **changes: Any) -> Slo:
    """Return objectives with these windows."""
    return objectives(windows=windows or (CRITICAL, WARNING), **changes)


def successor(of: Exporter) -> Exporter:
    """Return the exporter that goes on where one has died."""
    settings = of.session.settings
    return Exporter(settings.slo, abort=settings.slo_abort, state=pickle.loads(of.session.saved()))  # noqa: S301


def test_burning_is_told_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Each pair that begins to burn is logged once, with its numbers; without --slo-abort the run goes on."""
    of = Exporter(slo())
    record(of.load, BAD, [10] * 20)
    for clock.now_s in (105, 106, 107):
        of.look()
    assert of.events() == [("locust.slo.burning", "WARN")] * 2
    attributes = of.session.events.peek(1)[0].attributes
    assert attributes == {
        "run_id": "run-1", "slo": "availability", "severity": "critical", "long_window_s": 120.0,
        "short_window_s": 30.0,
        "long_burn_rate": pytest.approx(100), "short_burn_rate": pytest.approx(100), "factor": 3.0,
    }  # fmt: skip
    assert caplog.text.count("availability spends its budget 100.0 times as fast as it may over 2m") == 1
    assert of.told == []


def test_what_burns_again_is_told_again(clock: Clock) -> None:
    """A pair that stopped burning is logged when it begins anew."""
    of = Exporter(slo(CRITICAL))
    for second in range(300):
        record(of.load, BAD if second < 50 or second > 250 else GOOD, [10] * 20)
        clock.now_s = 101.0 + second
        of.look()
    assert of.events() == [("locust.slo.burning", "WARN")] * 2


def test_abort(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A critical pair stops the run, once, whatever comes afterwards."""
    of = Exporter(slo(), abort=True)
    record(of.load, BAD, [10] * 20)
    for clock.now_s in (105, 106):
        of.look()
    assert of.told == [(frames.ABORT, "run-1")]
    assert of.events()[-1] == ("locust.slo.abort", "ERROR")
    assert of.events().count(("locust.slo.abort", "ERROR")) == 1
    assert "Stopping the run, as --slo-abort asks for: availability spends its budget" in caplog.text
    assert of.run.marks == {("slo-abort availability", "abort"): 1}
    assert of.verdict() == ExitCode.MISSED
    record(of.load, GOOD, [10] * 100_000)
    assert of.verdict() == ExitCode.MISSED


def test_the_next_run_is_aborted_for_itself(clock: Clock) -> None:
    """Each run is stopped by what burns in it."""
    of = Exporter(slo(), abort=True)
    record(of.load, BAD, [10] * 20)
    clock.now_s = 105
    of.look()
    of.begin("run-2")
    of.look()
    assert of.told == [(frames.ABORT, "run-1")]
    record(of.load, BAD, [10] * 20)
    of.look()
    assert of.told == [(frames.ABORT, "run-1"), (frames.ABORT, "run-2")]


def test_a_warning_aborts_nothing() -> None:
    """Only a critical pair stops a run."""
    of = Exporter(slo(WARNING), abort=True)
    record(of.load, BAD, [10] * 20)
    of.look()
    assert of.events() == [("locust.slo.burning", "WARN")]
    assert of.told == []


@pytest.mark.parametrize("case", ["no run", "stopped", "stopped meanwhile", "another run", "no file"])
def test_nothing_to_watch(case: str) -> None:
    """Before the first run, after its end and without a file nothing is reported."""
    of = Exporter(slo() if case != "no file" else None, abort=True)
    record(of.load, BAD, [10] * 20)
    taken = of.session.snapshot()
    if case == "no run":
        of.session.state.run = None
        taken = of.session.snapshot()
    elif case == "stopped":
        of.run.stop(101)
        taken = of.session.snapshot()
    elif case == "stopped meanwhile":
        of.run.stop(101)
    elif case == "another run":
        of.begin("run-2")
    of.watch.collect(taken)
    assert (of.events(), of.told) == ([], [])


@pytest.mark.parametrize(
    ("of_run", "times"),
    [
        ({"is_headless": True}, 3), ({"is_headless": True, "only_summary": True}, 0), ({"is_headless": False}, 0),
        ({}, 0),
    ],
    ids=str,
)  # fmt: skip
def test_the_table_in_the_log(clock: Clock, caplog: pytest.LogCaptureFixture, of_run: Any, times: int) -> None:
    """A headless run logs every ten seconds how its objectives stand, unless it is in its warm-up."""
    of = Exporter(slo(warmup_s=Decimal(15)), **of_run)
    for second in range(46):
        record(of.load, GOOD, [10] * 20)
        clock.now_s = 100.0 + second
        of.look()
    assert caplog.text.count("objectives so far") == times


def test_decide() -> None:
    """No run, and one without requests, is no pass; else the verdict decides."""
    of = Exporter(None)
    assert of.verdict() == ExitCode.UNDECIDED
    of.session.state.run = None
    assert of.verdict() == ExitCode.UNDECIDED
    of = Exporter(slo())
    assert of.verdict() == ExitCode.UNDECIDED
    record(of.load, GOOD, [10] * 20)
    assert of.verdict() == ExitCode.OK
    record(of.load, BAD, [10])
    assert of.verdict() == ExitCode.MISSED


def test_answers() -> None:
    """It answers for the exit code, and for the fields of each objective if there are any."""
    of = Exporter(slo())
    assert of.watch.answer("verdict", None) == ExitCode.UNDECIDED
    points = of.session.snapshot().run.slo  # type: ignore[union-attr]
    assert points is not None
    assert [ObjectivePoint(*fields) for fields in of.watch.answer("objectives", None)] == list(points)
    assert of.watch.answer("page", None) is None
    assert Exporter(None).watch.answer("objectives", None) is None


def test_a_generator_that_is_too_slow(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """What is met stays met; what was missed while the generator was saturated is not valid, and a warning says so."""
    of = Exporter(slo())
    record(of.load, GOOD, [10] * 20)
    of.session.state.workers.vitals["host-0"] = Vitals(0.99, 1, ("cpu",), 0.0, {}, 0.0, {})
    clock.now_s = 105
    of.look()
    assert of.verdict() == ExitCode.OK
    record(of.load, GOOD, [1000] * 20)
    clock.now_s = 106
    of.look()
    of.run.stop(106)
    assert of.verdict() == ExitCode.NOT_VALID
    of.watch.finish(of.run)
    assert "generator saturated (no CPU left) from 16:00:00 to 16:00:06 UTC: 6 of 6 s" in caplog.text


def test_the_verdict(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The verdict is logged as a table, and reported objective by objective, once a run."""
    of = Exporter(slo())
    record(of.load, GOOD, [10] * 99)
    record(of.load, BAD, [10] * 2)
    clock.now_s = 101
    of.run.finish()
    for _ in range(2):
        of.watch.finish(of.run)
    assert caplog.text.count("objectives of shop:") == 1
    assert "GET /: 2 bad of 101" in caplog.text
    assert of.events() == [("locust.slo.verdict", "ERROR")] + [("locust.slo.verdict", "INFO")] * 2
    first, _, mean = of.session.events.peek(3)
    assert first.attributes == {
        "run_id": "run-1", "slo": "availability", "status": "missed", "good": 99, "bad": 2,
        "budget_spent": pytest.approx(2 / 101 / 0.01 / 1800),
    }  # fmt: skip
    assert first.body == "availability is missed: 98.0 %"
    assert "budget_spent" not in mean.attributes
    of.begin("run-2")
    of.watch.finish(of.run)
    assert caplog.text.count("objectives of shop:") == 2


def test_a_verdict_in_the_warmup(caplog: pytest.LogCaptureFixture) -> None:
    """A run that ends in its warm-up says that nothing was judged, and how long the warm-up is."""
    of = Exporter(slo(warmup_s=Decimal(90)))
    of.watch.finish(of.run)
    assert "over before its warm-up of 90 s: nothing was judged" in caplog.text
    assert of.events() == [("locust.slo.verdict", "WARN")] * 3


def test_a_verdict_without_a_match(caplog: pytest.LogCaptureFixture) -> None:
    """An objective whose match fits no request says so."""
    typo = Objective("a", Sli.SUCCESS, Decimal("0.9"), match=Match(names=("/typo",)))
    of = Exporter(slo(objectives=(typo,)))
    of.watch.finish(of.run)
    assert (
        "objectives.a.match: no request was judged with name /typo; is it written as in Locust's table?" in caplog.text
    )


def test_no_verdict_without_objectives(caplog: pytest.LogCaptureFixture) -> None:
    """Without an SLO file nothing is logged."""
    of = Exporter(None, settings={"run_time_s": 1})
    of.look()
    of.watch.finish(of.run)
    assert (caplog.text, of.events()) == ("", [])


@pytest.mark.parametrize(
    ("run_time_s", "is_told"),
    [(None, False), (0, False), (899, True), (900, False), (1800, False), (3600, False), (3601, True)],
)  # fmt: skip
def test_a_run_time_far_from_the_period(
    caplog: pytest.LogCaptureFixture, run_time_s: float | None, is_told: bool
) -> None:
    """A run time of less than half or more than twice the period is logged."""
    Exporter(slo(), settings={"run_time_s": run_time_s})
    assert ("Budgets are those of the period of 30 min" in caplog.text) == is_told


def test_a_successor(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """After a restart what burns is not logged again, nor a table or a verdict too early or twice."""
    of = Exporter(slo(), is_headless=True)
    record(of.load, BAD, [10] * 20)
    for clock.now_s in (105, 111):
        of.look()
    assert caplog.text.count("objectives so far") == 1
    of = successor(of)
    for clock.now_s in (112, 120):
        of.look()
    assert of.events() == [("locust.slo.burning", "WARN")] * 2
    assert caplog.text.count("objectives so far") == 1
    clock.now_s = 122
    of.look()
    assert caplog.text.count("objectives so far") == 2
    of.run.finish()
    of.watch.finish(of.run)
    assert [str(text).splitlines()[0] for name, text in of.told if name == frames.SAY] == ["objectives of shop: missed"]
    of = successor(of)
    of.watch.finish(of.run)
    assert of.told == []
    assert of.verdict() == ExitCode.MISSED


def test_a_successor_of_an_abort(clock: Clock) -> None:
    """A process that died while it stopped the run may not have said so; its successor does, without a second mark."""
    of = Exporter(slo(), abort=True)
    record(of.load, BAD, [10] * 20)
    clock.now_s = 105
    of.look()
    of = successor(of)
    for clock.now_s in (106, 107):
        of.look()
    assert of.told == [(frames.ABORT, "run-1")]
    assert of.run.marks == {("slo-abort availability", "abort"): 1}
    assert of.events().count(("locust.slo.abort", "ERROR")) == 1
    assert of.verdict() == ExitCode.MISSED
