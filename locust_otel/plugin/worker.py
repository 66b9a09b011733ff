"""A process that runs users for a master, and reports to it on Locust's own messages."""

from __future__ import annotations

import logging
from itertools import chain
from time import monotonic
from typing import Any

import gevent

from locust_otel.core.settings import Flags
from locust_otel.plugin import runners
from locust_otel.plugin.link import Link, NoLink
from locust_otel.plugin.local import A_TURN_S, LocalNode
from locust_otel.plugin.node import CurrentRun, Order
from locust_otel.plugin.reporter import Reporter
from locust_otel.wire.report import encode

logger = logging.getLogger(__name__)

REPORT_KEY = "locust_otel"
"""Where our part stands in Locust's report to the master: a list of pieces, as bytes."""

NAMES_MESSAGE = "locust_otel.names"
"""Message of the master: the methods and names that have series of their own, once there are too many."""

MARK_MESSAGE = "locust_otel.mark"
"""Message to the master: run, mark and kind. Not a part of a report, which comes only every three seconds."""

RUN_OPTION = "locust_otel_run"
"""Attribute of Locust's options that carries the master's run to the workers: Locust sends its options with every
order to spawn users, to late workers too, and so before their first request."""

PROVISIONAL = 5
"""A worker gives series to this many times `--max-request-names` until the master has told which ones they are."""

_FAREWELL_REPORTS = 2  # reports in which a run that is over is told whole
_HEALING_TICKS = 120  # within as many, half a minute, every series is told again, changed or not
_PACKED_BEFORE_S = 0.4  # ahead of a report, so that only the rest is left to be made when Locust asks for it


class WorkerNode(LocalNode):
    """A process that runs users for a master.

    Args:
        report_interval_s: Seconds between two reports of Locust to its master.
    """

    is_worker = True

    def __init__(
        self, environment: Any, flags: Flags, link: Link | NoLink, user_base: type, report_interval_s: float
    ) -> None:
        super().__init__(environment, flags, link, user_base)
        self._report_interval_s = report_interval_s
        self._to_master: Reporter | None = None
        self._pieces: list[bytes] = []  # made ahead of the next report
        self._leftovers: list[list[bytes]] = []  # of runs before, for as many reports
        self._farewells = 0
        self._reported_s = monotonic()
        self._reported = 0  # requests of this run in the reports of Locust so far
        environment.runner.register_message(NAMES_MESSAGE, self._on_names)

    @property
    def name(self) -> str:
        """Name of this worker, as the master has it."""
        runner = self.environment.runner
        return runners.worker_name(runner.client_id, runner.worker_index)

    def start_run(self) -> CurrentRun:
        """Begin the run that the master has begun."""
        told = getattr(self.environment.parsed_options, RUN_OPTION, None)
        if told is None:
            logger.warning("The master runs without locust-otel: nobody merges what this worker records.")
            order = Order(self._next_run_id(), self._flags.slow_s or 5.0, self._flags.max_names, None, [], [])
        else:
            order = Order(*told)
        if self._to_master is not None and self._farewells:
            whole = self._whole()
            self._leftovers = [whole] * self._farewells
        # Names get their place here in another order than on other workers; the master decides, and tells if need be.
        factor = 1 if self._flags.from_workers else PROVISIONAL
        run = self._begin(order._replace(max_names=order.max_names * factor))
        self._to_master = Reporter(order.run_id, self.recorder.requests)
        self._farewells, self._reported, self._pieces = _FAREWELL_REPORTS, 0, []
        return run

    def tick(self) -> None:
        """Count and report what is new; a report to the master is made ahead, piece by piece."""
        super().tick()
        if self._to_master is None:
            return
        self._to_master.heal(_HEALING_TICKS)
        if monotonic() - self._reported_s >= self._report_interval_s - _PACKED_BEFORE_S and not self._pieces:
            pieces, reporter = self._pieces, self._to_master
            for piece in reporter.pieces():
                if pieces is not self._pieces:  # it went out meanwhile, or a new run has begun
                    self._pieces.append(piece)
                    return
                pieces.append(piece)
                gevent.sleep(A_TURN_S)

    def on_report_to_master(self, data: dict[str, Any], **_: object) -> None:
        """Add our part to a report of Locust's."""
        run = self.run
        self._reported += data["stats_total"]["num_requests"]
        self._reported_s = monotonic()
        parts = list(chain.from_iterable(self._leftovers[:1]))
        self._leftovers = self._leftovers[1:]
        if self._to_master is None:
            parts.append(encode("", 0, [], tail=self._tail(has_events=True)))
        elif run is not None and run.is_stopped and self._farewells:
            self._farewells -= 1
            parts += [*self._whole(), self._to_master.last(self._tail(has_events=True))]
        else:
            self.recorder.requests.tally()
            parts += [*self._pieces, *self._to_master.pieces(), self._to_master.last(self._tail(has_events=True))]
        self._pieces = []
        data[REPORT_KEY] = parts
        if run is not None:
            self._counted_from = self.recorder.requests.total

    def mark(self, run: CurrentRun, text: str, kind: str) -> bool:
        """Have the master mark something; return whether it could be told."""
        try:
            self.environment.runner.send_message(MARK_MESSAGE, [run.run_id, text, kind])
        except Exception as error:  # the load goes on without the mark
            logger.warning("Not marked, since the master cannot be told: %r", error)
            return False
        return True

    def _whole(self) -> list[bytes]:
        """Return all that is recorded in this run."""
        assert self._to_master is not None  # noqa: S101  # for the type checker
        self.recorder.requests.tally()
        self._to_master.touch_all()
        return list(self._to_master.pieces())

    def _locust_total(self) -> int | None:
        total = super()._locust_total()  # each report empties Locust's own table
        return None if total is None else total + self._reported

    def _on_names(self, msg: Any, **_: object) -> None:
        run_id, names = msg.data
        if self.run is not None and self.run.run_id == run_id:
            self.recorder.requests.names.admit_only((method, name) for method, name in names)
