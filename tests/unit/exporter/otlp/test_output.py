"""Tests of OTLP as an output: who pushes what, how a run ends, and what a successor of the process continues with."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic, perf_counter
from typing import Any

import pytest

from locust_otel.core.events import Event
from locust_otel.exporter.otlp import outcome, output, push
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.output import OtlpOutput
from locust_otel.exporter.otlp.settings import OtlpSettings, Signal, Target
from tests.unit.otlp_sinks import target, wait_until
from tests.unit.processes import Exporter

METRICS, LOGS = "otlp_metrics", "otlp_logs"


class Sink:
    """Stands for a sender: takes everything, or hangs until it is cut."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.hangs = False
        self._cut = threading.Event()

    def send(self, data: Any) -> Outcome:
        """Take data."""
        if self.hangs:
            self._cut.wait(10)
            return Outcome(ok=False, reason="no answer in time")
        self.taken.append(data)
        return Outcome(ok=True)

    def cut(self) -> None:
        """End what is under way."""
        self._cut.set()


class Pushing:
    """An output that pushes to two sinks, of a run without requests."""

    def __init__(self, exporter: Exporter | None = None) -> None:
        self.exporter = exporter or Exporter()
        self.session = self.exporter.session
        self.sinks = {Signal.METRICS: Sink(), Signal.LOGS: Sink()}
        self.targets: list[tuple[Signal, str]] = []
        self.otlp = OtlpSettings(target("http://m"), target("http://l"), 3600, is_exponential=False, is_delta=False)
        self.output = OtlpOutput(self.session)

    def start(self, **changes: Any) -> None:
        """Start to push."""
        self.output.start(replace(self.session.settings, otlp=replace(self.otlp, **changes)))

    def sender(self, signal: Signal, where: Target) -> Sink:
        """Return the sink of a signal."""
        self.targets.append((signal, where.endpoint))
        return self.sinks[signal]

    def finish(self) -> float:
        """Finish the run, and return how long that took."""
        started = perf_counter()
        self.output.finish(self.exporter.run)
        return perf_counter() - started

    def failures(self) -> dict[str, int]:
        """Return the failures by exporter."""
        return {c.exporter: c.count for c in self.session.exports.counts() if c.outcome == "failure"}


@pytest.fixture
def pushing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pushing]:
    """Give an output; it is stopped at the end."""
    made = Pushing()
    monkeypatch.setattr(push, "sender_of", made.sender)
    yield made
    made.output.stop(monotonic())


def test_each_signal_goes_to_its_target(pushing: Pushing) -> None:
    """Metrics and events have targets of their own."""
    pushing.start()
    wait_until(lambda: len(pushing.targets) == 2)
    assert sorted(pushing.targets, key=str) == [(Signal.LOGS, "http://l"), (Signal.METRICS, "http://m")]


@pytest.mark.parametrize(("left_out", "exporter"), [("logs", METRICS), ("metrics", LOGS)])
def test_a_signal_without_a_target(pushing: Pushing, left_out: str, exporter: str) -> None:
    """A signal that goes nowhere is not there; without metrics there is no account."""
    pushing.exporter.begin()
    pushing.start(**{left_out: None})
    assert set(pushing.failures()) == {exporter}
    assert pushing.output.account == ("OTLP never" if exporter == METRICS else "")


def test_nothing_is_pushed_where_nobody_asks(pushing: Pushing) -> None:
    """Without settings there is no push and no account, and a run ends at once."""
    pushing.output.start(pushing.session.settings)
    pushing.exporter.begin()
    assert (pushing.output.account, pushing.session.exports.counts()) == ("", ())
    assert pushing.finish() < 0.5


def test_a_worker_pushes_no_events() -> None:
    """Events of a worker go to its master; and the account of a run is the master's, which has no requests then."""
    made = Pushing(Exporter(is_worker=True, export_from="workers", prometheus_port="0"))
    made.start()
    assert set(made.failures()) == {METRICS}
    assert made.output.account == ""
    made.output.stop(monotonic())


def test_the_final_values(pushing: Pushing) -> None:
    """The last push of a run has its metrics and events, long before their turn; it is done where they have arrived."""
    pushing.exporter.begin()
    pushing.start()
    assert pushing.output.account == "OTLP never"
    pushing.session.add_event(Event("e", "text"))
    assert pushing.finish() < output.FLUSH_S
    assert pushing.output.account == "OTLP 0"
    assert all(len(sink.taken) == 1 for sink in pushing.sinks.values())


def test_a_second_run(pushing: Pushing) -> None:
    """A process that goes on after a run pushes the final values of the next one, too."""
    pushing.start()
    for number in range(1, 4):
        pushing.exporter.begin(f"run-{number}")
        pushing.finish()
        assert pushing.output.account == "OTLP 0"
        assert len(pushing.sinks[Signal.METRICS].taken) == number


@pytest.mark.parametrize("signal", list(Signal))
def test_a_sink_that_never_answers(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, signal: Signal
) -> None:
    """It holds up the end for `FLUSH_S`, which is one failure and a line; the other sink has everything."""
    monkeypatch.setattr(output, "FLUSH_S", 0.3)
    pushing.sinks[signal].hangs = True
    pushing.exporter.begin()
    pushing.session.add_event(Event("e", "text"))
    pushing.start()
    assert 0.2 < pushing.finish() < 1
    url = "http://m" if signal is Signal.METRICS else "http://l"
    assert caplog.messages == [f"OTLP: the last push to {url} found no answer within 0.3 s and was given up"]
    exporter, other = (METRICS, LOGS) if signal is Signal.METRICS else (LOGS, METRICS)
    assert pushing.failures() == {exporter: 1, other: 0}
    assert all(sink.taken for of, sink in pushing.sinks.items() if of is not signal)


def test_a_hurry_ends_the_last_push(pushing: Pushing) -> None:
    """A further signal waits for no sink."""
    pushing.sinks[Signal.METRICS].hangs = True
    pushing.exporter.begin()
    pushing.start()
    pushing.session.hurry.set()
    assert pushing.finish() < 0.5


def test_a_late_answer(pushing: Pushing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A sink that does not answer is reported before its time is up, once."""
    monkeypatch.setattr(outcome, "LATE_S", 0.0)
    pushing.sinks[Signal.METRICS].hangs = True
    pushing.exporter.begin()
    pushing.start(interval_s=0.02, logs=None)

    def reported() -> list[str]:
        pushing.output.collect(pushing.session.snapshot())
        return caplog.messages

    wait_until(reported)
    assert reported() == ["OTLP: otlp_metrics to http://m are failing: no answer for 0 s"]
    pushing.sinks[Signal.METRICS].cut()


def test_what_a_successor_continues_with(pushing: Pushing) -> None:
    """Instance, total, and what was sent of each series outlive the process."""
    pushing.exporter.begin()
    pushing.start(is_delta=True)
    pushing.finish()
    kept: push.Kept = pickle.loads(pushing.session.saved()).kept["otlp"]  # noqa: S301  # our own
    assert (kept.run_id, kept.last_total) == ("run-1", 0)
    assert kept.sent
    pushing.output.stop(monotonic())
    successor = Pushing(pushing.exporter.successor())
    successor.start(metrics=replace(pushing.otlp.metrics or target("http://m")), interval_s=3600)
    assert successor.output.account == "OTLP 0"
    successor.output.stop(monotonic())
