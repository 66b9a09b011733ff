"""The timer that pushes, and what it does about a sink that is dead, slow or lying."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED, Event
from locust_otel.exporter.otlp import output as module
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.output import LOGS, METRICS, Kept, OtlpOutput
from locust_otel.exporter.otlp.settings import OtlpSettings
from tests.unit.otlp_sinks import target
from tests.unit.processes import Exporter

OK = Outcome(ok=True)
DEAD = Outcome(ok=False, reason="no connection")


class Sink:
    """Stands for a sender: answers as it is told, in turn, and the last answer for good."""

    def __init__(self) -> None:
        self.answers: list[Outcome | Exception] = [OK]
        self.taken: list[Any] = []
        self.wait_s = 0.0
        self.cuts = 0

    def send(self, data: Any) -> Outcome:
        """Take data, after a while."""
        until, cuts = time.monotonic() + self.wait_s, self.cuts
        while time.monotonic() < until and self.cuts == cuts:
            time.sleep(0.01)
        if self.cuts != cuts:
            return Outcome(ok=False, reason="no answer in time")
        self.taken.append(data)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cut(self) -> None:
        """End what is under way."""
        self.cuts += 1


def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Pushing:
    """An output that pushes to two sinks every 50 ms, of a run with requests."""

    def __init__(self, exporter: Exporter | None = None, *, logs: bool = True, is_delta: bool = False) -> None:
        self.exporter = exporter or Exporter()
        self.session = self.exporter.session
        self.sinks = {METRICS: Sink(), LOGS: Sink()}
        where = target("http://127.0.0.1:9")
        self.otlp = OtlpSettings(where, where if logs else None, 0.05, is_exponential=False, is_delta=is_delta)
        self.output = OtlpOutput(self.session)

    def start(self) -> None:
        """Start to push."""
        self.output.start(replace(self.session.settings, otlp=self.otlp))

    def events(self, name: str) -> list[str]:
        """Return the texts of the events of a name."""
        return [event.body for event in self.session.events.peek(100) if event.name == name]

    def exports(self, exporter: str, outcome: str) -> int:
        """Return how often something has come of a push."""
        return sum(e.count for e in self.session.exports.counts() if (e.exporter, e.outcome) == (exporter, outcome))


@pytest.fixture
def pushing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pushing]:
    """Give an output; it is stopped at the end."""
    made = Pushing()
    monkeypatch.setattr(module, "_made", lambda way: made.sinks[way.exporter])
    yield made
    made.output.stop(time.monotonic())


def test_both_signals_are_pushed(pushing: Pushing) -> None:
    """Metrics go out at each turn, events once; both are counted, and the account has the requests of the run."""
    pushing.exporter.begin()
    assert pushing.output.account == ""
    pushing.start()
    assert pushing.output.account == "OTLP never"
    until(lambda: len(pushing.sinks[METRICS].taken) > 1 and pushing.sinks[LOGS].taken)
    assert pushing.output.account == "OTLP 0"
    assert pushing.exports(METRICS, "success") > 1
    assert pushing.session.events.peek(1) == []


def test_nothing_is_pushed_where_nobody_asks(pushing: Pushing) -> None:
    """Without settings there is no push and no account."""
    pushing.output.start(pushing.session.settings)
    assert (pushing.output.account, pushing.session.exports.counts()) == ("", ())
    pushing.output.finish(pushing.exporter.begin())


def test_a_worker_pushes_no_events() -> None:
    """Events of a worker go to its master."""
    made = Pushing(Exporter(is_worker=True, export_from="workers", prometheus_port="0"))
    made.start()
    assert {count.exporter for count in made.session.exports.counts()} == {METRICS}
    made.output.stop(time.monotonic())


def test_a_sink_that_fails_and_recovers(pushing: Pushing, caplog: pytest.LogCaptureFixture) -> None:
    """One line and one event say that it fails, one each that it has recovered; the other signal goes on."""
    caplog.set_level(logging.INFO)
    pushing.sinks[METRICS].answers = [DEAD, DEAD, OK]
    pushing.exporter.begin()
    pushing.start()
    until(lambda: pushing.exports(METRICS, "success"))
    lines = [line for line in caplog.messages if METRICS in line]
    assert lines == [
        "OTLP: otlp_metrics are failing: no connection", "OTLP: otlp_metrics arrive again, after 2 failures",
    ]  # fmt: skip
    until(lambda: pushing.exports(LOGS, "success"))
    assert pushing.exports(METRICS, "failure") == 2


def test_pauses_grow() -> None:
    """Each failure doubles the pause up to half a minute; a sink may ask for a longer one."""
    circuit = module._Circuit(5.0)
    pauses = []
    for _ in range(5):
        circuit.note(DEAD)
        pauses.append(round(circuit.not_before - time.monotonic()))
    assert pauses == [5, 10, 20, 30, 30]
    circuit.note(Outcome(ok=False, retry_after_s=120.0))
    assert round(circuit.not_before - time.monotonic()) == 120
    circuit.note(OK)
    assert circuit.failures == 0


def test_rejected_points(pushing: Pushing, caplog: pytest.LogCaptureFixture) -> None:
    """A partial success is logged once, counted, and is no arrival for the account."""
    caplog.set_level(logging.INFO)
    pushing.sinks[METRICS].answers = [Outcome(ok=True, rejected=9, reason="too old")]
    pushing.exporter.begin()
    pushing.start()
    until(lambda: len(pushing.sinks[METRICS].taken) > 2)
    assert [line for line in caplog.messages if METRICS in line] == [
        "OTLP: 9 of the otlp_metrics were rejected: too old"
    ]
    assert pushing.session.exports.rejected[METRICS] > 9
    assert pushing.output.account == "OTLP never"


@pytest.mark.parametrize(
    ("answer", "left"),
    [(Outcome(ok=False, reason="400", is_permanent=True), 0), (RuntimeError("odd"), 0), (DEAD, 1)],
    ids=["refused for good", "a fault of ours", "dead"],
)
def test_events_that_cannot_be_pushed(pushing: Pushing, answer: Outcome | Exception, left: int) -> None:
    """What would be refused again is dropped; what a dead sink has not taken waits."""
    pushing.sinks[LOGS].answers = [answer, DEAD]
    pushing.session.add_event(Event("e", "text"))
    pushing.start()
    until(lambda: pushing.exports(LOGS, "failure"))
    time.sleep(0.02)
    assert len([event for event in pushing.session.events.peek(9) if event.name == "e"]) == left


def test_a_late_answer(pushing: Pushing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A sink that does not answer is reported before its time is up, once, and again when it answers in time."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "LATE_S", 0.1)
    pushing.sinks[METRICS].wait_s = 0.3
    pushing.exporter.begin()
    pushing.start()
    until(lambda: pushing.output._ways[METRICS].circuit.waits_since is not None)
    time.sleep(0.2)
    for _ in range(2):
        pushing.output.collect(pushing.session.snapshot())
    assert [line for line in caplog.messages if METRICS in line] == [
        "OTLP: otlp_metrics are failing: no answer for 0 s"
    ]
    pushing.sinks[METRICS].wait_s = 0.0
    until(lambda: pushing.events(EXPORT_RECOVERED) or "arrive again" in caplog.text)


def test_the_final_values_go_at_once(pushing: Pushing) -> None:
    """What is under way is abandoned without a word, and the last push has all that is known."""
    run = pushing.exporter.begin()
    pushing.sinks[METRICS].wait_s = 60.0
    pushing.start()
    until(lambda: pushing.output._ways[METRICS].circuit.waits_since is not None)
    run.finish()
    pushing.sinks[METRICS].wait_s = 0.0
    started = time.monotonic()
    pushing.output.finish(run)
    assert time.monotonic() - started < 1
    assert pushing.output.account == "OTLP 0"
    assert pushing.events(EXPORT_FAILING) == []


def test_a_sink_that_never_answers(pushing: Pushing, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """The last push is given up in time, and that is logged."""
    monkeypatch.setattr(module, "FLUSH_S", 0.3)
    run = pushing.exporter.begin()
    for sink in pushing.sinks.values():
        sink.wait_s = 60.0
    pushing.start()
    time.sleep(0.1)
    started = time.monotonic()
    pushing.output.finish(run)
    assert time.monotonic() - started < 1
    assert "was given up" in caplog.text


def test_a_hurry_ends_the_last_push(pushing: Pushing) -> None:
    """A further signal waits for no sink."""
    run = pushing.exporter.begin()
    pushing.sinks[METRICS].wait_s = 60.0
    pushing.start()
    pushing.session.hurry.set()
    started = time.monotonic()
    pushing.output.finish(run)
    assert time.monotonic() - started < 0.5


def test_what_a_successor_goes_on_with(pushing: Pushing) -> None:
    """Instance, total, and what was sent of each series outlive the process."""
    pushing.otlp = replace(pushing.otlp, is_delta=True)
    pushing.exporter.begin()
    pushing.start()
    until(lambda: len(pushing.sinks[METRICS].taken) > 1)
    kept: Kept = pickle.loads(pushing.session.saved()).kept["otlp"]  # noqa: S301  # our own
    assert (kept.run_id, kept.last_total) == ("run-1", 0)
    assert kept.instance
    assert kept.sent
