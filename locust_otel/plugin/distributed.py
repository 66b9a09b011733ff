"""A distributed run: workers, which run users and report on Locust's own messages, and the master they report to."""

from __future__ import annotations

import logging
from itertools import chain
from time import monotonic, time
from typing import Any

import gevent
from locust.runners import WORKER_REPORT_INTERVAL

from locust_otel.core.marks import cleaned
from locust_otel.core.settings import Flags
from locust_otel.plugin import runners
from locust_otel.plugin.link import Link
from locust_otel.plugin.local import A_TURN_S, LocalNode
from locust_otel.plugin.node import CurrentRun, Node, Order
from locust_otel.plugin.reporter import Reporter
from locust_otel.wire import frames
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
_HEALING_TICKS = 240  # within as many, a minute, every series is told again, changed or not
_PACKED_BEFORE_S = 0.4  # ahead of a report, so that only the rest is left to be made when Locust asks for it


class WorkerNode(LocalNode):
    """A process that runs users for a master."""

    is_worker = True

    def __init__(self, environment: Any, flags: Flags, link: Link) -> None:
        super().__init__(environment, flags, link)
        self._to_master: Reporter | None = None
        self._pieces: list[bytes] = []  # made ahead of the next report
        self._leftovers: list[list[bytes]] = []  # of runs before, for as many reports
        self._farewells = 0
        self._reported_s = monotonic()
        self._reported = 0  # requests of this run in the reports of Locust so far
        environment.runner.register_message(NAMES_MESSAGE, self._on_names)

    def start_run(self) -> CurrentRun:
        """Begin the run that the master has begun."""
        told = getattr(self.environment.parsed_options, RUN_OPTION, None)
        if told is None:
            logger.warning("The master runs without locust-otel: nobody merges what this worker records.")
            flags = self._flags
            order = Order(self._next_run_id(), flags.slow_s or 5.0, flags.max_names, None, [], [], flags.group_names)
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
        if monotonic() - self._reported_s >= WORKER_REPORT_INTERVAL - _PACKED_BEFORE_S and not self._pieces:
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


class MasterNode(Node):
    """A process that has users run by workers."""

    def __init__(self, environment: Any, flags: Flags, link: Link) -> None:
        super().__init__(environment, flags, link)
        options = environment.parsed_options
        self._workers = runners.KnownWorkers(environment.runner, getattr(options, "expect_workers", None) or 0)
        self._last_status: dict[str, Any] = {}
        environment.runner.register_message(MARK_MESSAGE, self._on_mark)

    def start_run(self) -> CurrentRun:
        """Begin a new run, here and with the next order to spawn on every worker."""
        order = Order.of(self._next_run_id(), self.link.ready)
        self._workers.forget_lost()
        setattr(self.environment.parsed_options, RUN_OPTION, list(order))
        self.run = CurrentRun(order)
        return self.run

    def tick(self) -> None:
        """Look who is there; more often than Locust's heartbeat, once a second."""
        self._workers.update()

    def status(self) -> dict[str, Any]:
        """Return the state and the users of Locust's runner, and its workers."""
        workers = self._workers
        workers.update()
        return super().status() | {
            "worker_states": workers.states,
            "workers_expected": workers.expected,
            "worker_names": workers.names(),
            "worker_users": {node.id: node.user_count for node in self.environment.runner.clients.all},
        }

    def on_worker_report(self, client_id: str, data: dict[str, Any], **_: object) -> None:
        """Hand our part of a worker's report to the exporter, unread."""
        self.link.send(frames.WORKER, client_id, data["stats_total"]["num_requests"], data.get(REPORT_KEY))

    def tell_names(self, client_id: str, run_id: str, names: list[Any]) -> None:
        """Tell a worker which methods and names have series of their own."""
        self.environment.runner.send_message(NAMES_MESSAGE, [run_id, names], client_id=client_id)

    def wait_for_last_requests(self) -> None:
        """Wait until each worker must have sent the report after its users' end."""
        gevent.sleep(WORKER_REPORT_INTERVAL + 1)

    def _on_mark(self, msg: Any, **_: object) -> None:
        """Mark what a worker says; what makes no sense is left out, and said."""
        try:
            run_id, text, kind = msg.data
            mark, word = cleaned(text, kind)
            self.link.send(frames.MARK, str(run_id), mark, word, time())
        except (ValueError, TypeError) as error:  # an exception out of here would end Locust's listening to its workers
            logger.warning("A worker's mark was refused: %s", error)
