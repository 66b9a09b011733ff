"""A process that runs users: it records their requests and reports them to its exporter."""

from __future__ import annotations

from typing import Any

import gevent

from locust_otel.core.events import USER_ERROR, Event, RateLimit
from locust_otel.core.options import DEFAULT_SLOW_S
from locust_otel.core.settings import Flags
from locust_otel.plugin import runners
from locust_otel.plugin.generator import Generator, Pacing
from locust_otel.plugin.link import Link
from locust_otel.plugin.node import CurrentRun, Node, Order
from locust_otel.plugin.recorder import Recorder
from locust_otel.plugin.reporter import SERIES_PER_PIECE, Reporter
from locust_otel.plugin.series import Requests
from locust_otel.plugin.traces import Propagator
from locust_otel.wire import frames
from locust_otel.wire.report import EVENTS_PER_REPORT, encode_event

A_TURN_S = 1e-6
"""Seconds to sleep to let users run between two pieces of a report. Not 0: gevent would then take up to 50 entries of
its own list before it looks at any socket or timer."""

_MAX_EVENTS = 200  # that wait for a report; further ones are dropped, but their requests are counted


class LocalNode(Node):
    """A process that runs users."""

    def __init__(self, environment: Any, flags: Flags, link: Link) -> None:
        super().__init__(environment, flags, link)
        self.merged_reports = 0  # not sent, because the exporter had not read the one before
        self.reset_requests = 0  # requests of this run that Locust's table has dropped
        self.recorder = Recorder(Requests(slow_s=flags.slow_s or DEFAULT_SLOW_S, max_names=flags.max_names))
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
        return runners.own_name(self.environment.runner)

    def start(self) -> None:
        """Start to measure the process."""
        self._generator.start()

    def stop(self) -> None:
        """Stop measuring."""
        self._generator.stop()

    def start_run(self) -> CurrentRun:
        """Begin a new run."""
        return self._begin(Order.of(self._next_run_id(), self.link.ready))

    def _begin(self, order: Order) -> CurrentRun:
        self._propagator.ratio = order.trace_ratio
        if order.trace_ratio is not None:
            self._propagator.instrument(self.environment.user_classes)
        self._pacing.instrument(self.environment.user_classes)
        requests = Requests(
            slow_s=order.slow_s, max_names=order.max_names, thresholds_s=order.thresholds_s,
            kept_names=order.kept_names, group_names=order.group_names,
        )  # fmt: skip
        self.recorder.record_into(requests)
        self._generator.start_run()
        self._pacing.start_run()
        self._counted_from = self.reset_requests = 0
        self._reporter = Reporter(order.run_id, requests) if self.link.is_usable else None
        self.run = CurrentRun(order)
        return self.run

    # Reports to the exporter.

    def tick(self) -> None:
        """Count and report the changes; users run after each piece."""
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
            if reporter is not self._reporter:  # a new run has begun meanwhile; the old one was reported in full
                return
            self.link.send(frames.REPORT, self.name, piece)
            gevent.sleep(A_TURN_S)
        self._end_report(reporter)

    def flush(self) -> None:
        """Report everything that is recorded in one go, after the users have ended."""
        self.recorder.requests.tally()
        if self._reporter is not None:
            for piece in self._reporter.pieces():
                self.link.send(frames.REPORT, self.name, piece)
            self._end_report(self._reporter)
        super().flush()

    def _end_report(self, reporter: Reporter) -> None:
        tail = self._tail(0 if self.is_worker else EVENTS_PER_REPORT)  # the events of a worker go to its master
        self.link.send(frames.REPORT, self.name, reporter.last(tail))

    def status(self) -> dict[str, Any]:
        """Return the state and the users of Locust's runner."""
        status = super().status()
        users = sum(status["users"].values())
        return status | {"worker_users": {self.name: users}, "merged_reports": self.merged_reports}

    def _locust_total(self) -> int | None:
        if self.environment.runner is None:
            return None
        total: int = self.environment.stats.total.num_requests
        return total + self.reset_requests

    def _tail(self, max_events: int) -> dict[str, Any]:
        """Return the state of this process for the last piece of a report, with at most this many events."""
        recorder = self.recorder
        slow = [recorder.slow_requests.popleft() for _ in range(min(len(recorder.slow_requests), max_events))]
        dropped = 0
        if max_events:
            dropped, recorder.slow_requests_dropped = recorder.slow_requests_dropped, 0
        events, self._events = self._events[:max_events], self._events[max_events:]
        generator, pacing, locust_total = self._generator, self._pacing, self._locust_total()
        return {
            "is_over": self.run is not None and self.run.is_stopped,
            "reset": self.reset_requests,
            "missing": None if locust_total is None else locust_total - recorder.requests.total,
            "errors": recorder.errors,
            "events": [encode_event(event) for event in events],
            "slow": [encode_event(request) for request in slow],
            "slow_dropped": dropped,
            "vitals": [
                generator.cpu_ratio, generator.memory_bytes, generator.reasons, generator.lag_sum_s,
                dict(generator.lag_counts), pacing.sum_s, dict(pacing.counts),
            ],
        }  # fmt: skip

    # Listeners of Locust's events.

    def on_reset(self, **_: object) -> None:
        """Count the requests that Locust's table is about to drop, or has just dropped."""
        if self.run is not None:
            total = self.recorder.requests.total
            self.reset_requests += total - self._counted_from
            self._counted_from = total

    def on_user_error(self, user_instance: object, exception: BaseException, **_: object) -> None:
        """Count an exception that escaped from a task."""
        user = getattr(user_instance, "user", user_instance)  # Locust passes the TaskSet that ran the task
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
