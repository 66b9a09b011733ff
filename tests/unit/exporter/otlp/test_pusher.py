"""Tests of the timer that pushes: what it tells of a sink that fails, what it makes up for, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import gevent
import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk._logs import ReadableLogRecord

from locust_otel.core.events import EXPORT_RECOVERED, MAX_WAITING, Event, EventQueue
from locust_otel.core.families import ALL_SCOPES
from locust_otel.core.snapshot import ExportCount, SeriesKey, Snapshot
from locust_otel.exporter.exports import Ledger
from locust_otel.exporter.otlp import pusher
from locust_otel.exporter.otlp.pusher import LOGS, METRICS, Pusher
from locust_otel.exporter.otlp.sender import Outcome
from locust_otel.exporter.otlp.settings import OtlpSettings, Signal, Target
from locust_otel.plugin.series import Aggregate
from tests.unit.otlp_sinks import HttpSink, decode, health, record, reply, snapshot, target, wait_until

FAILS = Outcome(ok=False, reason="503 Busy")
REFUSES = Outcome(ok=False, reason="400 Bad Request", is_permanent=True)
TAKES = Outcome(ok=True)
REJECTS = Outcome(ok=True, rejected=3, reason="too old", is_permanent=True)
RUN_START = Event("locust.run.start", "Run run-1 starts")

Answers = Callable[[int], Outcome]


class Clock:
    """A clock to turn."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now


class FakeSender:
    """A sink of one signal that answers as told."""

    def __init__(self) -> None:
        self.answer: Answers = lambda _: TAKES
        self.sent: list[Any] = []
        self.suppressed: list[object] = []
        self.is_shut = False

    def send(self, data: Any) -> Outcome:
        """Take what is sent and answer."""
        self.suppressed.append(otel_context.get_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY))
        self.sent.append(data)
        return self.answer(len(self.sent))

    def shut_down(self) -> None:
        """Note it."""
        self.is_shut = True

    @property
    def texts(self) -> list[str]:
        """Bodies of all log records sent."""
        return [str(log.log_record.body) for records in self.sent for log in records]


class Rig:
    """A pusher with sinks that answer as told, a clock to turn, and an aggregate to record into."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.INFO, pusher.__name__)
        self.clock = Clock()
        self.senders = {Signal.METRICS: FakeSender(), Signal.LOGS: FakeSender()}
        self.events, self.ledger = EventQueue(), Ledger()
        self.run_id = "run-1"
        self.aggregate = Aggregate(slow_s=2.0, max_names=500)
        self.record(7)
        self.time = 1_764_000_061.75
        self.pusher: Pusher | None = None
        self.has_run = True
        self.exports: tuple[ExportCount, ...] | None = None
        monkeypatch.setattr(pusher, "monotonic", self.clock)
        monkeypatch.setattr(pusher, "make", lambda signal, _: self.senders[signal])

    @property
    def metrics(self) -> FakeSender:
        """The sink of metrics."""
        return self.senders[Signal.METRICS]

    @property
    def logs(self) -> FakeSender:
        """The sink of events."""
        return self.senders[Signal.LOGS]

    def record(self, count: int, name: str = "/") -> None:
        """Record requests."""
        record(self.aggregate, SeriesKey("GET", name, "Shopper", "success"), [5.0] * count)

    def snapshot(self) -> Snapshot:
        """Take a snapshot."""
        self.time += 1
        of_bridge = health(exports=self.exports) if self.exports is not None else health()
        return snapshot(
            self.aggregate if self.has_run else None, time=self.time, run_id=self.run_id, of_bridge=of_bridge
        )

    def start(self, interval_s: float = 5.0, signals: Sequence[Signal] = tuple(Signal), **changes: Any) -> Pusher:
        """Make the pusher and start it."""
        where = target("http://127.0.0.1:9")
        settings = OtlpSettings(
            metrics=where if Signal.METRICS in signals else None,
            logs=where if Signal.LOGS in signals else None,
            interval_s=interval_s,
            is_exponential=False,
            is_delta=changes.pop("is_delta", False),
        )
        self.pusher = Pusher(
            settings, self.snapshot, ALL_SCOPES, events=self.events, ledger=self.ledger, version="1.2.3"
        )
        self.pusher.start()
        return self.pusher

    def push(self, times: int = 1, pause_s: float = 100.0) -> None:
        """Have it push, each time after a pause."""
        assert self.pusher is not None
        for _ in range(times):
            gevent.joinall(self.pusher._begin())
            self.clock.now += pause_s

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What it logged."""
        return [(r.levelname, r.getMessage()) for r in self._caplog.records if r.name == pusher.__name__]

    def told(self) -> list[tuple[str, str]]:
        """Return the events that wait: name and severity."""
        return [(event.name, event.severity) for event in self.events.peek(1000)]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return the number of pushes by exporter and outcome."""
        return {(count.exporter, count.outcome): count.count for count in self.ledger.counts()}


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Rig]:
    """Make a rig, and stop its pusher at the end."""
    made = Rig(monkeypatch, caplog)
    yield made
    if made.pusher is not None and made.pusher._greenlet is not None:
        made.pusher._greenlet.kill()


def totals(sender: FakeSender) -> list[float]:
    """Return the number of requests in each push of metrics."""
    return [sum(p.value for p in decode(data) if p.metric.name == "locust.requests") for data in sender.sent]


def test_metrics_and_events(rig: Rig) -> None:
    """A push tells all metrics and all events, once."""
    rig.events.add(RUN_START)
    rig.start()
    rig.push(2)
    assert totals(rig.metrics) == [7, 7]
    assert rig.logs.texts == ["Run run-1 starts"]
    assert rig.lines == []
    assert rig.counts() == {
        (METRICS, "success"): 2,
        (METRICS, "failure"): 0,
        (LOGS, "success"): 1,
        (LOGS, "failure"): 0,
    }


def test_declared_at_zero(rig: Rig) -> None:
    """Both exporters are there at 0 before the first push; one that is off is not there."""
    rig.start(signals=[Signal.METRICS])
    assert rig.counts() == {(METRICS, "success"): 0, (METRICS, "failure"): 0}
    assert rig.ledger.rejected == {METRICS: 0}


def test_failing_and_recovered(rig: Rig) -> None:
    """One line and one event tell that a sink fails, one that it works again, however often it is tried."""
    rig.start()
    rig.metrics.answer = lambda number: TAKES if number > 4 else FAILS
    rig.push(7)
    assert rig.lines == [
        ("WARNING", "OTLP: otlp_metrics are failing: 503 Busy"),
        ("INFO", "OTLP: otlp_metrics arrive again, after 4 failures"),
    ]
    assert len(rig.logs.texts) == 2
    assert rig.counts()[METRICS, "failure"] == 4
    assert rig.counts()[METRICS, "success"] == 3


def test_events_about_a_sink(rig: Rig) -> None:
    """The events about a sink of metrics say which exporter it is, and how bad that is."""
    rig.start(signals=[Signal.METRICS])
    rig.metrics.answer = lambda number: FAILS if number == 1 else TAKES
    rig.push(2)
    assert rig.told() == [("locust_otel.export.failing", "WARN"), ("locust_otel.export.recovered", "INFO")]
    assert {event.attributes["exporter"] for event in rig.events.peek(9)} == {METRICS}


def test_failing_twice(rig: Rig) -> None:
    """A sink that fails again after it worked is told of again."""
    rig.start(signals=[Signal.METRICS])
    rig.metrics.answer = lambda number: FAILS if number % 2 else TAKES
    rig.push(4)
    assert [level for level, _ in rig.lines] == ["WARNING", "INFO", "WARNING", "INFO"]


def test_rejecting(rig: Rig) -> None:
    """A partial success is told once while it lasts, and every rejected point is counted."""
    rig.start(signals=[Signal.METRICS])
    rig.metrics.answer = lambda number: REJECTS if number in {1, 2, 4} else TAKES
    rig.push(4)
    assert rig.lines == [("WARNING", "OTLP: 3 of the otlp_metrics were rejected: too old")] * 2
    assert rig.ledger.rejected == {METRICS: 9}
    assert rig.counts() == {(METRICS, "success"): 4, (METRICS, "failure"): 0}


def test_rejecting_in_one_piece_of_several(rig: Rig) -> None:
    """A sink that rejects in one piece of each push, and takes the others, is told of once too."""
    for number in range(300):
        rig.record(1, f"/{number}")
    rig.start(signals=[Signal.METRICS])
    rig.metrics.answer = lambda number: REJECTS if number % 2 else TAKES
    rig.push(4)
    assert len(rig.metrics.sent) % 4 == 0
    assert len(rig.metrics.sent) >= 8
    assert len(rig.lines) == 1


def test_failing_in_the_second_piece(rig: Rig) -> None:
    """A sink that takes the first piece of a push and never the second is told of once, and its pauses grow."""
    for number in range(300):
        rig.record(1, f"/{number}")
    rig.start(signals=[Signal.METRICS], interval_s=5.0)
    rig.metrics.answer = lambda number: FAILS if number % 2 == 0 else TAKES
    rig.push(4)
    assert rig.lines == [("WARNING", "OTLP: otlp_metrics are failing: 503 Busy")]
    sent = len(rig.metrics.sent)
    rig.push(8, pause_s=5.0)  # after the fifth failure in a row it pauses for 30 seconds
    assert len(rig.metrics.sent) - sent <= 2 * 2


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 5), (2, 10), (3, 20), (4, 30), (5, 30), (20, 30)])
def test_pauses(rig: Rig, failures: int, pause_s: float) -> None:
    """The pause before the next try doubles from the interval to 30 seconds."""
    rig.start(signals=[Signal.METRICS], interval_s=5.0)
    rig.metrics.answer = lambda _: FAILS
    rig.push(failures - 1)
    rig.push(pause_s=pause_s - 1)
    assert len(rig.metrics.sent) == failures
    rig.push(pause_s=1.5)
    assert len(rig.metrics.sent) == failures
    rig.push()
    assert len(rig.metrics.sent) == failures + 1


def test_a_day_of_failures(rig: Rig) -> None:
    """A sink that is dead for the length of a soak test is tried every 30 seconds to its end, and told of once."""
    rig.has_run = False
    rig.start(signals=[Signal.METRICS], interval_s=5.0)
    rig.metrics.answer = lambda _: FAILS
    rig.push(1_100, pause_s=31)
    assert rig.counts() == {(METRICS, "success"): 0, (METRICS, "failure"): 1_100}
    assert len(rig.lines) == 1
    rig.push(3, pause_s=5)
    assert len(rig.metrics.sent) == 1_101


def test_retry_after(rig: Rig) -> None:
    """A sink that asks for a pause is left alone for that long."""
    rig.start(signals=[Signal.METRICS], interval_s=5.0)
    rig.metrics.answer = lambda _: Outcome(ok=False, reason="429", retry_after_s=60.0)
    rig.push(pause_s=59)
    rig.push(pause_s=2)
    assert len(rig.metrics.sent) == 1
    rig.push()
    assert len(rig.metrics.sent) == 2


def test_circuits_of_their_own(rig: Rig) -> None:
    """A sink of metrics that fails does not keep events from being pushed, nor the other way round."""
    rig.start(interval_s=5.0)
    rig.metrics.answer = lambda _: FAILS
    rig.push(pause_s=1)
    rig.events.add(RUN_START)
    rig.push(pause_s=1)
    assert len(rig.metrics.sent) == 1
    assert "Run run-1 starts" in rig.logs.texts
    rig.metrics.answer, rig.logs.answer = lambda _: TAKES, lambda _: FAILS
    rig.clock.now += 100
    rig.events.add(RUN_START)
    rig.push(4, pause_s=2)
    assert len(rig.metrics.sent) == 5


def test_metrics_heal(rig: Rig) -> None:
    """What was recorded while a sink failed is in the first push that arrives."""
    rig.start(signals=[Signal.METRICS])
    rig.metrics.answer = lambda number: FAILS if number <= 3 else TAKES
    for _ in range(4):
        rig.record(10)
        rig.push()
    assert totals(rig.metrics) == [17, 27, 37, 47]
    assert rig.pusher is not None
    assert rig.pusher.last_total == 47


def test_deltas_heal(rig: Rig) -> None:
    """With deltas too, the first push that arrives has what was recorded while the sink failed."""
    rig.start(signals=[Signal.METRICS], is_delta=True)
    rig.metrics.answer = lambda number: FAILS if number in {2, 3} else TAKES
    for _ in range(5):
        rig.record(10)
        rig.push()
    assert totals(rig.metrics) == [17, 10, 20, 30, 10]


def test_deltas_over_several_runs(rig: Rig) -> None:
    """The deltas of our own health add up to what it is, though a run begins, and another one, in the same process."""
    rig.start(signals=[Signal.METRICS], is_delta=True)
    rig.has_run = False
    for number in range(1, 7):
        if number == 3:
            rig.has_run = True
        if number == 5:
            rig.run_id, rig.aggregate = "run-2", Aggregate(slow_s=2.0, max_names=500)
            rig.record(4)
        rig.exports = (ExportCount("prometheus", "success", 10 * number, 1.0 * number),)
        rig.push()
    arrived = [p for data in rig.metrics.sent for p in decode(data)]
    assert sum(p.value for p in arrived if p.metric.name == "locust.requests") == 7 + 4
    assert sum(p.value for p in arrived if p.metric.name == "locust_otel.export") == 6.0
    assert sum(p.value for p in arrived if p.metric.name == "locust_otel.exports") == 60


def test_events_wait(rig: Rig) -> None:
    """Events that could not be pushed are pushed later, in their order, none twice."""
    rig.start(signals=[Signal.LOGS])
    for number in range(250):
        rig.events.add(Event("e", f"event {number}"))
    rig.logs.answer = lambda number: FAILS if number == 2 else TAKES
    rig.push(2)
    batches = [[str(log.log_record.body) for log in records] for records in rig.logs.sent]
    assert batches[1] == batches[2][: len(batches[1])]  # the one that failed, sent again
    arrived = [text for number, batch in enumerate(batches) if number != 1 for text in batch]
    assert [text for text in arrived if text.startswith("event")] == [f"event {i}" for i in range(250)]
    assert max(map(len, batches)) <= 100
    assert [name for name, _ in rig.told()] == [EXPORT_RECOVERED]  # for the next push


def test_events_are_bounded(rig: Rig) -> None:
    """A sink that fails does not let events pile up: further ones are dropped and counted, the earliest are kept."""
    rig.start(signals=[Signal.LOGS])
    rig.logs.answer = lambda _: FAILS
    for number in range(MAX_WAITING + 40):
        rig.events.add(Event("e", f"event {number}"))
    rig.push(3)
    assert len(rig.told()) == MAX_WAITING
    assert rig.events.dropped == 40 + 1  # the event about the sink found no place either
    rig.logs.answer = lambda _: TAKES
    rig.push()
    assert [text for text in rig.logs.texts if text == f"event {MAX_WAITING - 1}"]
    assert f"event {MAX_WAITING}" not in rig.logs.texts


def test_events_refused_for_good(rig: Rig) -> None:
    """Events that are refused for good are given up, and do not hold up those after them."""
    rig.start(signals=[Signal.LOGS])
    for number in range(150):
        rig.events.add(Event("e", f"event {number}"))
    rig.logs.answer = lambda number: REFUSES if number == 1 else TAKES
    rig.push()
    arrived = [str(log.log_record.body) for records in rig.logs.sent[1:] for log in records]
    assert [text for text in arrived if text.startswith("event")] == [f"event {i}" for i in range(100, 150)]
    rig.push()
    assert [name for name, _ in rig.told()] == [EXPORT_RECOVERED]  # for the next push
    assert rig.counts()[LOGS, "failure"] == 1


def test_events_refused_always(rig: Rig) -> None:
    """A sink that refuses every event makes no push that goes on for ever."""
    rig.start(signals=[Signal.LOGS])
    rig.events.add(RUN_START)
    rig.logs.answer = lambda _: REFUSES
    with gevent.Timeout(1):
        rig.push(3)
    assert len(rig.logs.sent) <= 3
    assert [level for level, _ in rig.lines] == ["WARNING"]


def test_last_total(rig: Rig) -> None:
    """The total is that of the last push that arrived whole: all of its pieces, and no point rejected."""
    for number in range(300):
        rig.record(1, f"/{number}")
    made = rig.start(signals=[Signal.METRICS])
    assert made.last_total is None
    rig.metrics.answer = lambda number: FAILS if number == 2 else TAKES
    rig.push()
    assert made.last_total is None
    rig.push()
    assert made.last_total == 307
    rig.record(5)
    first = len(rig.metrics.sent) + 1
    rig.metrics.answer = lambda number: REJECTS if number == first else TAKES
    rig.push()
    assert made.last_total == 307
    rig.push()
    assert made.last_total == 312


def test_last_total_of_a_new_run(rig: Rig) -> None:
    """A new run has none of the total of the one before."""
    made = rig.start(signals=[Signal.METRICS])
    rig.push()
    assert made.last_total == 7
    rig.run_id, rig.aggregate = "run-2", Aggregate(slow_s=2.0, max_names=500)
    rig.metrics.answer = lambda _: FAILS
    rig.push()
    assert made.last_total is None


def test_suppressed_instrumentation(rig: Rig) -> None:
    """During a push nobody instruments what it does, and after it everybody may again."""
    rig.events.add(RUN_START)
    made = rig.start()
    gevent.joinall(made._begin())
    assert rig.metrics.suppressed == [True]
    assert rig.logs.suppressed == [True]
    assert otel_context.get_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY) is None


def test_an_exception_in_a_push(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that raises is counted as a failure, and the next one is tried."""

    def broken(number: int) -> Outcome:
        if number == 1:
            raise ValueError("broken")
        return TAKES

    rig.start(signals=[Signal.METRICS])
    rig.metrics.answer = broken
    rig.push(2)
    assert rig.counts() == {(METRICS, "success"): 1, (METRICS, "failure"): 1}
    assert [level for level, _ in rig.lines] == ["WARNING", "INFO"]  # failing, and working again


def test_an_exception_in_a_push_of_events(rig: Rig) -> None:
    """A push of events that raises is counted where it belongs, and keeps no metrics back."""

    def broken(_: int) -> Outcome:
        raise ValueError("broken")

    rig.events.add(RUN_START)
    rig.start()
    rig.logs.answer = broken
    rig.push()
    assert rig.counts()[METRICS, "failure"] == 0
    assert rig.counts()[LOGS, "failure"] == 1


def test_turns(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It pushes once an interval by itself."""
    monkeypatch.setattr(pusher, "monotonic", perf_counter)
    rig.start(signals=[Signal.METRICS], interval_s=0.05)
    gevent.sleep(0.02)
    assert rig.metrics.sent == []
    wait_until(lambda: len(rig.metrics.sent) >= 4)


def test_push_soon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It pushes at once when it is asked to, and keeps its turns."""
    monkeypatch.setattr(pusher, "monotonic", perf_counter)
    made = rig.start(signals=[Signal.METRICS], interval_s=0.1)
    started = perf_counter()
    for number in range(1, 11):
        made.push_soon()
        wait_until(lambda number=number: len(rig.metrics.sent) >= number)  # type: ignore[misc]
    assert perf_counter() - started < 0.5
    wait_until(lambda: len(rig.metrics.sent) >= 12, timeout_s=0.6)


def test_stop(rig: Rig) -> None:
    """The last push has the last values and events, and then the connections are closed."""
    made = rig.start(interval_s=3600)
    rig.record(5)
    rig.events.add(RUN_START)
    made.stop()
    assert totals(rig.metrics) == [12]
    assert rig.logs.texts == ["Run run-1 starts"]
    assert made.last_total == 12
    assert rig.metrics.is_shut
    assert rig.logs.is_shut
    made.stop()
    assert len(rig.metrics.sent) == 1


def test_stop_before_start(rig: Rig) -> None:
    """What was never started needs no stopping."""
    made = rig.start()
    assert made._greenlet is not None
    made._greenlet.kill()
    made._greenlet = None
    made.stop()
    assert rig.metrics.sent == []


def test_last_push_while_paused(rig: Rig) -> None:
    """The last push is tried even where the pause after a failure is not over."""
    made = rig.start(interval_s=3600)
    rig.metrics.answer = lambda number: FAILS if number == 1 else TAKES
    rig.push(pause_s=0)
    made.stop()
    assert len(rig.metrics.sent) == 2
    assert made.last_total == 7


@pytest.mark.parametrize("signal", list(Signal))
def test_last_push_without_an_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch, signal: Signal) -> None:
    """A sink that never answers holds up the end for `FLUSH_S`, and the failure is counted for that sink."""

    def never(_: int) -> Outcome:
        gevent.sleep(60)
        return TAKES

    monkeypatch.setattr(pusher, "FLUSH_S", 0.2)
    rig.events.add(RUN_START)
    made = rig.start(interval_s=3600)
    rig.senders[signal].answer = never
    started = perf_counter()
    made.stop()
    assert perf_counter() - started < 0.6
    assert ("WARNING", "OTLP: the last push found no answer within 0.2 s and was given up") in rig.lines
    assert rig.metrics.is_shut
    exporter, other = (METRICS, LOGS) if signal is Signal.METRICS else (LOGS, METRICS)
    assert rig.counts()[exporter, "failure"] == 1
    assert rig.counts()[other, "failure"] == 0


def test_stop_in_the_middle_of_a_push(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push under way at the end is broken off, and the last one has its values."""

    def slow_at_first(number: int) -> Outcome:
        if number == 1:
            gevent.sleep(60)
        return TAKES

    made = rig.start(interval_s=3600, signals=[Signal.METRICS])
    rig.metrics.answer = slow_at_first
    made.push_soon()
    wait_until(lambda: rig.metrics.sent)
    rig.record(5)
    started = perf_counter()
    made.stop()
    assert perf_counter() - started < 0.5
    assert made.last_total == 12


def hangs(seconds: float, then: Callable[[int], Outcome] = lambda _: TAKES) -> Answers:
    """Return an answer that comes after a while."""

    def answer(number: int) -> Outcome:
        gevent.sleep(seconds)
        return then(number)

    return answer


def test_neither_waits_for_the_other(rig: Rig) -> None:
    """Events are pushed while a push of metrics has no answer, and again and again."""
    rig.metrics.answer = hangs(60)
    made = rig.start()
    for number in range(1, 4):
        rig.events.add(RUN_START)
        made._begin()
        wait_until(lambda number=number: len(rig.logs.texts) == number)  # type: ignore[misc]
        rig.clock.now += 1
    assert len(rig.metrics.sent) == 1


@pytest.mark.parametrize("signal", list(Signal))
def test_the_last_push_of_one_is_not_held_up_by_the_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, signal: Signal
) -> None:
    """Where one sink never answers at the end, the other one has everything."""
    monkeypatch.setattr(pusher, "FLUSH_S", 0.2)
    rig.events.add(RUN_START)
    rig.senders[signal].answer = hangs(60)
    made = rig.start(interval_s=3600)
    made.stop()
    if signal is Signal.METRICS:
        assert rig.logs.texts == ["Run run-1 starts"]
    else:
        assert made.last_total == 7


def test_late(rig: Rig) -> None:
    """A sink that lets wait is told of once, before the time is up; and once more when it answers in time again."""

    def slowly(number: int) -> Outcome:
        rig.clock.now += 6 if number <= 3 else 1
        return FAILS if number == 1 else TAKES

    made = rig.start(signals=[Signal.METRICS])
    rig.metrics.answer = hangs(0.05, slowly)
    begun = made._begin()
    gevent.sleep(0.01)
    for _ in range(3):
        rig.clock.now += 2
        assert made._begin() == []
    assert rig.lines == [("WARNING", "OTLP: otlp_metrics are failing: no answer for 6 s")]
    assert rig.counts()[METRICS, "failure"] == 0
    gevent.joinall(begun)
    assert rig.counts()[METRICS, "failure"] == 1
    rig.clock.now += 100
    rig.push(2)
    assert [text for _, text in rig.lines[1:]] == ["OTLP: otlp_metrics arrive again, after 1 failures"]
    rig.push(3)
    assert [text for _, text in rig.lines[2:]] == ["OTLP: otlp_metrics arrive again, after no failures"]


def test_several_pieces_are_under_way(rig: Rig) -> None:
    """A push of many pieces lasts shorter than its answers one after the other, and is whole."""
    made = rig.start(signals=[Signal.METRICS])
    for number in range(240):
        rig.record(1, f"/{number}")
    rig.metrics.answer = hangs(0.1)
    started = perf_counter()
    rig.push()
    took_s = perf_counter() - started
    pieces = len(rig.metrics.sent)
    assert pieces >= 10
    assert 0.1 * pieces / 4 < took_s < 0.1 * pieces * 0.8
    assert made.last_total == 247
    assert sum(totals(rig.metrics)) == 247


def test_a_push_of_many_pieces_that_fails_in_the_middle(rig: Rig) -> None:
    """After a piece that is refused those under way end, no further one is sent, and one line is logged."""
    made = rig.start(signals=[Signal.METRICS])
    for number in range(240):
        rig.record(1, f"/{number}")
    rig.metrics.answer = hangs(0.05, lambda number: FAILS if number > 2 else TAKES)
    rig.push()
    assert 3 <= len(rig.metrics.sent) <= 8
    assert made.last_total is None
    assert rig.lines == [("WARNING", "OTLP: otlp_metrics are failing: 503 Busy")]


def test_a_real_black_hole(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the request and never answers: the end is bounded, the loop runs on, the failure is told."""
    monkeypatch.setattr(pusher, "FLUSH_S", 0.2)
    requests = Aggregate(slow_s=2.0, max_names=5)

    def silent(connection: Any) -> None:
        connection.settimeout(2)
        connection.recv(1)

    with HttpSink(silent) as sink:
        settings = OtlpSettings(target(sink.url, timeout_s=10.0), None, 3600, is_exponential=False, is_delta=False)
        ledger = Ledger()
        made = Pusher(
            settings, lambda: snapshot(requests), ALL_SCOPES, events=EventQueue(), ledger=ledger, version="1.2.3"
        )
        made.start()
        made.push_soon()
        wait_until(lambda: sink.received)
        started = perf_counter()
        made.stop()
        assert perf_counter() - started < 0.8
    assert {(c.outcome, c.count) for c in ledger.counts()} == {("success", 0), ("failure", 1)}


def test_a_real_server() -> None:
    """Over a real connection a push arrives, and the server's refusal of the next one is counted."""
    requests = Aggregate(slow_s=2.0, max_names=5)
    with HttpSink(reply(), reply("503 Busy")) as sink:
        settings = OtlpSettings(target(sink.url), None, 3600, is_exponential=True, is_delta=False)
        ledger = Ledger()
        made = Pusher(
            settings, lambda: snapshot(requests), ALL_SCOPES, events=EventQueue(), ledger=ledger, version="1.2.3"
        )
        made.start()
        made.push_soon()
        wait_until(lambda: sink.received)
        wait_until(lambda: made.last_total is not None)
        made.stop()
    assert {(c.outcome, c.count) for c in ledger.counts()} == {("success", 1), ("failure", 1)}


def resource(rig: Rig) -> dict[str, Any]:
    """Return the attributes of who tells, as they are pushed."""
    rig.start(signals=[Signal.METRICS])
    rig.push()
    (resource_metrics,) = rig.metrics.sent[0].resource_metrics
    return dict(resource_metrics.resource.attributes)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no OpenTelemetry variable of the surroundings in the way."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_variables")
def test_resource(rig: Rig) -> None:
    """By default `locust` tells, with our version, its host and an id of its own."""
    attributes = resource(rig)
    assert attributes["service.name"] == "locust"
    assert attributes["service.version"] == "1.2.3"
    assert attributes["host.name"]
    assert len(attributes["service.instance.id"]) == 36
    assert attributes["telemetry.sdk.language"] == "python"


@pytest.mark.usefixtures("no_variables")
def test_resource_of_the_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard variables decide where they say something."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,team=shop%20one,service.instance.id=mine")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-load")
    attributes = resource(rig)
    assert attributes["service.name"] == "shop-load"
    assert attributes["team"] == "shop one"
    assert attributes["service.instance.id"] == "mine"
    assert attributes["service.version"] == "1.2.3"


@pytest.mark.usefixtures("no_variables")
@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x"}, "x"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=shop"}, "locust"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "peer.service.name=x"}, "locust"),
        ({"OTEL_SERVICE_NAME": ""}, "locust"),
    ],
)
def test_service_name(rig: Rig, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str) -> None:
    """The service is `locust` unless a variable names it; an empty one is as good as none."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert resource(rig)["service.name"] == name


FORKS = """
import json, os, sys
import locust
from locust_otel.events import EventQueue
from locust_otel.exporter.exports import Ledger
from locust_otel.exporter.otlp.pusher import Pusher
from locust_otel.exporter.otlp.settings import OtlpSettings

def instance():
    settings = OtlpSettings(None, None, 5.0, is_exponential=False, is_delta=False)
    pusher = Pusher(settings, None, frozenset(), events=EventQueue(), ledger=Ledger(), version="1")
    return pusher._resource.attributes["service.instance.id"]

ids = [instance(), instance()]
for _ in range(2):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, instance().encode())
        os._exit(0)
    os.close(write)
    ids.append(os.read(read, 100).decode())
    os.wait()
print(json.dumps(ids))
"""


def test_instances() -> None:
    """Two pushers of one process, and those of its forked children, have ids that nobody else has."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], env=environment, capture_output=True, text=True, check=True
    )
    ids = json.loads(done.stdout)
    assert all(len(instance) == 36 for instance in ids)
    assert len(set(ids)) == 4


def test_logs_are_log_records(rig: Rig) -> None:
    """What a sink of events is handed are log records with our scope and resource."""
    rig.events.add(RUN_START)
    rig.start(signals=[Signal.LOGS])
    rig.push()
    ((log,),) = rig.logs.sent
    assert isinstance(log, ReadableLogRecord)
    assert log.instrumentation_scope is not None
    assert (log.instrumentation_scope.name, log.instrumentation_scope.version) == ("locust_otel", "1.2.3")
    assert log.resource.attributes["service.version"] == "1.2.3"


def test_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each signal goes to its own target."""
    made: list[tuple[Signal, str]] = []

    def make(signal: Signal, where: Target) -> FakeSender:
        made.append((signal, where.endpoint))
        return FakeSender()

    monkeypatch.setattr(pusher, "make", make)
    settings = OtlpSettings(target("http://m"), target("http://l"), 3600, is_exponential=False, is_delta=False)
    tested = Pusher(settings, lambda: snapshot(None), ALL_SCOPES, events=EventQueue(), ledger=Ledger(), version="1")
    tested.start()
    tested.stop()
    assert made == [(Signal.METRICS, "http://m"), (Signal.LOGS, "http://l")]
