"""The process that has users run by workers, and merges what they report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gevent

from locust_otel.core.events import EventQueue
from locust_otel.core.families import ALL_SCOPES, MASTER_SCOPES
from locust_otel.core.settings import Settings, new_run_id
from locust_otel.core.snapshot import WorkerSnapshot
from locust_otel.plugin import runners
from locust_otel.plugin.generator import LAG_LAYOUT
from locust_otel.plugin.nodes import RUN_OPTION, order_of, run_info
from locust_otel.plugin.pacing import SCHEDULE_LAYOUT, with_schedule
from locust_otel.plugin.run import Run, RunIds
from locust_otel.wire.report import (
    EVENTS_PER_REPORT,
    NAMES_MESSAGE,
    REPORT_KEY,
    VERSION,
    MergedRun,
    ReportError,
    count,
    decode_event,
    decode_vitals,
)

logger = logging.getLogger(__name__)


class MasterNode:
    """A process that has users run by workers and merges what they report.

    Attributes:
        events: What happened, here and on the workers, to be pushed.
        run: The current or last run; None before the first.
        errors: Reports that could not be made sense of.
    """

    is_worker = False
    port_offset = 0

    def __init__(self, environment: Any, settings: Settings, report_interval_s: float) -> None:
        self.environment = environment
        self.settings = settings
        self.otlp = settings.otlp
        self.scopes = MASTER_SCOPES if settings.from_workers else ALL_SCOPES
        self.run: Run | None = None
        self.events = EventQueue()
        self._ids = RunIds(settings.run_id, new_run_id)
        self._report_interval_s = report_interval_s
        self._merged: dict[str, MergedRun] = {}
        self._received: dict[str, int] = {}
        self._resets: dict[str, int] = {}
        self._unfinished: set[str] = set()
        self._vitals: dict[str, WorkerSnapshot] = {}
        self._worker_errors: dict[str, int] = {}
        self._refused = 0
        self._strangers: set[str] = set()
        options = environment.parsed_options
        self._workers = runners.Workers(environment.runner, getattr(options, "expect_workers", None) or 0)
        self._ticker: gevent.Greenlet | None = None

    @property
    def errors(self) -> int:
        """Events and reports that could not be made sense of, here and on the workers."""
        return self._refused + sum(self._worker_errors.values())

    def start(self) -> None:
        """Start to watch the workers."""
        self._ticker = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Stop watching."""
        if self._ticker is not None:
            self._ticker.kill(block=False)

    def start_run(self) -> Run:
        """Begin a new run, here and with the next order to spawn on every worker."""
        settings = self.settings
        run_id = self._ids.next()
        order = order_of(run_id, settings)
        aggregate = order.aggregate()
        last = self.run.run_id if self.run else None
        # The run before is kept for what its workers had not reported yet; nobody asks for an earlier one.
        self._merged = {key: merged for key, merged in self._merged.items() if key == last}
        self._merged[run_id] = MergedRun(run_id, aggregate)
        self._received = {run_id: 0}
        self._vitals = {}  # until they report from this run
        self._resets = {}
        self._unfinished = set()
        self._workers.forget_lost()
        setattr(self.environment.parsed_options, RUN_OPTION, list(order))
        self.run = Run(run_id, aggregate, run_info(self.environment, settings), settings.slo)
        return self.run

    def update_locust_total(self, run: Run) -> None:
        """Note how many requests the workers' own tables have counted in this run."""
        if run.run_id in self._received:
            run.locust_total = self._received[run.run_id] + sum(self._resets.values())

    def on_reset(self) -> None:
        """Do nothing: what the workers report is counted here as it comes, whatever Locust's table forgets."""

    def on_worker_report(self, client_id: str, data: dict[str, Any], **_: object) -> None:
        """Merge our part of a worker's report."""
        try:
            self._merge(client_id, data)
        except Exception as error:  # an exception out of here would change Locust's exit code
            self._refused += 1
            if client_id not in self._strangers:
                self._strangers.add(client_id)
                logger.error("A worker's report was refused: %s", error)

    def _merge(self, client_id: str, data: dict[str, Any]) -> None:
        counted = data["stats_total"]["num_requests"]
        part = data.get(REPORT_KEY)
        if part is None:
            if self.run is not None and counted:
                self._received[self.run.run_id] += counted
                raise ReportError(f"worker {client_id} runs without locust-otel; its requests are missing here")
            return
        if part.get("v") != VERSION:
            raise ReportError(
                f"worker {client_id} reports in version {part.get('v')!r}, this master reads version {VERSION}: "
                "install the same locust-otel on both"
            )
        runs = part["runs"]
        run_id = runs[-1]["id"] if runs else self.run.run_id if self.run else None
        if run_id in self._received:  # without a run too: what such a worker counted is missing here, and must show
            self._received[run_id] += counted
            self._resets[client_id] = count(part["reset"])
            self._unfinished.discard(client_id)
            if not part["is_last"]:
                self._unfinished.add(client_id)
        elif counted and run_id not in self._merged:
            raise ReportError(
                f"worker {client_id} still works in run {run_id}, which this master has not started; Locust adds its "
                "requests to the table all the same, they are not counted here"
            )
        self._worker_errors[client_id] = max(count(part["errors"]), self._worker_errors.get(client_id, 0))
        for told in part["events"][:EVENTS_PER_REPORT]:
            self.events.add(decode_event(told))
        self._vitals[client_id] = self._decode_vitals(client_id, part["vitals"])
        for report in runs:
            merged = self._merged.get(report["id"])
            if merged is not None and merged.merge(client_id, report):
                self._tell_names(client_id, merged)

    def _decode_vitals(self, client_id: str, vitals: list[Any]) -> WorkerSnapshot:
        lag_counts, delay_counts = LAG_LAYOUT.empty(), SCHEDULE_LAYOUT.empty()
        told = decode_vitals(vitals, len(lag_counts) - 1)
        worker = WorkerSnapshot(
            client_id, told.cpu_ratio, told.memory_bytes, 0, LAG_LAYOUT, lag_counts, 0.0, told.reasons
        )
        if self.run is None or told.run_id != self.run.run_id:  # the delays of a run before are none of this one
            return replace(worker, reasons=())
        for counts, known in ((lag_counts, told.lag_counts), (delay_counts, told.schedule_counts)):
            for index, number in known.items():
                counts[index] = number
        return with_schedule(replace(worker, lag_sum_s=told.lag_sum_s), delay_counts, told.schedule_sum_s)

    def _tell_names(self, client_id: str, merged: MergedRun) -> None:
        names = [list(pair) for pair in merged.aggregate.names]
        self.environment.runner.send_message(NAMES_MESSAGE, [merged.run_id, names], client_id=client_id)

    def on_user_error(self, **_: object) -> None:
        """Do nothing: no user runs here."""

    def workers(self) -> tuple[WorkerSnapshot, ...]:
        """Return how the workers are that are there and have reported."""
        nodes = self.environment.runner.clients
        return tuple(
            replace(vitals, worker=name, users=nodes[client_id].user_count if client_id in nodes else 0)
            for client_id, name in self._workers.names().items()
            if (vitals := self._vitals.get(client_id)) is not None
        )

    def worker_states(self) -> Mapping[str, int]:
        """Return the number of workers by state."""
        return self._workers.states

    @property
    def workers_expected(self) -> int | None:
        """Workers there should be."""
        return self._workers.expected

    @property
    def unfinished(self) -> int:
        """Workers from which the report after their users' end has not come."""
        return len(self._unfinished)

    def wait_for_last_requests(self) -> None:
        """Wait until each worker must have sent the report after its users' end."""
        gevent.sleep(self._report_interval_s + 1)

    def _watch(self) -> None:
        while True:
            self._workers.update()
            gevent.sleep(1)
