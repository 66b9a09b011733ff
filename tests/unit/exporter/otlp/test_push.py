"""Tests of one signal's push: what arrives, what is made up for, what is counted and logged, and how it ends."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter, sleep
from typing import Any

import pytest
from opentelemetry.sdk._logs import ReadableLogRecord

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED, Event
from locust_otel.core.snapshot import ExportCount, SeriesKey, Snapshot
from locust_otel.exporter.exports import MAX_WAITING
from locust_otel.exporter.otlp import push as module
from locust_otel.exporter.otlp.encoding import POINTS_PER_BATCH
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.push import Kept, LogsPush, MetricsPush, Push
from locust_otel.exporter.otlp.settings import OtlpSettings
from tests.unit.factories import Load
from tests.unit.otlp_sinks import HttpSink, decode, health, record, reply, snapshot, target, wait_until
from tests.unit.processes import Exporter

METRICS, LOGS = "otlp_metrics", "otlp_logs"
TAKES = Outcome(ok=True)
FAILS = Outcome(ok=False, reason="503 Busy")
REFUSES = Outcome(ok=False, reason="400 Bad Request", is_permanent=True)
REJECTS = Outcome(ok=True, rejected=3, reason="too old", is_permanent=True)
RUN_START = Event("locust.run.start", "Run run-1 starts")


class Sink:
    """Stands for a sender: answers as it is told; until it is cut, where it is to hang."""

    def __init__(self) -> None:
        self.answer: Callable[[int], Outcome] = lambda _: TAKES
        self.sent: list[Any] = []
        self.hangs = False
        self._cut = threading.Event()

    def send(self, data: Any) -> Outcome:
        """Take what is sent, and answer."""
        self.sent.append(data)
        if self.hangs:
            assert self._cut.wait(10)
            self._cut.clear()
            return Outcome(ok=False, reason="no answer in time")
        return self.answer(len(self.sent))

    def cut(self) -> None:
        """End what is under way."""
        self._cut.set()

    def totals(self) -> list[float]:
        """Return the number of requests in each request that had metrics."""
        return [sum(p.value for p in decode(data) if p.metric.name == "locust.requests") for data in self.sent]

    def batches(self) -> list[list[str]]:
        """Return the texts of the events of each request."""
        return [[str(log.log_record.body) for log in records] for records in self.sent]


class Rig:
    """A push to a sink that answers as told, and a load to record into."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.INFO, module.__name__)
        self.sink, self.kept = Sink(), Kept()
        self.session = Exporter().session
        monkeypatch.setattr(self.session, "snapshot", self.snapshot)
        monkeypatch.setattr(module, "sender_of", lambda *_: self.sink)
        self.load, self.run_id, self.has_run = Load(slow_s=2.0, max_names=5_000), "run-1", True
        self.record(7)
        self.time = 1_764_000_061.75
        self.exports: tuple[ExportCount, ...] | None = None

    def record(self, count: int, name: str = "/") -> None:
        """Record requests."""
        record(self.load, SeriesKey("GET", name, "Shopper", "success"), [5.0] * count)

    def record_many(self) -> None:
        """Record a request of so many names that a push has several batches."""
        for number in range(POINTS_PER_BATCH // 2):
            self.record(1, f"/{number}")

    def snapshot(self) -> Snapshot:
        """Take a snapshot."""
        self.time += 1
        of_bridge = health(exports=self.exports) if self.exports is not None else health()
        return snapshot(self.load if self.has_run else None, time=self.time, run_id=self.run_id, of_bridge=of_bridge)

    def make(self, kind: type[Push] = MetricsPush, *, is_delta: bool = False, interval_s: float = 3600) -> Push:
        """Make a push."""
        where = target("http://127.0.0.1:9")
        settings = OtlpSettings(where, where, interval_s, is_exponential=False, is_delta=is_delta)
        return kind(self.session, settings, where, self.kept)

    def add(self, count: int) -> None:
        """Add events."""
        for number in range(count):
            self.session.add_event(Event("e", f"event {number}"))

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What was logged."""
        return [(r.levelname, r.getMessage()) for r in self._caplog.records if r.name == module.__name__]

    def waiting(self) -> list[tuple[str, str]]:
        """Return the events that wait: name and severity."""
        return [(event.name, event.severity) for event in self.session.events.peek(1000)]

    def counts(self, exporter: str = METRICS) -> tuple[int, int]:
        """Return the numbers of requests that succeeded and failed."""
        found = {c.outcome: c.count for c in self.session.exports.counts() if c.exporter == exporter}
        return found["success"], found["failure"]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Rig:
    """Make a rig."""
    return Rig(monkeypatch, caplog)


def pushed(push: Push, times: int = 1) -> None:
    """Push several times."""
    for _ in range(times):
        push.push()


def test_metrics(rig: Rig) -> None:
    """Each push has everything since the start."""
    pushed(rig.make(), 2)
    assert rig.sink.totals() == [7, 7]
    assert (rig.lines, rig.counts(), rig.kept.last_total) == ([], (2, 0), 7)


def test_declared_at_zero(rig: Rig) -> None:
    """An exporter is there at 0 before its first push."""
    rig.make()
    assert rig.counts() == (0, 0)
    assert rig.session.exports.rejected == {METRICS: 0}


def test_logged_and_told(rig: Rig) -> None:
    """What there is to say about a sink is a log line, and an event that says which exporter it is and how bad."""
    rig.sink.answer = lambda number: FAILS if number <= 2 else TAKES
    pushed(rig.make(), 3)
    assert rig.lines == [
        ("WARNING", "OTLP: otlp_metrics to http://127.0.0.1:9 are failing: 503 Busy"),
        ("INFO", "OTLP: otlp_metrics arrive again, after 2 failures"),
    ]
    assert rig.waiting() == [(EXPORT_FAILING, "WARN"), (EXPORT_RECOVERED, "INFO")]
    assert {event.attributes["exporter"] for event in rig.session.events.peek(9)} == {METRICS}
    assert rig.counts() == (1, 2)


def test_metrics_heal(rig: Rig) -> None:
    """What was recorded while a sink failed is in the first push that arrives."""
    rig.sink.answer = lambda number: FAILS if number <= 3 else TAKES
    push = rig.make()
    for _ in range(4):
        rig.record(10)
        push.push()
    assert rig.sink.totals() == [17, 27, 37, 47]
    assert rig.kept.last_total == 47


def test_deltas_heal(rig: Rig) -> None:
    """With deltas too, the first push that arrives has what was recorded while the sink failed."""
    rig.sink.answer = lambda number: FAILS if number in {2, 3} else TAKES
    push = rig.make(is_delta=True)
    for _ in range(5):
        rig.record(10)
        push.push()
    assert rig.sink.totals() == [17, 10, 20, 30, 10]


def test_deltas_of_a_successor(rig: Rig) -> None:
    """A process that takes over from one that was killed pushes what came since, as the same instance."""
    rig.make(is_delta=True).push()
    rig.kept = pickle.loads(pickle.dumps(rig.kept))  # noqa: S301  # our own
    rig.record(10)
    rig.make(is_delta=True).push()
    assert rig.sink.totals() == [7, 10]
    assert len({data.resource_metrics[0].resource.attributes["service.instance.id"] for data in rig.sink.sent}) == 1


def test_what_is_kept_is_plain(rig: Rig) -> None:
    """A successor reads what was kept without loading OpenTelemetry, which would take half a second."""
    rig.make(is_delta=True).push()
    code = (
        "import pickle, sys; pickle.load(sys.stdin.buffer); print(sorted({'opentelemetry', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(rig.kept), capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"
    assert len(rig.kept.sent) > 10


def test_deltas_over_several_runs(rig: Rig) -> None:
    """The deltas of our own health add up to what it is, though a run begins, and another one, in the same process."""
    push = rig.make(is_delta=True)
    rig.has_run = False
    for number in range(1, 7):
        if number == 3:
            rig.has_run = True
        if number == 5:
            rig.run_id, rig.load = "run-2", Load(slow_s=2.0, max_names=500)
            rig.record(4)
        rig.exports = (ExportCount("prometheus", "success", 10 * number, 1.0 * number),)
        push.push()
    arrived = [p for data in rig.sink.sent for p in decode(data)]
    assert sum(p.value for p in arrived if p.metric.name == "locust.requests") == 7 + 4
    assert sum(p.value for p in arrived if p.metric.name == "locust_otel.export") == 6.0
    assert sum(p.value for p in arrived if p.metric.name == "locust_otel.exports") == 60
    assert not [labels for _, labels in rig.kept.sent if "run-1" in labels]


def test_last_total(rig: Rig) -> None:
    """The total is that of the last push that arrived whole: all of its batches, and no point rejected."""
    rig.record_many()
    total = 7 + POINTS_PER_BATCH // 2
    push = rig.make()
    rig.sink.answer = lambda number: FAILS if number == 2 else TAKES
    push.push()
    assert (len(rig.sink.sent), rig.kept.last_total) == (2, None)
    push.push()
    assert (sum(rig.sink.totals()[2:]), rig.kept.last_total) == (total, total)
    rig.record(5)
    first = len(rig.sink.sent) + 1
    rig.sink.answer = lambda number: REJECTS if number == first else TAKES
    push.push()
    assert rig.kept.last_total == total
    assert rig.lines[-1] == ("WARNING", "OTLP: 3 of the otlp_metrics were rejected by http://127.0.0.1:9: too old")
    assert rig.session.exports.rejected == {METRICS: 3}
    push.push()
    assert rig.kept.last_total == total + 5


def test_last_total_of_another_run(rig: Rig) -> None:
    """A run of which nothing has arrived has no total, though the one before had."""
    push = rig.make()
    push.push()
    rig.run_id = "run-2"
    rig.sink.answer = lambda _: FAILS
    push.push()
    assert rig.kept.last_total is None


def test_events(rig: Rig) -> None:
    """Events are pushed once, as log records with our scope and resource; without any, nothing is sent."""
    rig.session.add_event(RUN_START)
    pushed(rig.make(LogsPush), 2)
    ((log,),) = rig.sink.sent
    assert isinstance(log, ReadableLogRecord)
    assert log.log_record.body == "Run run-1 starts"
    assert log.instrumentation_scope is not None
    assert (log.instrumentation_scope.name, log.instrumentation_scope.version) == ("locust_otel", "0.1.0")
    assert log.resource.attributes["service.version"] == "0.1.0"
    assert rig.counts(LOGS) == (1, 0)


def test_events_wait(rig: Rig) -> None:
    """Events that could not be pushed are pushed later, in their order, none twice."""
    rig.add(250)
    rig.sink.answer = lambda number: FAILS if number == 2 else TAKES
    pushed(rig.make(LogsPush), 2)
    batches = rig.sink.batches()
    assert batches[1] == batches[2][: len(batches[1])]  # the one that failed, sent again
    arrived = [text for number, batch in enumerate(batches) if number != 1 for text in batch]
    assert [text for text in arrived if text.startswith("event")] == [f"event {i}" for i in range(250)]
    assert max(map(len, batches)) <= 100
    assert [name for name, _ in rig.waiting()] == [EXPORT_RECOVERED]  # for the next push


def test_events_are_bounded(rig: Rig) -> None:
    """A sink that fails does not let events pile up: further ones are dropped and counted, the earliest are kept."""
    rig.sink.answer = lambda _: FAILS
    rig.add(MAX_WAITING + 40)
    push = rig.make(LogsPush)
    pushed(push, 3)
    assert len(rig.waiting()) == MAX_WAITING
    assert rig.session.events.dropped == 40 + 1  # the event about the sink found no place either
    rig.sink.answer = lambda _: TAKES
    rig.sink.sent.clear()
    push.push()
    assert [text for batch in rig.sink.batches() for text in batch] == [f"event {i}" for i in range(MAX_WAITING)]


def test_events_refused_for_good(rig: Rig) -> None:
    """Events that are refused for good are given up, and do not hold up those after them."""
    rig.add(150)
    rig.sink.answer = lambda number: REFUSES if number == 1 else TAKES
    push = rig.make(LogsPush)
    push.push()
    assert rig.sink.batches()[1] == [f"event {i}" for i in range(100, 150)]
    push.push()
    assert [name for name, _ in rig.waiting()] == [EXPORT_RECOVERED]  # for the next push
    assert rig.counts(LOGS) == (2, 1)


def test_events_refused_always(rig: Rig) -> None:
    """A sink that refuses every event makes no push without end."""
    rig.session.add_event(RUN_START)
    rig.sink.answer = lambda _: REFUSES
    pushed(rig.make(LogsPush), 3)
    assert len(rig.sink.sent) <= 3
    assert [level for level, _ in rig.lines] == ["WARNING"]


@pytest.mark.parametrize("kind", [MetricsPush, LogsPush])
def test_an_exception_in_a_push(rig: Rig, kind: type[Push]) -> None:
    """A push that raises is counted as a failure and reported, its events are dropped, and the next one is tried."""

    def broken(number: int) -> Outcome:
        if number == 1:
            raise ValueError("broken")
        return TAKES

    rig.add(1)
    rig.sink.answer = broken
    push = rig.make(kind)
    pushed(push, 2)
    assert rig.counts(push.exporter) == (1, 1)
    assert rig.lines[0] == (
        "WARNING",
        f"OTLP: {push.exporter} to {push.url} are failing: a fault of our own, ValueError",
    )
    assert [level for level, _ in rig.lines] == ["WARNING", "INFO"]
    if kind is LogsPush:
        assert rig.sink.batches()[1] == [rig.lines[0][1].removeprefix("OTLP: ")]


def test_a_sender_that_cannot_be_made(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps a sender from being made is a failure of each push, not the end of the thread."""

    def broken(*_: object) -> Sink:
        raise ImportError("cannot load grpc")

    monkeypatch.setattr(module, "sender_of", broken)
    push = rig.make(interval_s=0.03)
    push.start()
    wait_until(lambda: rig.counts()[1] >= 2)
    push.stopped.set()
    assert rig.lines == [("WARNING", f"OTLP: otlp_metrics to {push.url} are failing: a fault of our own, ImportError")]


def test_turns(rig: Rig) -> None:
    """It pushes once an interval by itself, the first time after an interval, and not after it is stopped."""
    push = rig.make(interval_s=0.05)
    push.start()
    assert rig.sink.sent == []
    wait_until(lambda: len(rig.sink.sent) >= 4)
    push.stopped.set()
    push.join(2)
    assert not push.is_alive()


def test_gives_way_to_pages(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push waits while a page is rendered, in the middle of a batch, and continues afterwards; not without end."""
    monkeypatch.setattr("locust_otel.exporter.session.GIVE_WAY_S", 1.0)
    rig.record_many()
    push = rig.make(interval_s=0.02)
    with rig.session.rendering:
        push.start()
        sleep(0.3)
        assert rig.sink.sent == []
        wait_until(lambda: len(rig.sink.sent) >= 1)
    wait_until(lambda: len(rig.sink.sent) >= 3)
    push.stopped.set()
    push.join(2)


def test_a_pause_is_kept(rig: Rig) -> None:
    """After a failure turns are left out."""
    rig.sink.answer = lambda _: Outcome(ok=False, reason="429", retry_after_s=60.0)
    push = rig.make(interval_s=0.02)
    push.start()
    wait_until(lambda: rig.counts()[1])
    push.stopped.wait(0.15)
    assert rig.counts() == (0, 1)
    push.push_last(1.0)  # which does not wait for the end of the pause
    push.stopped.set()
    assert rig.counts() == (0, 2)


def test_the_last_push_in_the_middle_of_another(rig: Rig) -> None:
    """A push under way is broken off without a word or count, and the last one has the final values."""
    rig.sink.hangs = True
    push = rig.make(interval_s=0.02)
    push.start()
    wait_until(lambda: rig.sink.sent)
    push.stopped.set()
    rig.sink.hangs = False
    rig.record(5)
    started = perf_counter()
    push.push_last(2.0)
    assert perf_counter() - started < 1
    assert rig.kept.last_total == 12
    assert (rig.counts(), rig.lines) == ((1, 0), [])


def test_the_last_push_without_an_answer(rig: Rig) -> None:
    """Where it is abandoned too, it says nothing; the pushes of the next run say and count what happens again."""
    rig.sink.hangs = True
    push = rig.make()
    last = threading.Thread(target=push.push_last, args=(2.0,))
    last.start()
    wait_until(lambda: rig.sink.sent)
    push.abandon()
    last.join(2)
    assert not last.is_alive()
    assert (rig.counts(), rig.lines) == ((0, 0), [])
    rig.sink.hangs = False
    rig.sink.answer = lambda _: FAILS
    push.push()
    assert (rig.counts(), len(rig.lines)) == ((0, 1), 1)


def test_no_further_batch_of_an_abandoned_push(rig: Rig) -> None:
    """After a request that was taken just in time, an abandoned push sends no other; what arrived is counted."""
    rig.record_many()
    push = rig.make()

    def taken(_: int) -> Outcome:
        push.abandon()
        return TAKES

    rig.sink.answer = taken
    push.push()
    assert (len(rig.sink.sent), rig.counts(), rig.kept.last_total) == (1, (1, 0), None)


def resource(rig: Rig) -> dict[str, Any]:
    """Return the attributes of who tells, as they are pushed."""
    rig.make().push()
    (resource_metrics,) = rig.sink.sent[0].resource_metrics
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
    assert attributes["service.version"] == "0.1.0"
    assert attributes["host.name"]
    assert attributes["service.instance.id"] == rig.kept.instance
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
    assert attributes["service.version"] == "0.1.0"


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


def test_instances() -> None:
    """Two processes have ids that are different."""
    assert Kept().instance != Kept().instance
    assert len(Kept().instance) == 36


@pytest.fixture
def to_sink(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Callable[[HttpSink], Push]:
    """Return what makes a push over a real connection."""
    monkeypatch.undo()
    return lambda sink: MetricsPush(
        rig.session,
        OtlpSettings(target(sink.url), None, 3600, is_exponential=True, is_delta=False),
        replace(target(sink.url), timeout_s=10.0),
        rig.kept,
    )


def test_a_real_server(rig: Rig, to_sink: Callable[[HttpSink], Push]) -> None:
    """Over a real connection a push arrives, and the server's refusal of the next one is counted."""
    with HttpSink(reply(), reply("503 Busy")) as sink:
        pushed(to_sink(sink), 2)
    assert (len(sink.received), rig.counts()) == (2, (1, 1))
    assert rig.lines == [("WARNING", f"OTLP: otlp_metrics to {sink.url} are failing: 503 Busy")]


def test_a_real_black_hole(rig: Rig, to_sink: Callable[[HttpSink], Push]) -> None:
    """A server that takes the request and never answers is let go of at once, long before its time is up."""

    def silent(connection: Any) -> None:
        connection.settimeout(5)
        connection.recv(1)

    with HttpSink(silent, reply()) as sink:
        push = to_sink(sink)
        hanging = threading.Thread(target=push.push)
        hanging.start()
        wait_until(lambda: sink.received)
        started = perf_counter()
        push.abandon()
        hanging.join(5)
        push.push()
        assert perf_counter() - started < 1
    assert rig.counts() == (1, 0)
