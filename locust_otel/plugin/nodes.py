"""The processes that run users, and what each knows of a run.

A `LocalNode` records requests; a `WorkerNode` does that too and reports them to a master. They know Locust only by the
objects it hands over: environment, runner, messages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from locust_otel.core.catalogue import Scope
from locust_otel.core.events import USER_ERROR, Event, EventQueue, RateLimit
from locust_otel.core.families import ALL_SCOPES, WORKER_SCOPES
from locust_otel.core.settings import Settings, new_run_id
from locust_otel.core.snapshot import WorkerSnapshot
from locust_otel.exporter.slow_log import SlowLog
from locust_otel.plugin import runners
from locust_otel.plugin.generator import Generator, host_name
from locust_otel.plugin.pacing import Pacing
from locust_otel.plugin.propagation import Propagator
from locust_otel.plugin.recorder import Recorder
from locust_otel.plugin.run import Run, RunIds
from locust_otel.plugin.series import Aggregate
from locust_otel.wire.report import (
    EVENTS_PER_REPORT,
    NAMES_MESSAGE,
    REPORT_KEY,
    VERSION,
    Reporter,
    encode_event,
    sparse,
)

logger = logging.getLogger(__name__)

RUN_OPTION = "locust_otel_run"
"""Attribute of Locust's options that carries the master's run to the workers: Locust sends its options with every
order to spawn users, to late workers too, and so before their first request."""

PROVISIONAL = 5
"""A worker gives series to this many times `--max-request-names` until the master has told which ones they are."""


class Order(NamedTuple):
    """What every process must agree on to record one run.

    Attributes:
        run_id: Its identity.
        slow_s: Seconds above which a request is slow.
        max_names: Methods and names with series of their own.
        trace_ratio: As in `Settings`.
        thresholds_s: Seconds that objectives need as bounds of the histogram.
        kept_names: Names that objectives need series of, however many others there are.
    """

    run_id: str
    slow_s: float
    max_names: int
    trace_ratio: float | None
    thresholds_s: list[float]
    kept_names: list[str]

    def aggregate(self) -> Aggregate:
        """Return the empty aggregate of the run."""
        return Aggregate(
            slow_s=self.slow_s,
            max_names=self.max_names,
            thresholds_s=self.thresholds_s,
            kept_names=self.kept_names,
        )


def order_of(run_id: str, settings: Settings) -> Order:
    """Return how a run is to be recorded."""
    slo = settings.slo
    thresholds_s, names = (list(slo.thresholds_s), sorted(slo.names)) if slo is not None else ([], [])
    return Order(run_id, settings.slow_s, settings.max_names, settings.trace_ratio, thresholds_s, names)


class LocalNode:
    """A process that runs users on its own account.

    Attributes:
        events: What happened, to be pushed.
        recorder: Records its requests.
        run: The current or last run; None before the first.
    """

    is_worker = False
    scopes: frozenset[Scope] = ALL_SCOPES

    def __init__(self, environment: Any, settings: Settings, user_base: type) -> None:
        self.environment = environment
        self.settings = settings
        self.otlp = settings.otlp
        self.run: Run | None = None
        self.events = EventQueue()
        self.recorder = Recorder(Aggregate(slow_s=settings.slow_s, max_names=settings.max_names), user_base)
        self._ids = RunIds(settings.run_id, new_run_id)
        self._slow_log = SlowLog(self.recorder, self.events, lambda: (self.run.run_id if self.run else "", self.name))
        self._user_error_rate = RateLimit()
        self._generator = Generator(self._every_second)
        self._propagator = Propagator()
        self._pacing = Pacing()
        self._counted_from = 0  # requests recorded when Locust's table was last emptied or reported

    def start(self) -> None:
        """Start to measure the process."""
        self._generator.start()

    def stop(self) -> None:
        """Log what is left to log, and stop."""
        self._slow_log.flush()
        self._generator.stop()

    @property
    def port_offset(self) -> int:
        """Ports above the first that this process serves its own numbers on."""
        return 0

    @property
    def name(self) -> str:
        """Name of this process among the generating ones, `host-0`."""
        return f"{host_name()}-0"

    @property
    def errors(self) -> int:
        """Events and reports that could not be made sense of."""
        return self.recorder.errors

    def start_run(self) -> Run:
        """Begin a new run; the requests of the one before stay as they are."""
        return self._start_run(order_of(self._ids.next(), self.settings))

    def _start_run(self, order: Order) -> Run:
        self._propagator.ratio = order.trace_ratio
        if order.trace_ratio is not None:
            self._propagator.instrument(self.environment.user_classes)
        self._pacing.instrument(self.environment.user_classes)
        aggregate = order.aggregate()
        self.recorder.record_into(aggregate)
        self._generator.start_run()
        self._pacing.start_run()
        self._counted_from = 0
        self.run = Run(order.run_id, aggregate, run_info(self.environment, self.settings), self.settings.slo)
        return self.run

    def update_locust_total(self, run: Run) -> None:
        """Note how many requests Locust has counted in this run."""
        if self.environment.runner is not None:
            run.locust_total = self.environment.stats.total.num_requests + run.reset_away

    def on_reset(self) -> None:
        """Note the requests that Locust's table is about to forget, or has just forgotten."""
        if self.run is not None:
            total = self.run.aggregate.total()
            self.run.reset_away += total - self._counted_from
            self._counted_from = total

    def on_user_error(self, user_instance: object, exception: BaseException, **_: object) -> None:
        """Count an exception that escaped from a task."""
        user = getattr(user_instance, "user", user_instance)  # Locust hands over the TaskSet that ran the task
        user_class, error_type = type(user).__name__, type(exception).__name__
        self.recorder.aggregate.count_user_error(user_class, error_type)
        if self._user_error_rate.allows():
            attributes = {
                "run_id": self.run.run_id if self.run else "",
                "user_class": user_class,
                "error_type": error_type,
                "worker": self.name,
            }
            self.events.add(Event(USER_ERROR, f"{error_type} in a task of {user_class}", "ERROR", attributes))

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        """Return how the generating processes are that this one knows."""
        users = sum(runners.users(self.environment.runner).values())
        return (self._pacing.added_to(self._generator.snapshot(self.name, users)),)

    def worker_states(self) -> Mapping[str, int]:
        """Return the number of workers by state."""
        return {}

    @property
    def workers_expected(self) -> int | None:
        """Return how many workers there should be; None where there are none."""
        return None

    @property
    def unfinished(self) -> int:
        """Return how many workers still owe their last report."""
        return 0

    def wait_for_last_requests(self) -> None:
        """Return when no request of a run that has stopped is still to come."""

    def _every_second(self) -> tuple[int, float]:
        aggregate = self.recorder.aggregate
        aggregate.tally()
        self._slow_log.emit()
        series = aggregate.series.values()
        return sum(one.measured for one in series), sum(one.sum_s for one in series)


class WorkerNode(LocalNode):
    """A process that runs users for a master."""

    is_worker = True

    def __init__(self, environment: Any, settings: Settings, user_base: type) -> None:
        super().__init__(environment, settings, user_base)
        self.scopes = WORKER_SCOPES if settings.from_workers else frozenset()
        self.otlp = replace(settings.otlp, logs=None) if settings.otlp else None  # events go to the master
        self._reporter = Reporter()
        self._reported = 0  # requests of this run in the reports of Locust so far
        environment.runner.register_message(NAMES_MESSAGE, self._on_names)

    @property
    def port_offset(self) -> int:
        """Ports above the master's."""
        return 1 + max(int(self.environment.runner.worker_index), 0)

    @property
    def name(self) -> str:
        """Name of this worker, as the master has it."""
        runner = self.environment.runner
        return runners.worker_name(runner.client_id, runner.worker_index)

    def start_run(self) -> Run:
        """Begin the run the master has begun."""
        told = getattr(self.environment.parsed_options, RUN_OPTION, None)
        if told is None:
            logger.warning("The master runs without locust-otel: nobody merges what this worker records.")
        order = order_of(self._ids.next(), self.settings) if told is None else Order(*told)
        # Names get their place here in another order than on other workers; the master decides, and tells if need be.
        factor = 1 if self.settings.from_workers else PROVISIONAL
        run = self._start_run(order._replace(max_names=order.max_names * factor))
        self._reported = 0
        self._reporter.start(order.run_id, run.aggregate)
        return run

    def update_locust_total(self, run: Run) -> None:
        """Note how many requests Locust has counted in this run; each report empties its table."""
        super().update_locust_total(run)
        if run.locust_total is not None:
            run.locust_total += self._reported

    def on_report_to_master(self, data: dict[str, Any], **_: object) -> None:
        """Add our part to a report of Locust's."""
        run = self.run
        self._reported += data["stats_total"]["num_requests"]
        generator = self._generator
        data[REPORT_KEY] = {
            "v": VERSION,
            "runs": self._reporter.report(is_over=run is not None and run.stopped),
            "reset": run.reset_away if run else 0,
            "is_last": run is not None and run.stopped,
            "errors": self.recorder.errors,
            "events": self._told_events(),
            "vitals": [
                run.run_id if run else "",
                generator.cpu_ratio,
                generator.memory_bytes,
                list(generator.reasons),
                generator.lag_sum_s,
                sparse(generator.lag_counts),
                self._pacing.sum_s,
                sparse(self._pacing.counts),
            ],
        }
        if run is not None:
            self._counted_from = run.aggregate.total()

    def _told_events(self) -> list[list[Any]]:
        events = self.events.peek(EVENTS_PER_REPORT)
        self.events.remove(len(events))
        return [encode_event(event) for event in events]

    def _on_names(self, msg: Any, **_: object) -> None:
        run_id, names = msg.data
        if self.run is not None and self.run.run_id == run_id:
            self.run.aggregate.admit_only((method, name) for method, name in names)


def run_info(environment: Any, settings: Settings) -> dict[str, str]:
    """Return the labels of `locust_run_info` besides the run's id."""
    own = str(Path(__file__).parents[1] / "auto.py")
    files = [path for path in getattr(environment, "parsed_locustfiles", None) or () if path != own]
    labels = {
        "host": runners.without_credentials(environment.host or _host_of(environment.user_classes)),
        "locustfile": Path(files[0]).name if files else environment.locustfile or "",
        "profile": getattr(environment, "profile", None) or "",
        "version": version("locust"),
        **settings.run_labels,
    }
    # File names and environment variables may hold bytes that are no UTF-8, as lone surrogates.
    return {name: value.encode("utf-8", "replace").decode() for name, value in labels.items()}


def _host_of(user_classes: Iterable[Any]) -> str:
    """Return the host that the user classes name themselves; empty where they name several or none."""
    hosts = {user_class.host for user_class in user_classes if getattr(user_class, "host", None)}
    return str(hosts.pop()) if len(hosts) == 1 else ""
