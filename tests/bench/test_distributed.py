"""Cost of our part in a worker's report, compared with Locust's own part for the same requests.

Two workers report to one master every three seconds: 1,500 requests of 100 names and one user class in each report, one
in a hundred failed. Locust sends what is new since the last report, we send the state of each bucket that changed, so
ours may grow with the run: the first reports of a run and those five minutes into it are measured apart. The master
decodes Locust's part and merges it; it decodes our part, which is bytes, and writes them to its exporter's socket.

The clock of Locust's statistics advances with the reports, since its master copies response times at each new second.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from types import SimpleNamespace
from typing import Any

import locust.stats
import msgpack
import pytest
from locust.event import EventHook, Events
from locust.stats import RequestStats, setup_distributed_stats_event_listeners

from locust_otel.core.cardinality import Names
from locust_otel.core.histogram import layout
from locust_otel.core.settings import Flags, flags_of, values_of
from locust_otel.exporter.merged import Merged
from locust_otel.plugin.distributed import REPORT_KEY, RUN_OPTION, MasterNode, WorkerNode
from locust_otel.plugin.link import Link, Presence
from locust_otel.plugin.node import Order
from locust_otel.wire import frames
from locust_otel.wire.report import decode
from tests.bench import load
from tests.bench.figures import Figures
from tests.bench.sidebyside import Stopwatch

ORDER = Order("2026-11-22T07-17-03Z-3f9a", 5.0, 200, None, [], [])
NAMES = 100
REQUESTS = 1_500
INTERVAL_S = 3.0
WORKERS = 2
TICKS = 12
"""Tallies of a worker in an interval."""

REPORTS = 100
EARLY, LATE = range(1, 11), range(REPORTS - 10, REPORTS)
"""Measured reports of each worker: those of the first half minute without the first one, and of the fifth minute."""

ROUNDS = 7
"""Times the master's work is done over again."""


class LocustTime:
    """Replaces the `time` module in Locust's statistics."""

    def __init__(self) -> None:
        self.now = 1.79e9

    def time(self) -> float:
        """Return the moment set."""
        return self.now


def _flags(**given: object) -> Flags:
    return flags_of(values_of(None, given))


def _environment(**runner: Any) -> Any:
    """Return an environment with the parts of a runner that our nodes use."""
    environment: Any = load.environment()
    environment.parsed_options = SimpleNamespace(expect_workers=WORKERS)
    environment.runner = SimpleNamespace(register_message=lambda *_: None, clients=SimpleNamespace(all=[]), **runner)
    return environment


class Worker:
    """Makes requests and reports, once with Locust's listener and once with ours."""

    def __init__(self, index: int) -> None:
        self.client_id = f"host_{index:032x}"
        environment = _environment(client_id=self.client_id, worker_index=index)
        setattr(environment.parsed_options, RUN_OPTION, list(ORDER))
        self._stats = RequestStats()
        events = Events()
        setup_distributed_stats_event_listeners(events, self._stats)
        self._locust_report = events.report_to_master
        self._node = WorkerNode(environment, _flags(), Link())
        self._our_report = EventHook()
        self._our_report.add_listener(self._node.on_report_to_master)
        self._node.start_run()
        self._rng = random.Random(index)
        self._endpoints = load.endpoints(NAMES)
        self._weights = [1 / (1 + rank) ** 0.5 for rank in range(NAMES)]  # the busiest is asked for ten times as often

    def work(self, time: LocustTime) -> None:
        """Make the requests of one interval."""
        rng, start = self._rng, time.now
        on_request = self._node.recorder.on_request
        for number, endpoint in enumerate(rng.choices(self._endpoints, self._weights, k=REQUESTS)):
            time.now = start + INTERVAL_S * number / REQUESTS
            event = endpoint.event(rng) if rng.random() > 0.01 else endpoint.failed_event(rng)
            self._stats.log_request(
                event["request_type"], event["name"], event["response_time"], event["response_length"]
            )
            if event["exception"]:
                self._stats.log_error(event["request_type"], event["name"], event["exception"])
            on_request(**event)
            if number % (REQUESTS // TICKS) == 0:
                self._node.tick()
        time.now = start + INTERVAL_S

    def report(self) -> Report:
        """Report what was done."""
        data: dict[str, Any] = {}
        theirs_s = _timed(lambda: self._locust_report.fire(client_id=self.client_id, data=data))
        theirs = data.copy()
        ours_s = _timed(lambda: self._our_report.fire(client_id=self.client_id, data=data))
        ours = {REPORT_KEY: data[REPORT_KEY]}
        return Report(self.client_id, msgpack.dumps(theirs), msgpack.dumps(ours), theirs_s, ours_s)


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one worker, as msgpack, and the seconds it took the worker to make."""

    client_id: str
    theirs: bytes
    ours: bytes
    making_theirs_s: float
    making_ours_s: float


@dataclass(slots=True)
class Merging:
    """Seconds that the master needed for each report in one round, in the order sent."""

    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)


def _timed(function: Callable[[], object]) -> float:
    watch = Stopwatch()
    function()
    return watch.seconds()


def _decoded(message: bytes) -> dict[str, Any]:
    """Return a message as Locust reads it."""
    result: dict[str, Any] = msgpack.loads(message, raw=False, strict_map_key=False)
    return result


@pytest.fixture(scope="module")
def reports() -> Iterator[list[Report]]:
    """Give the reports of two workers over five minutes, in the order sent."""
    time = LocustTime()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locust.stats, "time", time)
        workers = [Worker(index) for index in range(WORKERS)]
        result = []
        for _ in range(REPORTS):
            start = time.now
            for worker in workers:
                time.now = start
                worker.work(time)
                result.append(worker.report())
        yield result


class Master:
    """Takes reports, once with Locust's listener and once with ours."""

    def __init__(self) -> None:
        environment = _environment()
        self._link = Link()
        self._link._presence = Presence.PRESENT
        self._link.ready = ORDER._asdict()
        self._node = MasterNode(environment, _flags(run_id=ORDER.run_id), self._link)
        self._node.start_run()
        self._our_report = EventHook()
        self._our_report.add_listener(self._node.on_worker_report)
        self._to_exporter, self._exporter = socket.socketpair()
        self._stats = RequestStats()
        events = Events()
        setup_distributed_stats_event_listeners(events, self._stats)
        self._locust_report: EventHook = events.worker_report
        self._sent = bytearray()
        self.merging = Merging()

    def merge(self, report: Report) -> None:
        """Merge a report of this run."""
        client_id, merging = report.client_id, self.merging
        data: dict[str, Any] = {}

        def theirs() -> None:
            data.update(_decoded(report.theirs))
            self._locust_report.fire(client_id=client_id, data=data)

        def ours() -> None:
            data.update(_decoded(report.ours))
            self._our_report.fire(client_id=client_id, data=data)
            self._to_exporter.sendall(self._link._log[-1])

        merging.theirs.append(_timed(theirs))
        merging.ours.append(_timed(ours))
        self._sent += self._exporter.recv(1 << 20)

    def close(self) -> int:
        """Close it; return the requests of an exporter that took what it sent: those that Locust counted."""
        merged = Merged(layout((ORDER.slow_s,)), ORDER.slow_s, Names(ORDER.max_names))
        for name, client_id, _, pieces in frames.Frames().feed(bytes(self._sent)):
            assert name == frames.WORKER
            for piece in pieces:
                merged.merge(client_id, decode(piece))
        self._to_exporter.close()
        self._exporter.close()
        taken, total = merged.snapshot(), self._stats.total
        assert taken.total == total.num_requests > 0
        assert sum(taken.errors.values()) == total.num_failures > 0
        return taken.total


def test_report_costs_a_fraction_of_locusts_own(reports: list[Report], figures: Figures) -> None:
    """Our part of a report takes at most 0.1 of Locust's time and 0.3 of its bytes, early and late in a run."""
    rounds: list[Merging] = []
    for _ in range(ROUNDS):
        master = Master()
        for report in reports:
            master.merge(report)
        assert master.close() == len(reports) * REQUESTS
        rounds.append(master.merging)

    with figures.judged():
        for when, window in (("first reports of a run", EARLY), ("after 5 minutes", LATE)):
            measured = slice(window.start * WORKERS, window.stop * WORKERS)
            ours, theirs = (
                [sum(getattr(merging, side)[measured]) for merging in rounds] for side in ("ours", "theirs")
            )
            count = len(window) * WORKERS
            figures.at_most(
                f"master's CPU for a worker's report, against Locust's part, {when}",
                max(mine / other for mine, other in zip(ours, theirs, strict=True)),
                0.1,
                note=f"{max(ours) / count * 1e3:.3f} ms, Locust {max(theirs) / count * 1e3:.2f} ms",
            )
            sent = reports[measured]
            our_bytes = sum(len(report.ours) for report in sent) / count
            their_bytes = sum(len(report.theirs) for report in sent) / count
            figures.at_most(
                "  bytes of our part, against Locust's",
                our_bytes / their_bytes,
                0.3,
                note=f"{our_bytes / 1e3:.1f} kB, Locust {their_bytes / 1e3:.1f} kB",
            )
            figures.info(
                "  worker makes its part, against Locust",
                median(report.making_ours_s / report.making_theirs_s for report in sent),
                note=f"longest {max(report.making_ours_s for report in sent) * 1e3:.2f} ms, "
                f"Locust {max(report.making_theirs_s for report in sent) * 1e3:.2f} ms",
            )
