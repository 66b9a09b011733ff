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
from locust_otel.plugin.local import CurrentRun, Order, RunIds, run_info
from locust_otel.plugin.worker import MARK_MESSAGE, NAMES_MESSAGE, REPORT_KEY, RUN_OPTION
from locust_otel.wire import frames

logger = logging.getLogger(__name__)


class MasterNode:
    """A process that has users run by workers.

    Attributes:
        link: The exporter beside it.
        run: The current or last run; None before the first.
    """

    is_worker = False
    is_master = True
    name = ""

    def __init__(self, environment: Any, flags: Flags, link: Link, report_interval_s: float) -> None:
        self.environment = environment
        self.link: Link | NoLink = link
        self.run: CurrentRun | None = None
        self._flags = flags
        self._ids = RunIds(flags.run_id)
        self._report_interval_s = report_interval_s
        options = environment.parsed_options
        self._workers = runners.KnownWorkers(environment.runner, getattr(options, "expect_workers", None) or 0)
        self._last_status: dict[str, Any] = {}
        environment.runner.register_message(MARK_MESSAGE, self._on_mark)

    def start(self) -> None:
        """Do nothing: this process generates no load, and so is not measured."""

    stop = start

    def start_run(self) -> CurrentRun:
        """Begin a new run, here and with the next order to spawn on every worker."""
        order = Order.of(self._ids.next(), self.link.ready)
        self._workers.forget_lost()
        setattr(self.environment.parsed_options, RUN_OPTION, list(order))
        self.run = CurrentRun(order)
        return self.run

    def info(self) -> dict[str, str]:
        """Return the labels of `locust_run_info` besides the run's id."""
        return run_info(self.environment, self._flags.run_labels)

    def tick(self) -> None:
        """Look who is there; more often than Locust's heartbeat, once a second."""
        self._workers.update()

    def flush(self) -> None:
        """Report all that is known."""
        self.link.send(frames.STATUS, self.status())

    def status(self) -> dict[str, Any]:
        """Return what Locust's runner says now."""
        runner, workers = self.environment.runner, self._workers
        workers.update()
        return {
            "run_id": self.run.run_id if self.run is not None else "",
            "state": runners.state(runner),
            "users": runners.users(runner),
            "users_target": runners.users_target(runner),
            "worker_states": workers.states,
            "workers_expected": workers.expected,
            "worker_names": workers.names(),
            "worker_users": {node.id: node.user_count for node in runner.clients.all},
        }

    def on_worker_report(self, client_id: str, data: dict[str, Any], **_: object) -> None:
        """Hand our part of a worker's report to the exporter, unread."""
        self.link.send(frames.WORKER, client_id, data["stats_total"]["num_requests"], data.get(REPORT_KEY))

    def tell_names(self, client_id: str, run_id: str, names: list[Any]) -> None:
        """Tell a worker which methods and names have series of their own."""
        self.environment.runner.send_message(NAMES_MESSAGE, [run_id, names], client_id=client_id)

    def on_reset(self) -> None:
        """Do nothing: what the workers report is counted as it comes, whatever Locust's table forgets."""

    def mark(self, run: CurrentRun, text: str, kind: str) -> bool:
        """Mark something in a run that goes on; return whether that could be said."""
        self.link.send(frames.MARK, run.run_id, text, kind, time())
        return True

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
