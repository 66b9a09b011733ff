"""A distributed run: workers run users and report in Locust's own messages; the master passes the reports on."""

from __future__ import annotations

import logging
from time import monotonic, time
from typing import Any

import gevent
from locust.runners import WORKER_REPORT_INTERVAL

from locust_otel.core.marks import cleaned
from locust_otel.core.options import DEFAULT_SLOW_S
from locust_otel.core.settings import Flags
from locust_otel.plugin import runners
from locust_otel.plugin.link import Link
from locust_otel.plugin.local import A_TURN_S, LocalNode
from locust_otel.plugin.node import CurrentRun, Node, Order
from locust_otel.plugin.reporter import Reporter
from locust_otel.wire import frames
from locust_otel.wire.report import EVENTS_PER_REPORT, encode

logger = logging.getLogger(__name__)

REPORT_KEY = "locust_otel"
"""Key of our part in Locust's report to the master; the value is a list of pieces, as bytes."""

NAMES_MESSAGE = "locust_otel.names"
"""Message of the master: the methods and names that keep their own series, once there are too many."""

MARK_MESSAGE = "locust_otel.mark"
"""Message to the master: run, mark and kind. Not a part of a report, since reports are sent only every 3 s."""

RUN_OPTION = "locust_otel_run"
"""Attribute of Locust's options that carries the master's run to the workers. Locust sends its options with every
order to spawn users, also to workers that join late, so they arrive before the first request."""

PROVISIONAL = 5
"""A worker creates series for up to this many times `--max-request-names`, until the master sends the names."""

_FINAL_REPORTS = 2  # reports that repeat all of a run after its end
_HEALING_TICKS = 240  # a minute, in which every series is repeated once, even if it has not changed
_AHEAD_S = 0.4  # before a report is due its pieces are encoded, so that little is left when Locust asks for it


class WorkerNode(LocalNode):
    """A process that runs users for a master."""

    is_worker = True

    def __init__(self, environment: Any, flags: Flags, link: Link) -> None:
        super().__init__(environment, flags, link)
        self._to_master: Reporter | None = None
        self._pieces: list[bytes] = []  # encoded ahead of the next report
        self._previous: list[list[bytes]] = []  # all of the run before, for each report that has to repeat it
        self._final_reports = 0  # left for the current run
        self._reported_s = monotonic()
        self._reported = 0  # requests of this run in the reports of Locust so far
        environment.runner.register_message(NAMES_MESSAGE, self._on_names)

    def start_run(self) -> CurrentRun:
        """Begin the run that the master has begun."""
        fields = getattr(self.environment.parsed_options, RUN_OPTION, None)
        if fields is None:
            logger.warning("The master runs without locust-otel: no process merges the numbers of this worker.")
            flags = self._flags
            fields = (
                self._next_run_id(), flags.slow_s or DEFAULT_SLOW_S, flags.max_names, None, [], [], flags.group_names
            )  # fmt: skip
        order = Order(*fields)
        if self._to_master is not None and self._final_reports:
            self._previous = [self._to_master.complete()] * self._final_reports
        # Workers see names in different orders; the master decides which names keep their series.
        factor = 1 if self._flags.from_workers else PROVISIONAL
        run = self._begin(order._replace(max_names=order.max_names * factor))
        self._to_master = Reporter(order.run_id, self.recorder.requests)
        self._final_reports, self._reported, self._pieces = _FINAL_REPORTS, 0, []
        return run

    def tick(self) -> None:
        """Count and report the changes; encode a report to the master ahead of time, piece by piece."""
        super().tick()
        if self._to_master is None:
            return
        self._to_master.heal(_HEALING_TICKS)
        if monotonic() - self._reported_s >= WORKER_REPORT_INTERVAL - _AHEAD_S and not self._pieces:
            for piece in self._to_master.pieces():
                self._pieces.append(piece)  # to a new list, if a report was sent meanwhile
                gevent.sleep(A_TURN_S)

    def on_report_to_master(self, data: dict[str, Any], **_: object) -> None:
        """Add our part to a report of Locust's."""
        run, reporter = self.run, self._to_master
        self._reported += data["stats_total"]["num_requests"]
        self._reported_s = monotonic()
        tail = self._tail(EVENTS_PER_REPORT)
        parts = list(self._previous.pop(0)) if self._previous else []
        if run is None or reporter is None:
            parts.append(encode("", 0, [], tail=tail))
        elif run.is_stopped and self._final_reports:
            self._final_reports -= 1
            parts += [*reporter.complete(), reporter.last(tail)]
        else:
            self.recorder.requests.tally()
            parts += [*self._pieces, *reporter.pieces(), reporter.last(tail)]
        self._pieces = []
        data[REPORT_KEY] = parts
        if run is not None:
            self._counted_from = self.recorder.requests.total

    def mark(self, run: CurrentRun, text: str, kind: str) -> bool:
        """Send a mark to the master; return whether it was sent."""
        try:
            self.environment.runner.send_message(MARK_MESSAGE, [run.run_id, text, kind])
        except Exception as error:  # the load continues without the mark
            logger.warning("The mark was not sent to the master: %r", error)
            return False
        return True

    def _locust_total(self) -> int | None:
        total = super()._locust_total()  # each report empties Locust's own table
        return None if total is None else total + self._reported

    def _on_names(self, msg: Any, **_: object) -> None:
        run_id, names = msg.data
        if self.run is not None and self.run.run_id == run_id:
            self.recorder.requests.names.admit_only((method, name) for method, name in names)


class MasterNode(Node):
    """A process whose workers run the users."""

    def __init__(self, environment: Any, flags: Flags, link: Link) -> None:
        super().__init__(environment, flags, link)
        options = environment.parsed_options
        self._workers = runners.KnownWorkers(environment.runner, getattr(options, "expect_workers", None) or 0)
        environment.runner.register_message(MARK_MESSAGE, self._on_mark)

    def start_run(self) -> CurrentRun:
        """Begin a new run here, and on every worker with the next order to spawn users."""
        order = Order.of(self._next_run_id(), self.link.ready)
        self._workers.forget_lost()
        setattr(self.environment.parsed_options, RUN_OPTION, list(order))
        self.run = CurrentRun(order)
        return self.run

    def tick(self) -> None:
        """Update the list of workers, more often than Locust's heartbeat of one second."""
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
        """Pass our part of a worker's report to the exporter, without decoding it."""
        self.link.send(frames.WORKER, client_id, data["stats_total"]["num_requests"], data.get(REPORT_KEY))

    def tell_names(self, client_id: str, run_id: str, names: list[Any]) -> None:
        """Send a worker the methods and names that keep their own series."""
        self.environment.runner.send_message(NAMES_MESSAGE, [run_id, names], client_id=client_id)

    def wait_for_last_requests(self) -> None:
        """Wait until each worker must have sent the report after the end of its users."""
        gevent.sleep(WORKER_REPORT_INTERVAL + 1)

    def _on_mark(self, msg: Any, **_: object) -> None:
        """Pass a worker's mark to the exporter; log and drop an invalid one."""
        try:
            run_id, text, kind = msg.data
            mark, word = cleaned(text, kind)
            self.link.send(frames.MARK, str(run_id), mark, word, time())
        except (ValueError, TypeError) as error:  # an exception here would end Locust's listener for its workers
            logger.warning("A worker's mark was refused: %s", error)
