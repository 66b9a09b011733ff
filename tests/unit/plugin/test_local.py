"""Tests of a local process: the reports to its exporter."""

from __future__ import annotations

from decimal import Decimal
from socket import gethostname
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from locust_otel.core.snapshot import RunSnapshot, SeriesKey, Snapshot
from locust_otel.plugin.link import Link
from locust_otel.plugin.local import LocalNode
from locust_otel.plugin.node import Order
from locust_otel.plugin.reporter import SERIES_PER_PIECE
from locust_otel.slo.counts import count
from locust_otel.slo.objectives import Match, Objective, Sli
from locust_otel.wire import frames
from locust_otel.wire.report import EVENTS_PER_REPORT, Tail, decode
from tests.unit.factories import event, fire, objectives, totals, user
from tests.unit.processes import Exporter, FakeLink, environment, flags

KEY = ("GET", "/", "Shopper", "success")
NAME = f"{gethostname()}-0"


class Process:
    """A local process and its exporter."""

    def __init__(self, exporter: Exporter | None = None, **given: Any) -> None:
        self.exporter = exporter or Exporter(name=NAME, **given)
        self.link = FakeLink(self.exporter.ready)
        self.environment = environment()
        self.node = LocalNode(self.environment, flags(**given), self.link)

    def begin(self) -> None:
        """Begin a run, here and in the exporter."""
        self.exporter.begin(self.node.start_run().run_id)

    def requests(self, count: int = 1, **fields: Any) -> None:
        """Let a user make requests, which Locust counts too."""
        fire(self.node.recorder.on_request, [event(**fields)] * count, user())
        for _ in range(count):
            self.environment.stats.log_request("GET", "/", 12, 100)

    def deliver(self) -> Snapshot:
        """Let the exporter process all messages, and return its numbers."""
        self.exporter.take(*self.link.said)
        self.link.said.clear()
        return self.exporter.session.snapshot()

    def run(self) -> RunSnapshot:
        """Let the exporter process all messages, and return the run."""
        run = self.deliver().run
        assert run is not None
        return run

    def tail(self) -> Tail:
        """Return the tail of the last report."""
        _, source, data = [message for message in self.link.said if message[0] == frames.REPORT][-1]
        assert source == self.node.name == NAME
        tail = decode(data).tail
        assert tail is not None
        return tail


@pytest.fixture
def process() -> Process:
    """Return a process in its first run."""
    process = Process()
    process.begin()
    return process


LATENCY = Objective("a", Sli.LATENCY, Decimal("0.9"), Decimal("0.123"), Match(names=("/b é 🦗", "/a")))


def test_objectives_are_counted_at_their_bounds() -> None:
    """The exporter sends the thresholds, so its objectives are counted exactly."""
    process = Process(Exporter(slo=objectives(objectives=(LATENCY,)), name=NAME))
    process.begin()
    for time_ms in (123, 123.01):
        process.requests(name="/a", response_time=time_ms)
    process.node.tick()
    run = process.run()
    assert count(LATENCY, run.requests.series, run.requests.layout) == (1, 1, 0.0)


def test_names_are_grouped() -> None:
    """With --group-names, names that differ only in their ids count as one, also for failed requests."""
    process = Process(group_names="true")
    process.begin()
    for number in range(300):
        process.requests(name=f"/items/{number}")
    process.requests(name="/items/7", exception=OSError())
    process.node.flush()
    run = process.run()
    assert totals(run.requests) == {
        ("GET", "/items/[id]", "Shopper", "success"): 300,
        ("GET", "/items/[id]", "Shopper", "failure"): 1,
    }
    assert [key.name for key in run.requests.errors] == ["/items/[id]"]


def test_the_first_fold_is_logged(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """This process folds names, and the exporter logs it with some of the names that it has received."""
    for number in range(300):
        process.requests(name=f"/items/{number}")
    process.node.tick()
    process.deliver()
    (line,) = caplog.messages
    assert "more than 200 request names" in line
    assert "GET /items/0, /items/1" in line


def test_every_request_arrives_once(process: Process) -> None:
    """The exporter counts each request of all ticks and of the end once, as Locust does."""
    for number in range(3):
        process.requests(2)
        process.requests(name=f"/{number}", exception=OSError())
        process.node.tick()
    process.requests(4)
    process.node.flush()
    snapshot = process.deliver()
    assert snapshot.run is not None
    assert totals(snapshot.run.requests) == {
        KEY: 10, **{("GET", f"/{number}", "Shopper", "failure"): 1 for number in range(3)},
    }  # fmt: skip
    assert sum(snapshot.run.requests.errors.values()) == 3
    assert snapshot.health.unreconciled == 0
    assert process.exporter.run.locust_total == 13


def test_users_run_during_a_tick(process: Process) -> None:
    """They run between two pieces; their requests are in this report or the next one."""
    turns: list[int] = []

    def busy() -> None:
        while True:
            turns.append(1)
            process.requests(name="/meanwhile")
            gevent.sleep(0)

    requests = process.node.recorder.requests
    for number in range(5 * SERIES_PER_PIECE):
        requests.count_unmeasured(requests.of(SeriesKey("GET", f"/{number}", "", "success")), 1)
    greenlet = gevent.spawn(busy)
    process.node.tick()
    greenlet.kill()
    assert len(turns) >= 10
    process.node.flush()
    process.deliver()
    assert process.exporter.run.merged.total == requests.total > 5 * SERIES_PER_PIECE


def test_an_exporter_that_does_not_read(process: Process) -> None:
    """Until it reads no report is sent, which is counted; the next report contains all requests."""
    process.requests(2)
    process.link.room = False
    process.node.tick()
    process.requests(3)
    process.node.tick()
    assert process.link.said == []
    process.link.room = True
    process.node.tick()
    process.link.send(frames.STATUS, process.node.status())
    snapshot = process.deliver()
    assert snapshot.run is not None
    assert totals(snapshot.run.requests) == {KEY: 5}
    assert snapshot.health.merged_reports == 2


def test_a_run_that_begins_during_a_report(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """No further piece of the run before is sent: it was reported in full at its end."""
    for number in range(3 * SERIES_PER_PIECE):
        process.requests(name=f"/{number}")
    process.node.recorder.requests.tally()
    sleeps = iter([process.begin])
    monkeypatch.setattr(gevent, "sleep", lambda _: next(sleeps, lambda: None)())
    process.node.tick()
    assert len(process.link.only(frames.REPORT)) == 2


def test_state_of_the_process(process: Process) -> None:
    """Each report has its delays, CPU and memory, under its name."""
    generator, pacing = process.node._generator, process.node._pacing
    generator.cpu_ratio, generator.memory_bytes, generator.reasons = 0.25, 64_000_000, ("lag",)
    generator.lag_counts[7], generator.lag_sum_s = 2, 0.5
    pacing.counts[0], pacing.counts[9], pacing.sum_s = 3, 1, 1.5
    process.node.tick()
    process.link.send(frames.STATUS, process.node.status())
    (worker,) = process.deliver().workers
    assert (worker.worker, worker.cpu_ratio, worker.memory_bytes, worker.reasons) == (
        NAME, 0.25, 64_000_000, ("lag",),
    )  # fmt: skip
    assert (worker.lag_counts[7], sum(worker.lag_counts.values()), worker.lag_sum_s) == (2, 2, 0.5)
    assert (worker.schedule_counts[0], sum(worker.schedule_counts.values()), worker.schedule_sum_s) == (3, 4, 1.5)
    assert worker.users == 3


def test_a_new_run_begins_at_zero(process: Process) -> None:
    """Requests, delays and resets of the run before do not count."""
    process.requests(3)
    process.node.on_reset()
    process.node._pacing.sum_s = 1.5
    process.begin()
    process.environment.stats.clear_all()
    process.requests(2)
    process.node.tick()
    tail = process.tail()
    assert (tail.reset, tail.missing, tail.vitals.schedule_sum_s) == (0, 0, 0.0)
    run = process.run()
    assert totals(run.requests) == {KEY: 2}


def test_resets(process: Process) -> None:
    """Requests that Locust's table has dropped are reported, so that its count stays equal to ours."""
    for _ in range(2):
        process.requests(3)
        process.node.on_reset()
        process.environment.stats.clear_all()
    process.requests()
    process.node.tick()
    assert (process.tail().reset, process.tail().missing) == (6, 0)
    process.deliver()
    assert process.exporter.run.locust_total == 7


def test_without_a_runner(process: Process) -> None:
    """With `run_single_user` there is no count of Locust to compare with, and no user."""
    process.environment.runner = None
    process.requests(2)
    process.node.flush()
    assert process.tail().missing is None
    snapshot = process.deliver()
    assert snapshot.run is not None
    assert (snapshot.run.users, snapshot.run.state, snapshot.health.unreconciled) == ({}, "running", None)


def test_events_are_reported_once(process: Process) -> None:
    """The next report has the exceptions of tasks and the slow requests, a limited number of them."""
    task = SimpleNamespace(user=user())
    for _ in range(12):
        process.node.on_user_error(user_instance=task, exception=KeyError("x"))
    process.node.on_user_error(user_instance=user(), exception=OSError())
    process.requests(response_time=6_000)
    process.node.tick()
    tail = process.tail()
    assert len(tail.events) == 10
    first = tail.events[0]
    assert (first.name, first.severity, first.body) == ("locust.user_error", "ERROR", "KeyError in a task of Shopper")
    assert process.node.run is not None
    assert first.attributes == {
        "run_id": process.node.run.run_id, "user_class": "Shopper", "error_type": "KeyError",
        "worker": process.node.name,
    }  # fmt: skip
    assert [slow.duration_s for slow in tail.slow] == [6.0]
    process.link.said.clear()
    process.node.tick()
    assert (process.tail().events, process.tail().slow) == ((), ())
    process.node.flush()
    run = process.run()
    assert run.requests.user_errors == {("Shopper", "KeyError"): 12, ("Shopper", "OSError"): 1}


def test_too_many_slow_requests(process: Process) -> None:
    """The latest are reported, and the number of the others, once."""
    process.requests(EVENTS_PER_REPORT + 7, response_time=6_000)
    process.node.tick()
    assert (len(process.tail().slow), process.tail().slow_dropped) == (EVENTS_PER_REPORT, 7)
    process.node.tick()
    assert (len(process.tail().slow), process.tail().slow_dropped) == (0, 0)


def test_memory_for_events_is_bounded(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """All exceptions of tasks are counted, but only 200 wait for a report."""
    monkeypatch.setattr(process.node, "_user_error_rate", SimpleNamespace(allows=lambda: True))
    for _ in range(1_000):
        process.node.on_user_error(user_instance=user(), exception=KeyError())
    assert len(process.node._events) == 200
    assert process.node.recorder.requests.user_errors == {("Shopper", "KeyError"): 1_000}


def test_status(process: Process) -> None:
    """The exporter gets state and users of Locust's runner."""
    process.link.said.clear()
    process.node.flush()
    run = process.run()
    assert (run.state, run.users, run.users_target) == (
        "running", {"Shopper": 3, "Admin": 0}, {"Shopper": 3, "Admin": 1},
    )  # fmt: skip


def test_before_the_first_run() -> None:
    """There is a status, but no report, and a reset changes nothing."""
    process = Process()
    process.node.on_reset()
    process.node.tick()
    process.node.flush()
    assert process.link.names() == [frames.STATUS]
    assert process.link.only(frames.STATUS)[0]["run_id"] == ""
    assert process.deliver().run is None


def test_marks(process: Process) -> None:
    """A mark is sent with the run and its time."""
    run = process.node.run
    assert run is not None
    assert process.node.mark(run, "db killed", "fault")
    run_id, text, kind, timestamp = process.link.only(frames.MARK)
    assert (run_id, text, kind) == (run.run_id, "db killed", "fault")
    assert timestamp >= run.start_time


def test_without_an_exporter() -> None:
    """A process without its own exporter counts requests, and keeps no reports."""
    node = LocalNode(environment(), flags(run_id="mine"), Link())
    node._begin(Order("mine", 5.0, 200, None, [], []))
    fire(node.recorder.on_request, [event()] * 3, user())
    node.tick()
    assert node.recorder.requests.measured == 3
    assert node.recorder.requests.followers == []
