"""Tests of a process that runs users on its own account: what it tells the exporter beside it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from socket import gethostname
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

import locust_otel
from locust_otel.core.snapshot import SeriesKey, Snapshot
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
AUTO = str(Path(locust_otel.__file__).parent / "auto.py")


class Process:
    """A local process, and the exporter that takes in what it says."""

    def __init__(self, exporter: Exporter | None = None, **given: Any) -> None:
        self.exporter = exporter or Exporter(name=f"{gethostname()}-0", **given)
        self.link = FakeLink(self.exporter.ready)
        self.environment = environment()
        self.node = LocalNode(self.environment, flags(**given), self.link)

    def begin(self) -> None:
        """Begin a run, here and in the exporter."""
        run = self.node.start_run()
        self.exporter.begin(run.run_id)

    def requests(self, count: int = 1, **fields: Any) -> None:
        """Have a user make requests, which Locust counts too."""
        fire(self.node.recorder.on_request, [event(**fields)] * count, user())
        for _ in range(count):
            self.environment.stats.log_request("GET", "/", 12, 100)

    def deliver(self) -> Snapshot:
        """Have the exporter take in all that was said, and return what it knows."""
        self.exporter.take(*self.link.said)
        self.link.said.clear()
        return self.exporter.session.snapshot()

    def tail(self) -> Tail:
        """Return what the last piece that was said says of the process."""
        _, source, data = [message for message in self.link.said if message[0] == frames.REPORT][-1]
        assert source == self.node.name
        tail = decode(data).tail
        assert tail is not None
        return tail


@pytest.fixture
def process() -> Process:
    """Make a process in its first run."""
    made = Process()
    made.begin()
    return made


LATENCY = Objective("a", Sli.LATENCY, Decimal("0.9"), Decimal("0.123"), Match(names=("/b é 🦗", "/a")))


def test_objectives_are_counted_at_their_bounds() -> None:
    """A run is recorded as the exporter has said, so that its objectives are counted exactly."""
    process = Process(Exporter(slo=objectives(objectives=(LATENCY,)), name=f"{gethostname()}-0"))
    process.begin()
    for time_ms in (123, 123.01):
        process.requests(name="/a", response_time=time_ms)
    process.node.tick()
    taken = process.deliver().run
    assert taken is not None
    assert count(LATENCY, taken.requests.series, taken.requests.layout) == (1, 1, 0.0)


def test_names_are_grouped() -> None:
    """With the switch names that differ in their ids are counted as one, failed requests too."""
    process = Process(group_names="true")
    process.begin()
    for number in range(300):
        process.requests(name=f"/items/{number}")
    process.requests(name="/items/7", exception=OSError())
    process.node.flush()
    taken = process.deliver().run
    assert taken is not None
    assert totals(taken.requests) == {
        ("GET", "/items/[id]", "Shopper", "success"): 300,
        ("GET", "/items/[id]", "Shopper", "failure"): 1,
    }
    assert [key.name for key in taken.requests.errors] == ["/items/[id]"]


def test_the_first_fold_is_logged(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """This process folds names before the exporter sees them; the exporter knows and names those that it has."""
    for number in range(300):
        process.requests(name=f"/items/{number}")
    process.node.tick()
    process.deliver()
    (line,) = caplog.messages
    assert line == (
        "There are more than 200 request names, and the others are counted as _OTHER: GET /items/0, /items/1, … look "
        'like one: /items/[id]. Give the calls name="/items/[id]", or --group-names does it.'
    )


def test_every_request_arrives_once(process: Process) -> None:
    """Whatever is told in ticks and at the end, the exporter counts what was recorded, and Locust's count is equal."""
    for number in range(3):
        process.requests(2)
        process.requests(name=f"/{number}", exception=OSError())
        process.node.tick()
    process.requests(4)
    process.node.flush()
    taken = process.deliver()
    assert taken.run is not None
    assert totals(taken.run.requests) == {
        KEY: 10, **{("GET", f"/{number}", "Shopper", "failure"): 1 for number in range(3)},
    }  # fmt: skip
    assert sum(taken.run.requests.errors.values()) == 3
    assert taken.health.unreconciled == 0
    assert process.exporter.run.locust_total == 13


def test_a_tick_gives_the_loop_back(process: Process) -> None:
    """Between two pieces users run; what they do meanwhile is in the next report at the latest."""
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
    """No report is made until it does, which is counted; the next one makes up for all."""
    process.requests(2)
    process.link.room = False
    process.node.tick()
    process.requests(3)
    process.node.tick()
    assert process.link.said == []
    process.link.room = True
    process.node.tick()
    process.link.send(frames.STATUS, process.node.status())
    taken = process.deliver()
    assert taken.run is not None
    assert totals(taken.run.requests) == {KEY: 5}
    assert taken.health.merged_reports == 2


def test_a_run_that_begins_while_the_one_before_is_told(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece of the run before is told after the next one has begun: it was told whole already."""
    for number in range(3 * SERIES_PER_PIECE):
        process.requests(name=f"/{number}")
    process.node.recorder.requests.tally()
    sleeps = iter([process.begin])
    monkeypatch.setattr(gevent, "sleep", lambda _: next(sleeps, lambda: None)())
    process.node.tick()
    assert len(process.link.only(frames.REPORT)) == 2


def test_how_the_process_is(process: Process) -> None:
    """Its delays, CPU and memory come with each report, under its name."""
    generator, pacing = process.node._generator, process.node._pacing
    generator.cpu_ratio, generator.memory_bytes, generator.reasons = 0.25, 64_000_000, ("lag",)
    generator.lag_counts[7], generator.lag_sum_s = 2, 0.5
    pacing.counts[0], pacing.counts[9], pacing.sum_s = 3, 1, 1.5
    process.node.tick()
    process.link.send(frames.STATUS, process.node.status())
    (worker,) = process.deliver().workers
    assert (worker.worker, worker.cpu_ratio, worker.memory_bytes, worker.reasons) == (
        f"{gethostname()}-0", 0.25, 64_000_000, ("lag",),
    )  # fmt: skip
    assert (worker.lag_counts[7], sum(worker.lag_counts.values()), worker.lag_sum_s) == (2, 2, 0.5)
    assert (worker.schedule_counts[0], sum(worker.schedule_counts.values()), worker.schedule_sum_s) == (3, 4, 1.5)
    assert worker.users == 3


def test_a_new_run_begins_at_zero(process: Process) -> None:
    """Requests, delays and resets of the run before are none of the next."""
    process.requests(3)
    process.node.on_reset()
    process.node._pacing.sum_s = 1.5
    process.begin()
    process.environment.stats.clear_all()
    process.requests(2)
    process.node.tick()
    tail = process.tail()
    assert (tail.reset, tail.missing, tail.vitals.schedule_sum_s) == (0, 0, 0.0)
    taken = process.deliver().run
    assert taken is not None
    assert totals(taken.requests) == {KEY: 2}


def test_resets(process: Process) -> None:
    """What Locust's table forgets is told, whenever that is, and its count stays equal to ours."""
    for _ in range(2):
        process.requests(3)
        process.node.on_reset()
        process.environment.stats.clear_all()
    process.requests()
    process.node.tick()
    assert (process.tail().reset, process.tail().missing) == (6, 0)
    process.deliver()
    assert process.exporter.run.locust_total == 7


def test_without_a_runner_locust_counts_nothing(process: Process) -> None:
    """In `run_single_user` there is nothing to compare with, and there are no users to count."""
    process.environment.runner = None
    process.requests(2)
    process.node.flush()
    assert process.tail().missing is None
    taken = process.deliver()
    assert taken.run is not None
    assert (taken.run.users, taken.run.state, taken.health.unreconciled) == ({}, "running", None)


def test_what_happened_goes_once(process: Process) -> None:
    """Exceptions of tasks and slow requests are told with the next report, so many at a time."""
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
    taken = process.deliver().run
    assert taken is not None
    assert taken.requests.user_errors == {("Shopper", "KeyError"): 12, ("Shopper", "OSError"): 1}


def test_slow_requests_beyond_the_limit_are_counted(process: Process) -> None:
    """The latest ones are told, and how many others there were, once."""
    process.requests(EVENTS_PER_REPORT + 7, response_time=6_000)
    process.node.tick()
    assert (len(process.tail().slow), process.tail().slow_dropped) == (EVENTS_PER_REPORT, 7)
    process.node.tick()
    assert (len(process.tail().slow), process.tail().slow_dropped) == (0, 0)


def test_memory_for_events_is_bounded(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be told, exceptions of tasks are counted, and only so many are kept."""
    monkeypatch.setattr(process.node, "_user_error_rate", SimpleNamespace(allows=lambda: True))
    for _ in range(1_000):
        process.node.on_user_error(user_instance=user(), exception=KeyError())
    assert len(process.node._events) == 200
    assert process.node.recorder.requests.user_errors == {("Shopper", "KeyError"): 1_000}


def test_status(process: Process) -> None:
    """What Locust's runner says, in the words of the catalogue."""
    process.link.said.clear()
    process.node.flush()
    taken = process.deliver().run
    assert taken is not None
    assert (taken.state, taken.users, taken.users_target) == (
        "running", {"Shopper": 3, "Admin": 0}, {"Shopper": 3, "Admin": 1},
    )  # fmt: skip


def test_before_the_first_run() -> None:
    """The process itself is there already; there is nothing to report, and a reset changes nothing."""
    process = Process()
    process.node.on_reset()
    process.node.tick()
    process.node.flush()
    (name,) = process.link.names()
    assert name == frames.STATUS
    assert process.link.only(frames.STATUS)[0]["run_id"] == ""
    assert process.deliver().run is None


def test_marks(process: Process) -> None:
    """A mark is told with the run and its time."""
    run = process.node.run
    assert run is not None
    assert process.node.mark(run, "db killed", "fault")
    run_id, text, kind, timestamp = process.link.only(frames.MARK)
    assert (run_id, text, kind) == (run.run_id, "db killed", "fault")
    assert timestamp >= run.start_time


def test_without_a_link() -> None:
    """A process without an exporter of its own counts, and keeps nothing to tell."""
    node = LocalNode(environment(), flags(run_id="mine"), Link())
    node._begin(Order("mine", 5.0, 200, None, [], []))
    fire(node.recorder.on_request, [event()] * 3, user())
    node.tick()
    assert node.recorder.requests.measured == 3
    assert node.recorder.requests.followers == []
