"""Tests of OTLP as an output: the pushes that it starts, the end of a run, and the state for a successor."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest

from locust_otel.core.events import Event
from locust_otel.exporter.otlp import circuit, output, push
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.output import OtlpOutput
from locust_otel.exporter.otlp.settings import OtlpSettings, Signal, Target
from tests.unit.otlp_sinks import target
from tests.unit.processes import Exporter

METRICS, LOGS = "otlp_metrics", "otlp_logs"


class Sink:
    """A sender that accepts everything, or hangs until it is cut.

    Attributes:
        is_made: Set when the sender is made.
        has_request: Set with the first request.
        was_cut: Set by `cut`.
    """

    def __init__(self) -> None:
        self.accepted: list[Any] = []
        self.hangs = False
        self.is_made, self.has_request, self.was_cut = threading.Event(), threading.Event(), threading.Event()

    def send(self, data: Any) -> Outcome:
        """Take data."""
        self.has_request.set()
        if self.hangs:
            assert self.was_cut.wait(5)
            return Outcome(ok=False, reason="no answer in time")
        self.accepted.append(data)
        return Outcome(ok=True)

    def cut(self) -> None:
        """End the current request."""
        self.was_cut.set()


class Pushing:
    """An output with two sinks, and a run without requests."""

    def __init__(self, exporter: Exporter | None = None) -> None:
        self.exporter = exporter or Exporter()
        self.session = self.exporter.session
        self.sinks = {Signal.METRICS: Sink(), Signal.LOGS: Sink()}
        self.targets: dict[Signal, str] = {}
        self.otlp = OtlpSettings(target("http://m"), target("http://l"), 3600, is_exponential=False, is_delta=False)
        self.output = OtlpOutput(self.session)

    def start(self, **changes: Any) -> None:
        """Start to push."""
        self.output.start(replace(self.session.settings, otlp=replace(self.otlp, **changes)))

    def sender(self, signal: Signal, where: Target) -> Sink:
        """Return the sink of a signal."""
        self.targets[signal] = where.endpoint
        self.sinks[signal].is_made.set()
        return self.sinks[signal]

    def finish(self) -> None:
        """Finish the run."""
        self.output.finish(self.exporter.run)

    def failures(self) -> dict[str, int]:
        """Return the failures by exporter."""
        return {c.exporter: c.count for c in self.session.exports.counts() if c.outcome == "failure"}


@pytest.fixture
def pushing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pushing]:
    """Give an output, and stop it at the end."""
    made = Pushing()
    monkeypatch.setattr(push, "sender_of", made.sender)
    yield made
    made.output.stop(monotonic())


def test_targets(pushing: Pushing) -> None:
    """Metrics and events have separate targets."""
    pushing.start()
    assert all(sink.is_made.wait(5) for sink in pushing.sinks.values())
    assert pushing.targets == {Signal.LOGS: "http://l", Signal.METRICS: "http://m"}


@pytest.mark.parametrize(("left_out", "exporter"), [("logs", METRICS), ("metrics", LOGS)])
def test_a_signal_without_a_target(pushing: Pushing, left_out: str, exporter: str) -> None:
    """A signal without a target is not pushed; without metrics there is no account."""
    pushing.exporter.begin()
    pushing.start(**{left_out: None})
    assert set(pushing.failures()) == {exporter}
    assert pushing.output.account == ("OTLP never" if exporter == METRICS else "")


def test_no_settings(pushing: Pushing) -> None:
    """Without settings there is no push and no account."""
    pushing.output.start(pushing.session.settings)
    pushing.exporter.begin()
    pushing.finish()
    assert (pushing.output.account, pushing.session.exports.counts(), pushing.targets) == ("", (), {})


def test_a_worker() -> None:
    """A worker pushes no events and has no account: its master has both."""
    made = Pushing(Exporter(is_worker=True, export_from="workers", prometheus_port="0"))
    made.start()
    assert set(made.failures()) == {METRICS}
    assert made.output.account == ""
    made.output.stop(monotonic())


def test_the_final_values(pushing: Pushing) -> None:
    """At the end of each run its metrics and events are pushed, without waiting for a turn."""
    pushing.start()
    for number in range(1, 4):
        pushing.exporter.begin(f"run-{number}")
        assert pushing.output.account == ("OTLP never" if number == 1 else "OTLP 0")
        pushing.session.add_event(Event("e", "text"))
        pushing.finish()
        assert pushing.output.account == "OTLP 0"
        assert [len(sink.accepted) for sink in pushing.sinks.values()] == [number, number]


@pytest.mark.parametrize("signal", list(Signal))
def test_a_receiver_that_does_not_answer(
    pushing: Pushing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, signal: Signal
) -> None:
    """The last push is cancelled after `FLUSH_S`: one failure and one line; the other signal is complete."""
    monkeypatch.setattr(output, "FLUSH_S", 0.3)
    pushing.sinks[signal].hangs = True
    pushing.exporter.begin()
    pushing.session.add_event(Event("e", "text"))
    pushing.start()
    pushing.finish()
    assert pushing.sinks[signal].was_cut.is_set()
    url = "http://m" if signal is Signal.METRICS else "http://l"
    assert caplog.messages == [f"OTLP: the last push to {url} had no answer within 0.3 s: cancelled"]
    exporter, other = (METRICS, LOGS) if signal is Signal.METRICS else (LOGS, METRICS)
    assert pushing.failures() == {exporter: 1, other: 0}
    assert {name: bool(sink.accepted) for name, sink in pushing.sinks.items()} == {
        name: name is not signal for name in Signal
    }


def test_a_hurry_ends_the_last_push(pushing: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second signal the last push does not wait for an answer."""
    monkeypatch.setattr(output, "FLUSH_S", 60.0)
    pushing.sinks[Signal.METRICS].hangs = True
    pushing.exporter.begin()
    pushing.start(logs=None)
    finishing = threading.Thread(target=pushing.finish)
    finishing.start()
    assert pushing.sinks[Signal.METRICS].has_request.wait(5)
    pushing.session.hurry.set()
    finishing.join(5)
    assert not finishing.is_alive()
    assert pushing.failures() == {METRICS: 1}
    (failure,) = [c for c in pushing.session.exports.counts() if c.outcome == "failure"]
    assert failure.seconds < 5


def test_a_late_answer(pushing: Pushing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A push that waits too long for its answer is reported once."""
    monkeypatch.setattr(circuit, "LATE_S", 0.0)
    sink = pushing.sinks[Signal.METRICS]
    sink.hangs = True
    pushing.exporter.begin()
    pushing.start(interval_s=0.001, logs=None)
    assert sink.has_request.wait(5)
    for _ in range(2):
        pushing.output.collect(pushing.session.snapshot())
    assert caplog.messages == ["OTLP: otlp_metrics to http://m are failing: no answer for 0 s"]
    pushing.output.stop(monotonic())
    sink.cut()


def test_a_successor(pushing: Pushing) -> None:
    """A successor has the same instance, total, and state of each series."""
    pushing.exporter.begin()
    pushing.start(is_delta=True)
    pushing.finish()
    kept: push.Kept = pickle.loads(pushing.session.saved()).kept["otlp"]  # noqa: S301  # our own
    assert (kept.run_id, kept.last_total) == ("run-1", 0)
    assert kept.sent
    pushing.output.stop(monotonic())
    successor = Pushing(pushing.exporter.successor())
    successor.start()
    assert successor.output.account == "OTLP 0"
    successor.output.stop(monotonic())
