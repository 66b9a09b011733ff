"""Life of a Locust process: the steps at its start, around each run, and at its end."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from time import monotonic

import gevent

from locust_otel.core.errors import ExitCode
from locust_otel.core.events import SPAWNING_COMPLETE, Event
from locust_otel.plugin.node import CurrentRun, Node
from locust_otel.plugin.shutdown import Shutdown
from locust_otel.wire import frames
from locust_otel.wire.report import encode_event

logger = logging.getLogger(__name__)

TICK_S = 0.25
"""Seconds between two reports to the exporter."""

VERDICT_S = 2.0
"""Seconds in which the exporter must answer a question about the objectives."""

_TICKS_PER_STATUS = 4


class Life:
    """Listens to the events of one Locust environment, and reports to the exporter; see `start` and `close`."""

    def __init__(self, node: Node, *, freezes: bool) -> None:
        self._node = node
        self._freezes = freezes  # exclude the objects from before the first run from garbage collections
        self._shutdown = Shutdown()
        self._ticker = gevent.Greenlet(self._tick)

    @property
    def running(self) -> CurrentRun | None:
        """The active run; None without one."""
        run = self._node.run
        return None if run is None or run.is_stopped else run

    def start(self) -> None:
        """Start to measure and to report."""
        self._node.start()
        self._ticker.start()
        # Timers count from the loop's last turn, which was before all imports; --run-time would be shorter by that.
        gevent.get_hub().loop.update_now()

    def close(self, ask_last: Callable[[], object]) -> None:
        """Conclude the run and end the exporter; a second call waits for the first.

        `ask_last` asks the exporter for all answers that are needed after its end.
        """
        if not self._shutdown.begin():
            self._shutdown.wait_for_first()
            return
        if self._node.run is not None:
            grace_s = self._shutdown.grace_s
            self._finish(None if grace_s == float("inf") else grace_s)
        self._ticker.kill(block=False)
        self._shutdown.join(gevent.spawn(ask_last))
        self._node.link.close(self._shutdown.interrupted)
        self._node.stop()
        self._shutdown.end()

    # The listeners, in the order in which Locust fires their events.

    def on_test_start(self, **_: object) -> None:
        """Begin a new run."""
        node = self._node
        if node.run is not None:
            self._finish(None)
        if self._freezes:
            self._freezes = False
            # A full collection with Locust's imports stops every user for about 80 ms (measured 2026-11).
            gc.collect()
            gc.freeze()
        run = node.start_run()
        options, runner = node.environment.parsed_options, node.environment.runner
        facts = {
            "run_id": run.run_id,
            "start_time": run.start_time,
            "started_s": run.started_s,
            "info": node.info(),
            "slow_s": run.order.slow_s,
            "thresholds_s": run.order.thresholds_s,
            "group_names": run.order.group_names,
            "users_target": getattr(runner, "target_user_count", 1),
            "is_headless": bool(getattr(options, "headless", False)),
            "only_summary": bool(getattr(options, "only_summary", False)),
            "settings": {
                "users": getattr(runner, "target_user_count", None),
                "spawn_rate": getattr(runner, "spawn_rate", None) or getattr(options, "spawn_rate", None),
                "run_time_s": getattr(options, "run_time", None),
            },
        }
        node.link.send(frames.BEGIN, facts)
        node.link.send(frames.STATUS, node.status())

    def on_spawning_complete(self, user_count: int = 0, **_: object) -> None:
        """Send the event, and count the requests that `--reset-stats` has just dropped."""
        node, run = self._node, self._node.run
        if run is not None and not node.is_worker:
            attributes: dict[str, str | int | float] = {"run_id": run.run_id, "users": user_count}
            event = Event(SPAWNING_COMPLETE, f"All {user_count} users are running", attributes=attributes)
            node.link.send(frames.EVENT, encode_event(event))
            node.link.send(frames.STATUS, node.status())
        if getattr(node.environment, "reset_stats", False):
            node.on_reset()

    def on_test_stop(self, **_: object) -> None:
        """Stop the clock of the run; in a web UI, also conclude the run in the background."""
        run = self.running
        if run is not None:
            self._stop()
            if not getattr(self._node.environment.parsed_options, "headless", False):
                gevent.spawn(self._conclude, run)

    def on_abort(self, run_id: str) -> None:
        """Stop the run, as --slo-abort demands."""
        environment, run = self._node.environment, self._node.run
        if environment.runner is not None and run is not None and run.run_id == run_id:
            # With a web UI the process continues. In its own greenlet, which does not end with the run.
            gevent.spawn(environment.runner.quit if environment.web_ui is None else environment.runner.stop)

    def on_quitting(self, **_: object) -> None:
        """Note which greenlet ends the process: a signal has its own, and a second signal ends the waiting."""
        self._shutdown.quitting()

    def on_verdict(self, **_: object) -> None:
        """Set the exit code from the verdict, after all other listeners of `quitting`."""
        node, environment = self._node, self._node.environment
        if not node.link.ready.get("has_slo") or node.is_worker:
            return
        # The last requests are counted when the runner has quit; a listener of `quit` would set the code too late.
        if environment.runner is not None and not self._shutdown.drain(environment.runner.quit):
            environment.stop_timeout = 0  # Locust lets the runner quit a second time, and would wait for users again
        self._stop()
        node.flush()
        asking = gevent.spawn(self._verdict)
        self._shutdown.join(asking)
        code = asking.value
        if code or not environment.process_exit_code:  # a pass does not replace the code of the user's own listener
            environment.process_exit_code = int(code)

    def _verdict(self) -> int:
        try:
            return int(self._node.link.ask("verdict", timeout_s=VERDICT_S))
        except TimeoutError as error:
            logger.error("There is no verdict, so the exit code is %d: %s.", ExitCode.UNDECIDED, error)
            return ExitCode.UNDECIDED

    def _tick(self) -> None:
        ticks = 0
        due = monotonic()
        while True:
            due = max(due + TICK_S, monotonic())
            gevent.sleep(max(due - monotonic(), 1e-6))
            ticks += 1
            try:
                has_room = self._node.link.has_room
                self._node.tick()
                if ticks % _TICKS_PER_STATUS == 0 and has_room:
                    self._node.link.send(frames.STATUS, self._node.status())
            except Exception:  # our own bug must not end the reporting
                logger.exception("A report failed; the next one follows in %g s", TICK_S)

    def _stop(self) -> None:
        """Stop the clock of the run; a second call changes nothing."""
        run = self.running
        if run is not None:
            run.is_stopped = True
            self._node.link.send(frames.STOPPED, run.run_id, monotonic())

    def _finish(self, grace_s: float | None) -> None:
        """Report that the run is complete; a second call changes nothing."""
        run = self._node.run
        if run is None or run.is_finished:
            return
        self._stop()
        run.is_finished = True
        self._node.flush()
        self._node.link.send(frames.FINISH, run.run_id, grace_s)

    def _conclude(self, run: CurrentRun) -> None:
        """Conclude a stopped run in a process that continues, as in the web UI."""
        if self._shutdown.is_near:
            return
        self._node.wait_for_last_requests()
        if self._node.run is run and not self._shutdown.is_near:
            self._finish(None)
