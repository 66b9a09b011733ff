"""A process that has users run by workers, and hands what they report to the exporter as it came."""

from __future__ import annotations

import logging
from time import time
from typing import Any

import gevent

from locust_otel.core.marks import cleaned
from locust_otel.core.settings import Flags
from locust_otel.plugin import runners
from locust_otel.plugin.link import Link, NoLink
from locust_otel.plugin.node import CurrentRun, Node, Order
from locust_otel.plugin.worker import MARK_MESSAGE, NAMES_MESSAGE, REPORT_KEY, RUN_OPTION
from locust_otel.wire import frames

logger = logging.getLogger(__name__)


class MasterNode(Node):
    """A process that has users run by workers."""

    def __init__(self, environment: Any, flags: Flags, link: Link | NoLink, report_interval_s: float) -> None:
        super().__init__(environment, flags, link)
        self._report_interval_s = report_interval_s
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
        gevent.sleep(self._report_interval_s + 1)

    def _on_mark(self, msg: Any, **_: object) -> None:
        """Mark what a worker says; what makes no sense is left out, and said."""
        try:
            run_id, text, kind = msg.data
            mark, word = cleaned(text, kind)
            self.link.send(frames.MARK, str(run_id), mark, word, time())
        except (ValueError, TypeError) as error:  # an exception out of here would end Locust's listening to its workers
            logger.warning("A worker's mark was refused: %s", error)
