"""Tests of the push of one signal: its data, counts and log lines, its turns, and its end.

`tests/integration/test_push.py` has those of real connections.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from opentelemetry.sdk._logs import ReadableLogRecord

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED, Event
from locust_otel.core.snapshot import ExportCount, SeriesKey, Snapshot
from locust_otel.exporter.exports import MAX_WAITING
from locust_otel.exporter.otlp import circuit as circuit_module
from locust_otel.exporter.otlp import push as module
from locust_otel.exporter.otlp.encoding import POINTS_PER_BATCH
from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.push import Kept, LogsPush, MetricsPush, Push
from locust_otel.exporter.otlp.settings import OtlpSettings
from tests.unit.factories import Load, record
from tests.unit.otlp_sinks import decode, health, snapshot, target
from tests.unit.processes import Exporter

METRICS, LOGS = "otlp_metrics", "otlp_logs"
ACCEPTED = Outcome(ok=True)
FAILED = Outcome(ok=False, reason="503 Busy")
REFUSED = Outcome(ok=False, reason="400 Bad Request", is_permanent=True)
PARTIAL = Outcome(ok=True, rejected=3, reason="too old", is_permanent=True)
RUN_START = Event("locust.run.start", "Run run-1 starts")
INTERVAL_S = 5.0


class Sink:
    """A sender that answers by the number of the request, or hangs until it is cut.

    Attributes:
        has_request: Set with the first request.
    """

    def __init__(self) -> None:
        self.answer: Callable[[int], Outcome] = lambda _: ACCEPTED
        self.sent: list[Any] = []
        self.hangs = False
        self.has_request = threading.Event()
        self._cut = threading.Event()

    def send(self, data: Any) -> Outcome:
        """Take a request, and answer."""
        self.sent.append(data)
        self.has_request.set()
        if self.hangs:
            assert self._cut.wait(5)
            self._cut.clear()
            return Outcome(ok=False, reason="no answer in time")
        return self.answer(len(self.sent))

    def cut(self) -> None:
        """End the current request."""
        self._cut.set()

    def totals(self) -> list[float]:
        """Return the number of requests in each request with metrics."""
        return [sum(p.value for p in decode(data) if p.metric.name == "locust.requests") for data in self.sent]

    def batches(self) -> list[list[str]]:
        """Return the texts of the events in each request."""
        return [[str(log.log_record.body) for log in records] for records in self.sent]


class Turns:
    """The end of a push after this number of turns, with a clock that each wait sets forward.

    Attributes:
        now_s: The time.
    """

    def __init__(self, turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self._turns = turns
        for clock in (module, circuit_module):
            monkeypatch.setattr(clock, "monotonic", lambda: self.now_s)

    def wait(self, timeout_s: float) -> bool:
        """Wait, and return whether the push ends."""
        self.now_s += timeout_s
        self._turns -= 1
        return self._turns < 0


class Rig:
    """A push to a sink, and a load to record into."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self._monkeypatch, self._caplog = monkeypatch, caplog
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

    def make(self, kind: type[Push] = MetricsPush, *, is_delta: bool = False) -> Push:
        """Make a push."""
        where = target("http://127.0.0.1:9")
        settings = OtlpSettings(where, where, INTERVAL_S, is_exponential=False, is_delta=is_delta)
        return kind(self.session, settings, where, self.kept)

    def run(self, push: Push, turns: int) -> Turns:
        """Let a push take this number of turns; return its clock."""
        clock = Turns(turns, self._monkeypatch)
        push.stopped = cast("Any", clock)
        push.run()
        return clock

    def add(self, count: int) -> None:
        """Add events."""
        for number in range(count):
            self.session.add_event(Event("e", f"event {number}"))

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Level and text of each log line."""
        return [(r.levelname, r.getMessage()) for r in self._caplog.records if r.name == module.__name__]

    def waiting(self) -> list[tuple[str, str]]:
        """Return name and severity of the events that wait."""
        return [(event.name, event.severity) for event in self.session.state.events.peek(1000)]

    def counts(self, exporter: str = METRICS) -> tuple[int, int]:
        """Return the numbers of successful and failed exports."""
        counts = {c.outcome: c.count for c in self.session.exports.counts() if c.exporter == exporter}
        return counts["success"], counts["failure"]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Rig:
    """Make a rig."""
    return Rig(monkeypatch, caplog)


def pushed(push: Push, times: int = 1) -> None:
    """Push several times."""
    for _ in range(times):
        push.push()


def test_metrics(rig: Rig) -> None:
    """Each push has all requests since the start; before the first one the counts are 0."""
    push = rig.make()
    assert (rig.counts(), rig.session.exports.rejected) == ((0, 0), {METRICS: 0})
    pushed(push, 2)
    assert rig.sink.totals() == [7, 7]
    assert (rig.lines, rig.counts(), rig.kept.last_total) == ([], (2, 0), 7)


def test_reports(rig: Rig) -> None:
    """A failure and a recovery are a log line and an event with the exporter."""
    rig.sink.answer = lambda number: FAILED if number <= 2 else ACCEPTED
    pushed(rig.make(), 3)
    assert rig.lines == [
        ("WARNING", "OTLP: otlp_metrics to http://127.0.0.1:9 are failing: 503 Busy"),
        ("INFO", "OTLP: otlp_metrics arrive again, after 2 failures"),
    ]
    assert rig.waiting() == [(EXPORT_FAILING, "WARN"), (EXPORT_RECOVERED, "INFO")]
    assert {event.attributes["exporter"] for event in rig.session.state.events.peek(9)} == {METRICS}
    assert rig.counts() == (1, 2)


@pytest.mark.parametrize(("is_delta", "totals"), [(False, [17, 27, 37, 47, 57]), (True, [17, 10, 20, 30, 10])])
def test_metrics_after_failures(rig: Rig, is_delta: bool, totals: list[float]) -> None:
    """The first push after failures has the requests of the failed pushes, also with deltas."""
    rig.sink.answer = lambda number: FAILED if number in {2, 3} else ACCEPTED
    push = rig.make(is_delta=is_delta)
    for _ in range(5):
        rig.record(10)
        push.push()
    assert rig.sink.totals() == totals
    assert rig.kept.last_total == 57


def test_deltas_of_a_successor(rig: Rig) -> None:
    """A successor pushes the requests since the last push, as the same instance."""
    rig.make(is_delta=True).push()
    rig.kept = pickle.loads(pickle.dumps(rig.kept))  # noqa: S301  # our own
    rig.record(10)
    rig.make(is_delta=True).push()
    assert rig.sink.totals() == [7, 10]
    assert len({data.resource_metrics[0].resource.attributes["service.instance.id"] for data in rig.sink.sent}) == 1


def test_deltas_over_several_runs(rig: Rig) -> None:
    """The deltas of health metrics add up over several runs, and the last run is forgotten."""
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
    points = [p for data in rig.sink.sent for p in decode(data)]
    assert sum(p.value for p in points if p.metric.name == "locust.requests") == 7 + 4
    assert sum(p.value for p in points if p.metric.name == "locust_otel.export") == 6.0
    assert sum(p.value for p in points if p.metric.name == "locust_otel.exports") == 60
    assert not [labels for _, labels in rig.kept.sent if "run-1" in labels]


def test_last_total(rig: Rig) -> None:
    """The total is that of the last complete push: all batches arrived, and no point was rejected."""
    rig.record_many()
    total = 7 + POINTS_PER_BATCH // 2
    push = rig.make()
    rig.sink.answer = lambda number: FAILED if number == 2 else ACCEPTED
    push.push()
    assert (len(rig.sink.sent), rig.kept.last_total) == (2, None)
    push.push()
    assert (sum(rig.sink.totals()[2:]), rig.kept.last_total) == (total, total)
    rig.record(5)
    first = len(rig.sink.sent) + 1
    rig.sink.answer = lambda number: PARTIAL if number == first else ACCEPTED
    push.push()
    assert rig.kept.last_total == total
    assert rig.lines[-1] == ("WARNING", "OTLP: 3 of the otlp_metrics were rejected by http://127.0.0.1:9: too old")
    assert rig.session.exports.rejected == {METRICS: 3}
    push.push()
    assert rig.kept.last_total == total + 5


def test_last_total_of_a_second_run(rig: Rig) -> None:
    """A run without a complete push has no total."""
    push = rig.make()
    push.push()
    rig.run_id = "run-2"
    rig.sink.answer = lambda _: FAILED
    push.push()
    assert rig.kept.last_total is None


def test_events(rig: Rig) -> None:
    """Events are pushed once, with scope and resource; without events nothing is sent."""
    rig.session.add_event(RUN_START)
    pushed(rig.make(LogsPush), 2)
    ((log,),) = rig.sink.sent
    assert isinstance(log, ReadableLogRecord)
    assert log.log_record.body == "Run run-1 starts"
    assert log.instrumentation_scope is not None
    assert (log.instrumentation_scope.name, log.instrumentation_scope.version) == ("locust_otel", "0.1.0")
    assert log.resource.attributes["service.version"] == "0.1.0"
    assert rig.counts(LOGS) == (1, 0)


def test_events_after_a_failure(rig: Rig) -> None:
    """Events of a failed push are pushed again, in order, and none twice."""
    rig.add(250)
    rig.sink.answer = lambda number: FAILED if number == 2 else ACCEPTED
    pushed(rig.make(LogsPush), 2)
    batches = rig.sink.batches()
    assert batches[1] == batches[2][: len(batches[1])]
    arrived = [text for number, batch in enumerate(batches) if number != 1 for text in batch]
    assert [text for text in arrived if text.startswith("event")] == [f"event {i}" for i in range(250)]
    assert max(map(len, batches)) <= 100
    assert [name for name, _ in rig.waiting()] == [EXPORT_RECOVERED]  # for the next push


def test_events_are_bounded(rig: Rig) -> None:
    """While pushes fail, the oldest events are kept up to the limit, and later ones are dropped."""
    rig.sink.answer = lambda _: FAILED
    rig.add(MAX_WAITING + 40)
    push = rig.make(LogsPush)
    pushed(push, 3)
    assert len(rig.waiting()) == MAX_WAITING
    rig.sink.answer = lambda _: ACCEPTED
    rig.sink.sent.clear()
    push.push()
    assert [text for batch in rig.sink.batches() for text in batch] == [f"event {i}" for i in range(MAX_WAITING)]


def test_refused_events(rig: Rig) -> None:
    """Events with a permanent refusal are dropped, and the next ones are pushed."""
    rig.add(150)
    rig.sink.answer = lambda number: REFUSED if number == 1 else ACCEPTED
    push = rig.make(LogsPush)
    push.push()
    assert rig.sink.batches()[1] == [f"event {i}" for i in range(100, 150)]
    push.push()
    assert [name for name, _ in rig.waiting()] == [EXPORT_RECOVERED]  # for the next push
    assert rig.counts(LOGS) == (2, 1)


def test_a_receiver_that_refuses_all_events(rig: Rig) -> None:
    """A push of events ends although each refusal adds an event."""
    rig.session.add_event(RUN_START)
    rig.sink.answer = lambda _: REFUSED
    pushed(rig.make(LogsPush), 3)
    assert len(rig.sink.sent) <= 3
    assert [level for level, _ in rig.lines] == ["WARNING"]


@pytest.mark.parametrize("kind", [MetricsPush, LogsPush])
def test_an_internal_error(rig: Rig, kind: type[Push]) -> None:
    """An exception is a failure and is reported; its events are dropped, and the next push succeeds."""

    def broken(number: int) -> Outcome:
        if number == 1:
            raise ValueError("broken")
        return ACCEPTED

    rig.add(1)
    rig.sink.answer = broken
    push = rig.make(kind)
    pushed(push, 2)
    assert rig.counts(push.exporter) == (1, 1)
    assert rig.lines[0] == ("WARNING", f"OTLP: {push.exporter} to {push.url} are failing: internal error, ValueError")
    assert [level for level, _ in rig.lines] == ["WARNING", "INFO"]
    if kind is LogsPush:
        assert rig.sink.batches()[1] == [rig.lines[0][1].removeprefix("OTLP: ")]


# ------------------------------------------------------------------------------------------------------------ turns


def test_turns(rig: Rig) -> None:
    """A push has a turn each interval, first after one interval; a slow push skips the turns that it misses."""
    push, times_s = rig.make(), []

    def answer(number: int) -> Outcome:
        clock = cast("Any", push.stopped)
        times_s.append(clock.now_s)
        clock.now_s += 2.5 * INTERVAL_S if number == 2 else 0.1
        return ACCEPTED

    rig.sink.answer = answer
    rig.run(push, 4)
    assert times_s == pytest.approx([INTERVAL_S * turn for turn in (1, 2, 5, 6)])


def test_a_pause_skips_turns(rig: Rig) -> None:
    """A push has no turn in the pause after a failure; the last push does not wait for its end."""
    rig.sink.answer = lambda _: Outcome(ok=False, reason="429", retry_after_s=60.0)
    push = rig.make()
    rig.run(push, 12)
    assert rig.counts() == (0, 1)
    push.push_last(1.0)
    assert rig.counts() == (0, 2)
    rig.run(rig.make(), 13)
    assert rig.counts() == (0, 4)


def test_a_sender_that_cannot_be_made(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the sender cannot be made, each push fails, and the thread continues."""

    def broken(*_: object) -> Sink:
        raise ImportError("cannot load grpc")

    monkeypatch.setattr(module, "sender_of", broken)
    push = rig.make()
    rig.run(push, 2)
    assert rig.counts() == (0, 2)
    assert rig.lines == [("WARNING", f"OTLP: otlp_metrics to {push.url} are failing: internal error, ImportError")]


def test_gives_way_to_pages(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push gives way to pages several times before each request, once every hundred points."""
    requests: list[int] = []  # requests at each time that it gives way

    def give_way(_: float) -> float:
        requests.append(len(rig.sink.sent))
        return 0.0

    monkeypatch.setattr(rig.session, "give_way", give_way)
    rig.record_many()
    rig.make().push()
    assert len(rig.sink.sent) > 1
    assert requests.count(0) >= POINTS_PER_BATCH // 100


# --------------------------------------------------------------------------------------------------------- the end


def started(call: Callable[..., None], *arguments: object) -> threading.Thread:
    """Call in a thread."""
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    return thread


def joined(thread: threading.Thread) -> None:
    """Wait for the end of a thread."""
    thread.join(5)
    assert not thread.is_alive()


def test_the_last_push_during_another(rig: Rig) -> None:
    """The last push cancels the current one, which is not reported or counted, and has the final values."""
    rig.sink.hangs = True
    push = rig.make()
    current = started(push.push_last, 5.0)
    assert rig.sink.has_request.wait(5)
    rig.sink.hangs = False
    rig.record(5)
    push.push_last(5.0)
    joined(current)
    assert rig.kept.last_total == 12
    assert (rig.counts(), rig.lines) == ((1, 0), [])


def test_an_abandoned_push(rig: Rig) -> None:
    """An abandoned push is not reported or counted; the pushes of the next run are."""
    rig.sink.hangs = True
    push = rig.make()
    last = started(push.push_last, 5.0)
    assert rig.sink.has_request.wait(5)
    push.abandon()
    joined(last)
    assert (rig.counts(), rig.lines) == ((0, 0), [])
    rig.sink.hangs = False
    rig.sink.answer = lambda _: FAILED
    push.push()
    assert (rig.counts(), len(rig.lines)) == ((0, 1), 1)


def test_no_further_batch_of_an_abandoned_push(rig: Rig) -> None:
    """An abandoned push sends no further batch; a batch that arrived is counted."""
    rig.record_many()
    push = rig.make()

    def accept_and_abandon(_: int) -> Outcome:
        push.abandon()
        return ACCEPTED

    rig.sink.answer = accept_and_abandon
    push.push()
    assert (len(rig.sink.sent), rig.counts(), rig.kept.last_total) == (1, (1, 0), None)


# --------------------------------------------------------------------------------------------------------- resource


@pytest.fixture
def resource(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that returns the attributes of the resource with these variables only."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)

    def attributes(variables: dict[str, str]) -> dict[str, Any]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        rig.make().push()
        (resource_metrics,) = rig.sink.sent[0].resource_metrics
        return dict(resource_metrics.resource.attributes)

    return attributes


def test_resource(rig: Rig, resource: Callable[..., dict[str, Any]]) -> None:
    """The default resource has service, version, host and instance."""
    attributes = resource({})
    assert attributes["service.name"] == "locust"
    assert attributes["service.version"] == "0.1.0"
    assert attributes["host.name"]
    assert attributes["service.instance.id"] == rig.kept.instance != Kept().instance
    assert attributes["telemetry.sdk.language"] == "python"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x"}, {"service.name": "x"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x", "OTEL_SERVICE_NAME": "shop"}, {"service.name": "shop"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=shop%20one"}, {"service.name": "locust", "team": "shop one"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=mine"}, {"service.instance.id": "mine"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "peer.service.name=x"}, {"service.name": "locust"}),
        ({"OTEL_SERVICE_NAME": ""}, {"service.name": "locust"}),
    ],
)
def test_resource_of_the_environment(
    resource: Callable[..., dict[str, Any]], variables: dict[str, str], expected: dict[str, str]
) -> None:
    """The standard variables win over our attributes."""
    attributes = resource(variables)
    assert attributes["service.version"] == "0.1.0"
    assert {name: attributes[name] for name in expected} == expected
