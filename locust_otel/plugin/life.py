"""The life of a Locust process: what is done at its start, around each run, and at its end."""

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
"""Seconds in which the exporter has to answer how the objectives stand."""

_TICKS_PER_STATUS = 4


class Life:
    """Listens to the events of one Locust environment, and reports to the exporter; see `start` and `close`."""

    def __init__(self, node: Node, *, freezes: bool) -> None:
        self._node = node
        self._freezes = freezes  # leaves what is there before the first run out of garbage collections
        self._shutdown = Shutdown()
        self._ticker = gevent.Greenlet(self._tick)

    @property
    def running(self) -> CurrentRun | None:
        """The run that goes on; None without one."""
        run = self._node.run
        return None if run is None or run.is_stopped else run

    def start(self) -> None:
        """Start to measure and to report."""
        self._node.start()
        self._ticker.start()
        # Timers count from the loop's last turn, which was before all imports: --run-time would be shorter by those.
        gevent.get_hub().loop.update_now()

    def close(self, ask_last: Callable[[], object]) -> None:
        """Conclude the run and end the exporter; a second call waits for the first.

        `ask_last` asks the exporter what must be known after its end.
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
            # A full collection with Locust's imports holds every user up for some 80 ms (measured 2026-11).
            gc.collect()
            gc.freeze()
        run = node.start_run()
        environment = node.environment
        options, runner = environment.parsed_options, environment.runner
        told = {
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
        node.link.send(frames.BEGIN, told)
        node.link.send(frames.STATUS, node.status())

    def on_spawning_complete(self, user_count: int = 0, **_: object) -> None:
        """Note what `--reset-stats` has just thrown away."""
        run = self._node.run
        if run is not None and not self._node.is_worker:
            attributes: dict[str, str | int | float] = {"run_id": run.run_id, "users": user_count}
            event = Event(SPAWNING_COMPLETE, f"All {user_count} users are there", attributes=attributes)
            self._node.link.send(frames.EVENT, encode_event(event))
            self._node.link.send(frames.STATUS, self._node.status())
        if getattr(self._node.environment, "reset_stats", False):
            self._node.on_reset()

    def on_test_stop(self, **_: object) -> None:
        """Stop the clock of the run, and have it concluded in its own time."""
        run = self.running
        if run is not None:
            self._stop()
            if not getattr(self._node.environment.parsed_options, "headless", False):
                gevent.spawn(self._wind_up, run)

    def on_abort(self, run_id: str) -> None:
        """Stop the run, as --slo-abort asks for."""
        environment, run = self._node.environment, self._node.run
        if environment.runner is not None and run is not None and run.run_id == run_id:
            # A process with a web UI goes on, for another run. In a greenlet of its own, which nothing of the run ends.
            gevent.spawn(environment.runner.quit if environment.web_ui is None else environment.runner.stop)

    def on_quitting(self, **_: object) -> None:
        """Note who ends the process: a signal comes in a greenlet of its own, and a second one ends the waiting."""
        self._shutdown.quitting()

    def on_verdict(self, **_: object) -> None:
        """Have the verdict decide the exit code, after all other listeners of `quitting`."""
        if not self._node.link.ready.get("has_slo") or self._node.is_worker:
            return
        environment = self._node.environment
        # The last requests are counted once the runner is through; what sets the code in `quit` comes too late.
        if environment.runner is not None and not self._shutdown.drain(environment.runner.quit):
            environment.stop_timeout = 0  # Locust has the runner quit once more, and would wait for users again
        self._stop()
        self._node.flush()
        asking = gevent.spawn(self._verdict)
        self._shutdown.join(asking)
        code = asking.value
        if code or not environment.process_exit_code:  # a code that the user's own listener has set outlives a pass
            environment.process_exit_code = int(code)

    def _verdict(self) -> int:
        try:
            return int(self._node.link.ask("verdict", timeout_s=VERDICT_S))
        except TimeoutError as error:
            logger.error("The verdict cannot be had, so the exit code is %d: %s.", ExitCode.UNDECIDED, error)
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
            except Exception:  # a fault of ours must not end the reporting
                logger.exception("A report could not be made")

    def _stop(self) -> None:
        """Stop the clock of the run; a second time changes nothing."""
        run = self.running
        if run is not None:
            run.is_stopped = True
            self._node.link.send(frames.STOPPED, run.run_id, monotonic())

    def _finish(self, grace_s: float | None) -> None:
        """Say that nothing will be added to the run; a second time changes nothing."""
        run = self._node.run
        if run is None or run.is_finished:
            return
        self._stop()
        run.is_finished = True
        self._node.flush()
        self._node.link.send(frames.FINISH, run.run_id, grace_s)

    def _wind_up(self, run: CurrentRun) -> None:
        """Conclude a run that has stopped in a process that goes on, as in the web UI."""
        if self._shutdown.is_near:
            return
        self._node.wait_for_last_requests()
        if self._node.run is run and not self._shutdown.is_near:
            self._finish(None)
