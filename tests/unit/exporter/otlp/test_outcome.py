"""Tests of what follows from pushes: pauses, and what there is to log about a sink."""

from __future__ import annotations

import pytest

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED
from locust_otel.exporter.otlp import outcome as module
from locust_otel.exporter.otlp.outcome import Circuit, Outcome

TAKES = Outcome(ok=True)
FAILS = Outcome(ok=False, reason="503 Busy")
REJECTS = Outcome(ok=True, rejected=3, reason="too old", is_permanent=True)

URL = "http://sink:4318/v1/metrics"
FAILING = (EXPORT_FAILING, f"otlp_metrics to {URL} are failing: 503 Busy")
REJECTED = (EXPORT_FAILING, f"3 of the otlp_metrics were rejected by {URL}: too old")


def recovered(failures: int | str) -> tuple[str, str]:
    """Return what is logged of a sink that recovers."""
    return EXPORT_RECOVERED, f"otlp_metrics arrive again, after {failures} failures"


class Clock:
    """A clock to turn."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have the circuit read a clock to turn."""
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made)
    return made


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    """Return the circuit of a sink that is tried every 5 seconds."""
    assert clock.now
    return Circuit("otlp_metrics", URL, 5.0)


def noted(circuit: Circuit, *outcomes: Outcome) -> list[list[tuple[str, str]]]:
    """Return what is logged after each of these pushes."""
    return [circuit.note(outcome) for outcome in outcomes]


def test_failing_and_recovered(circuit: Circuit) -> None:
    """One line says that a sink fails, one that it works again, however often it is tried; and so the next time."""
    assert noted(circuit, TAKES, FAILS, FAILS, FAILS, TAKES, TAKES) == [[], [FAILING], [], [], [recovered(3)], []]
    assert noted(circuit, FAILS, TAKES) == [[FAILING], [recovered(1)]]


def test_rejecting(circuit: Circuit) -> None:
    """A partial success is reported once while it lasts."""
    assert noted(circuit, REJECTS, REJECTS, TAKES, REJECTS) == [[REJECTED], [], [], [REJECTED]]
    assert not circuit.is_open


def test_failing_then_rejecting(circuit: Circuit) -> None:
    """A sink that takes a push in part after it failed has recovered, and rejects."""
    assert noted(circuit, FAILS, REJECTS) == [[FAILING], [recovered(1), REJECTED]]


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 5), (2, 10), (3, 20), (4, 30), (5, 30), (2_000, 30)])
def test_pauses(circuit: Circuit, clock: Clock, failures: int, pause_s: float) -> None:
    """The pause before the next try doubles from the interval to 30 seconds; the turn at its end is not missed."""
    noted(circuit, *[FAILS] * failures)
    clock.now += pause_s - 1
    assert circuit.is_open
    clock.now += 1
    assert not circuit.is_open


def test_no_pause_after_a_success(circuit: Circuit, clock: Clock) -> None:
    """A sink that has recovered is tried at each turn, and the next failure begins with a short pause."""
    noted(circuit, *[FAILS] * 9, TAKES, FAILS)
    clock.now += 5
    assert not circuit.is_open


def test_retry_after(circuit: Circuit, clock: Clock) -> None:
    """A sink that asks for a pause is left alone for that long, but not for a shorter one than after any failure."""
    for asked_s, pause_s in ((60.0, 60), (1.0, 10)):
        circuit.note(Outcome(ok=False, reason="429", retry_after_s=asked_s))
        clock.now += pause_s - 1
        assert circuit.is_open
        clock.now += 1
        assert not circuit.is_open


def test_late(circuit: Circuit, clock: Clock) -> None:
    """A sink that lets wait is reported once, before the time is up, and once more when it answers in time again."""

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
    assert circuit.note(FAILS) == []
    assert push(6, TAKES) == [recovered(1)]
    assert push(6, TAKES) == []  # it is late still
    with circuit.waiting():
        clock.now += 100
        assert circuit.check() == []
    assert push(1, TAKES) == [recovered("no")]
    assert push(1, TAKES) == []


def test_late_after_failures(circuit: Circuit, clock: Clock) -> None:
    """A sink that was reported to fail is not reported again because it is late."""
    assert circuit.note(FAILS) == [FAILING]
    with circuit.waiting():
        clock.now += 60
        assert circuit.check() == []


def test_slowest_answer(circuit: Circuit, clock: Clock) -> None:
    """Of several requests of a push the slowest counts."""
    for seconds in (1, 6, 2):
        with circuit.waiting():
            clock.now += seconds
    assert circuit.slowest_s == 6
