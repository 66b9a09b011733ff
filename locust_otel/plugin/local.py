"""A process that runs users on its own account: records their requests and reports them to the exporter beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple

import gevent

from locust_otel.core.events import USER_ERROR, Event, RateLimit
from locust_otel.core.settings import Flags, new_run_id
from locust_otel.plugin import runners
from locust_otel.plugin.generator import Generator, host_name
from locust_otel.plugin.link import Link, NoLink
from locust_otel.plugin.pacing import Pacing
from locust_otel.plugin.propagation import Propagator
from locust_otel.plugin.recorder import Recorder
from locust_otel.plugin.reporter import SERIES_PER_PIECE, Reporter
from locust_otel.plugin.series import Requests
from locust_otel.wire import frames
from locust_otel.wire.report import EVENTS_PER_REPORT, encode_counts, encode_event, encode_slow

logger = logging.getLogger(__name__)

A_TURN_S = 1e-6
"""Seconds to sleep to let users run between two pieces of a report. Not 0: gevent then goes on from its own list, 50
entries of it, before it looks at any socket or timer."""

_MAX_EVENTS = 200  # that wait for a report; further ones are dropped, their requests are counted all the same


class Order(NamedTuple):
    """What every process must agree on to record one run.

    Attributes:
        run_id: Its identity.
        slow_s: Seconds above which a request is slow.
        max_names: Methods and names with series of their own.
        trace_ratio: Share of requests whose `traceparent` says sampled; None to send none.
        thresholds_s: Seconds that objectives need as bounds of the histogram.
        kept_names: Names that objectives need series of, however many others there are.
    """

    run_id: str
    slow_s: float
    max_names: int
    trace_ratio: float | None
    thresholds_s: list[float]
    kept_names: list[str]

    @classmethod
    def of(cls, run_id: str, ready: Mapping[str, Any]) -> Order:
        """Return how a run is to be recorded, as the exporter said when it was ready."""
        return cls(run_id, *(ready[name] for name in cls._fields[1:]))

    def requests(self) -> Requests:
        """Return the empty requests of the run."""
        return Requests(
            slow_s=self.slow_s, max_names=self.max_names, thresholds_s=self.thresholds_s, kept_names=self.kept_names
        )


@dataclass(slots=True)
class CurrentRun:
    """A run of this process.

    Attributes:
        order: How it is recorded.
        is_stopped: Whether its users have been told to stop.
        is_finished: Whether the exporter was told that nothing will be added.
    """

    order: Order
    start_time: float = field(default_factory=time)
    started_s: float = field(default_factory=monotonic)
    is_stopped: bool = False
    is_finished: bool = False

    @property
    def run_id(self) -> str:
        """Its identity."""
        return self.order.run_id


class RunIds:
    """Gives each run of a process an id of its own; a given one gets `-2`, `-3` from the second run on."""

    def __init__(self, given: str | None) -> None:
        self._given = given
        self._count = 0

    def next(self) -> str:
        """Return the id of the next run."""
        self._count += 1
        if self._given is None:
            return new_run_id()
        return self._given if self._count == 1 else f"{self._given}-{self._count}"


class LocalNode:
    """A process that runs users.

    Attributes:
        link: The exporter beside it.
        recorder: Records its requests.
        run: The current or last run; None before the first.
        merged_reports: Reports that were left out since the exporter had not read the one before.
    """

    is_worker = False
    is_master = False

    def __init__(self, environment: Any, flags: Flags, link: Link | NoLink, user_base: type) -> None:
        self.environment = environment
        self.link = link
        self.run: CurrentRun | None = None
        self.merged_reports = 0
        self.reset_away = 0
        self._flags = flags
        self._ids = RunIds(flags.run_id)
        self.recorder = Recorder(Requests(slow_s=flags.slow_s or 5.0, max_names=flags.max_names), user_base)
        self._reporter: Reporter | None = None
        self._events: list[Event] = []
        self._user_error_rate = RateLimit()
        self._generator = Generator(lambda: (self.recorder.requests.measured, self.recorder.requests.sum_s))
        self._propagator = Propagator()
        self._pacing = Pacing()
        self._counted_from = 0  # requests recorded when Locust's table was last emptied or reported

    @property
    def name(self) -> str:
        """Name of this process among the generating ones, `host-0`."""
        return f"{host_name()}-0"

    def start(self) -> None:
        """Start to measure the process."""
        self._generator.start()

    def stop(self) -> None:
        """Stop measuring."""
        self._generator.stop()

    def start_run(self) -> CurrentRun:
        """Begin a new run."""
        return self._begin(Order.of(self._ids.next(), self.link.ready))

    def _begin(self, order: Order) -> CurrentRun:
        self._propagator.ratio = order.trace_ratio
        if order.trace_ratio is not None:
            self._propagator.instrument(self.environment.user_classes)
        self._pacing.instrument(self.environment.user_classes)
        requests = order.requests()
        self.recorder.record_into(requests)
        self._generator.start_run()
        self._pacing.start_run()
        self._counted_from = self.reset_away = 0
        self._reporter = Reporter(order.run_id, requests) if isinstance(self.link, Link) else None
        self.run = CurrentRun(order)
        return self.run

    def info(self) -> dict[str, str]:
        """Return the labels of `locust_run_info` besides the run's id."""
        return run_info(self.environment, self._flags.run_labels)

    # Reports to the exporter.

    def tick(self) -> None:
        """Count and report what is new, with the loop given back to users after each piece."""
        requests = self.recorder.requests
        self.recorder.look_for_traces()
        while requests.tally(SERIES_PER_PIECE):
            gevent.sleep(A_TURN_S)
        reporter = self._reporter
        if reporter is None:
            return
        if not self.link.has_room:
            self.merged_reports += 1
            return
        for piece in reporter.pieces():
            if reporter is not self._reporter:  # a new run has begun meanwhile, and the old one was told whole
                return
            self.link.send(frames.REPORT, self.name, piece)
            gevent.sleep(A_TURN_S)
        self.link.send(frames.REPORT, self.name, reporter.last(self._tail(has_events=not self.is_worker)))

    def flush(self) -> None:
        """Report all that is recorded, in one go: users have ended."""
        self.recorder.requests.tally()
        if self._reporter is not None:
            for piece in self._reporter.pieces():
                self.link.send(frames.REPORT, self.name, piece)
            self.link.send(frames.REPORT, self.name, self._reporter.last(self._tail(has_events=not self.is_worker)))
        self.link.send(frames.STATUS, self.status())

    def status(self) -> dict[str, Any]:
        """Return what Locust's runner says now."""
        runner = self.environment.runner
        users = runners.users(runner)
        return {
            "run_id": self.run.run_id if self.run is not None else "",
            "state": runners.state(runner),
            "users": users,
            "users_target": runners.users_target(runner),
            "worker_users": {self.name: sum(users.values())},
            "merged_reports": self.merged_reports,
        }

    def _locust_total(self) -> int | None:
        if self.environment.runner is None:
            return None
        total: int = self.environment.stats.total.num_requests
        return total + self.reset_away

    def _tail(self, *, has_events: bool) -> dict[str, Any]:
        """Return what the last piece of a report says of this process.

        Args:
            has_events: Whether it takes along what has happened.
        """
        recorder, most = self.recorder, EVENTS_PER_REPORT if has_events else 0
        slow = [recorder.slow_requests.popleft() for _ in range(min(len(recorder.slow_requests), most))]
        dropped = 0
        if has_events:
            dropped, recorder.slow_requests_dropped = recorder.slow_requests_dropped, 0
        events, self._events = self._events[:most], self._events[most:]
        generator, pacing, locust_total = self._generator, self._pacing, self._locust_total()
        return {
            "is_over": self.run is not None and self.run.is_stopped,
            "reset": self.reset_away,
            "missing": None if locust_total is None else locust_total - self.recorder.requests.total,
            "errors": self.recorder.errors,
            "events": [encode_event(event) for event in events],
            "slow": [encode_slow(request) for request in slow],
            "slow_dropped": dropped,
            "vitals": [
                generator.cpu_ratio,
                generator.memory_bytes,
                generator.reasons,
                generator.lag_sum_s,
                encode_counts(generator.lag_counts, _positions(generator.lag_counts)),
                pacing.sum_s,
                encode_counts(pacing.counts, _positions(pacing.counts)),
            ],
        }

    # What happens to it.

    def on_reset(self) -> None:
        """Note the requests that Locust's table is about to forget, or has just forgotten."""
        if self.run is not None:
            total = self.recorder.requests.total
            self.reset_away += total - self._counted_from
            self._counted_from = total

    def on_user_error(self, user_instance: object, exception: BaseException, **_: object) -> None:
        """Count an exception that escaped from a task."""
        user = getattr(user_instance, "user", user_instance)  # Locust hands over the TaskSet that ran the task
        user_class, error_type = type(user).__name__, type(exception).__name__
        self.recorder.requests.count_user_error(user_class, error_type)
        if self._user_error_rate.allows() and len(self._events) < _MAX_EVENTS:
            attributes = {
                "run_id": self.run.run_id if self.run else "",
                "user_class": user_class,
                "error_type": error_type,
                "worker": self.name,
            }
            self._events.append(Event(USER_ERROR, f"{error_type} in a task of {user_class}", "ERROR", attributes))

    def mark(self, run: CurrentRun, text: str, kind: str) -> bool:
        """Mark something in a run that goes on; return whether that could be said."""
        self.link.send(frames.MARK, run.run_id, text, kind, time())
        return True

    def wait_for_last_requests(self) -> None:
        """Return when no request of a run that has stopped is still to come."""


def _positions(counts: Iterable[int]) -> list[int]:
    """Return the indexes of the counts that are not 0."""
    return [index for index, count in enumerate(counts) if count]


def run_info(environment: Any, run_labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of `locust_run_info` besides the run's id."""
    own = str(Path(__file__).parents[1] / "auto.py")
    files = [path for path in getattr(environment, "parsed_locustfiles", None) or () if path != own]
    labels = {
        "host": runners.without_credentials(environment.host or _host_of(environment.user_classes)),
        "locustfile": Path(files[0]).name if files else environment.locustfile or "",
        "profile": getattr(environment, "profile", None) or "",
        "version": version("locust"),
        **run_labels,
    }
    # File names and environment variables may hold bytes that are no UTF-8, as lone surrogates.
    return {name: value.encode("utf-8", "replace").decode() for name, value in labels.items()}


def _host_of(user_classes: Iterable[Any]) -> str:
    """Return the host that the user classes name themselves; empty where they name several or none."""
    hosts = {user_class.host for user_class in user_classes if getattr(user_class, "host", None)}
    return str(hosts.pop()) if len(hosts) == 1 else ""
