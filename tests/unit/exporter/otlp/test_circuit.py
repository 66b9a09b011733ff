"""Tests of what follows from the outcome of pushes: pauses, and log lines about a receiver."""

from __future__ import annotations

import pytest

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED
from locust_otel.exporter.otlp import circuit as module
from locust_otel.exporter.otlp.circuit import Circuit
from locust_otel.exporter.otlp.outcome import Outcome

ACCEPTED = Outcome(ok=True)
FAILED = Outcome(ok=False, reason="503 Busy")
PARTIAL = Outcome(ok=True, rejected=3, reason="too old", is_permanent=True)

URL = "http://sink:4318/v1/metrics"
FAILING = (EXPORT_FAILING, f"otlp_metrics to {URL} are failing: 503 Busy")
REJECTED = (EXPORT_FAILING, f"3 of the otlp_metrics were rejected by {URL}: too old")


def recovered(failures: int | str) -> tuple[str, str]:
    """Return the event of a recovery."""
    return EXPORT_RECOVERED, f"otlp_metrics arrive again, after {failures} failures"


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock of the circuit."""
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made)
    return made


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    """Return the circuit of a push every 5 seconds."""
    assert clock.now
    return Circuit("otlp_metrics", URL, 5.0)


def noted(circuit: Circuit, *outcomes: Outcome) -> list[list[tuple[str, str]]]:
    """Return the events after each of these outcomes."""
    return [circuit.note(outcome) for outcome in outcomes]


def test_failing_and_recovered(circuit: Circuit) -> None:
    """The first failure and the recovery are each reported once, and again the next time."""
    assert noted(circuit, ACCEPTED, FAILED, FAILED, FAILED, ACCEPTED, ACCEPTED) == [
        [],
        [FAILING],
        [],
        [],
        [recovered(3)],
        [],
    ]
    assert noted(circuit, FAILED, ACCEPTED) == [[FAILING], [recovered(1)]]


def test_rejecting(circuit: Circuit) -> None:
    """The first of several partial successes is reported."""
    assert noted(circuit, PARTIAL, PARTIAL, ACCEPTED, PARTIAL) == [[REJECTED], [], [], [REJECTED]]
    assert not circuit.is_open


def test_failing_then_rejecting(circuit: Circuit) -> None:
    """A partial success after a failure is a recovery with a rejection."""
    assert noted(circuit, FAILED, PARTIAL) == [[FAILING], [recovered(1), REJECTED]]


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 5), (2, 10), (3, 20), (4, 30), (5, 30), (2_000, 30)])
def test_pauses(circuit: Circuit, clock: Clock, failures: int, pause_s: float) -> None:
    """The pause doubles from the interval to 30 seconds, and ends before the push that is due at that moment."""
    noted(circuit, *[FAILED] * failures)
    clock.now += pause_s - 1
    assert circuit.is_open
    clock.now += 1
    assert not circuit.is_open


def test_no_pause_after_a_success(circuit: Circuit, clock: Clock) -> None:
    """After a recovery the next failure begins with a short pause."""
    noted(circuit, *[FAILED] * 9, ACCEPTED, FAILED)
    clock.now += 5
    assert not circuit.is_open


def test_retry_after(circuit: Circuit, clock: Clock) -> None:
    """The pause that a receiver asks for is kept, if it is longer than that after any failure."""
    for asked_s, pause_s in ((60.0, 60), (1.0, 10)):
        circuit.note(Outcome(ok=False, reason="429", retry_after_s=asked_s))
        clock.now += pause_s - 1
        assert circuit.is_open
        clock.now += 1
        assert not circuit.is_open


def test_late(circuit: Circuit, clock: Clock) -> None:
    """A late answer is reported once before the timeout, and its recovery when an answer is in time again."""

    def push(seconds: float, outcome: Outcome) -> list[tuple[str, str]]:
        circuit.slowest_s = 0.0
        with circuit.waiting():
            clock.now += seconds
        return circuit.note(outcome)

    assert circuit.check() == []
    with circuit.waiting():
        clock.now += 4
        assert circuit.check() == []
        clock.now += 2
        assert circuit.check() == [(EXPORT_FAILING, f"otlp_metrics to {URL} are failing: no answer for 6 s")]
        assert circuit.check() == []
    assert circuit.check() == []
    assert circuit.note(FAILED) == []
    assert push(6, ACCEPTED) == [recovered(1)]
    assert push(6, ACCEPTED) == []  # still late
    with circuit.waiting():
        clock.now += 100
        assert circuit.check() == []
    assert push(1, ACCEPTED) == [recovered("no")]
    assert push(1, ACCEPTED) == []


def test_late_after_failures(circuit: Circuit, clock: Clock) -> None:
    """A late answer after a reported failure is not reported."""
    assert circuit.note(FAILED) == [FAILING]
    with circuit.waiting():
        clock.now += 60
        assert circuit.check() == []


def test_slowest_answer(circuit: Circuit, clock: Clock) -> None:
    """The slowest of several requests of a push counts."""
    for seconds in (1, 6, 2):
        with circuit.waiting():
            clock.now += seconds
    assert circuit.slowest_s == 6
