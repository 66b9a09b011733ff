"""The bridge between one Locust environment and the exporter beside it, from the start of the process to its end."""

from __future__ import annotations

import contextlib
import gc
import logging
from time import monotonic
from typing import Any

import gevent

from locust_otel.core.errors import ExitCode
from locust_otel.core.events import SPAWNING_COMPLETE, Event
from locust_otel.core.marks import DEFAULT_KIND, cleaned
from locust_otel.core.snapshot import ObjectivePoint
from locust_otel.plugin.node import CurrentRun, Node
from locust_otel.plugin.shutdown import Shutdown
from locust_otel.wire import frames
from locust_otel.wire.report import encode_event

logger = logging.getLogger(__name__)

TICK_S = 0.25
"""Seconds between two reports to the exporter."""

_TICKS_PER_STATUS = 4
_VERDICT_S = 2.0  # in which the exporter has to answer


class Bridge:
    """The bridge of one Locust environment, which `attach` returns; the methods `on_…` are its listeners."""

    def __init__(self, node: Node, *, freezes: bool) -> None:
        self._node = node
        self._freezes = freezes  # leaves what is there before the first run out of garbage collections
        self._shutdown = Shutdown()
        self._ticker = gevent.Greenlet(self._tick)
        self._last: dict[str, Any] = {}  # what the exporter answers at the end
        self._is_closed = False

    @property
    def url(self) -> str | None:
        """Where `/metrics` is; None where it is not served."""
        url: str | None = self._node.link.ready.get("url")
        return url

    @property
    def run_id(self) -> str | None:
        """Identity of the current or last run; None before the first."""
        return self._node.run.run_id if self._node.run is not None else None

    @property
    def is_running(self) -> bool:
        """Whether a run goes on."""
        return self._running is not None

    @property
    def _running(self) -> CurrentRun | None:
        run = self._node.run
        return None if run is None or run.is_stopped else run

    def mark(self, text: str, kind: str = DEFAULT_KIND) -> bool:
        """Mark something in the run that goes on: a fault, a deployment; a worker has its master do so.

        Args:
            text: What happened, in a few words; one line, cut at 200 characters.
            kind: A word for what sort of thing it is: `fault`, `deployment`, `note`.

        Returns:
            Whether a run goes on; without one nothing is marked.

        Raises:
            MarkError: The text is empty, or the kind is no word of at most 30 small letters, digits, `_` and `-`.
        """
        mark, word = cleaned(text, kind)
        run = self._running
        return run is not None and self._node.mark(run, mark, word)

    def standing(self) -> tuple[ObjectivePoint, ...] | None:
        """Return how each objective of the SLO file stands, also after `close`.

        Returns:
            The counts and the status by objective; None without an SLO file, and before the first run.

        Raises:
            TimeoutError: The exporter does not answer.
        """
        if not self._node.link.ready.get("has_slo"):
            return None
        if not self._is_closed:
            self._node.flush()
        told = self.ask("objectives", timeout_s=_VERDICT_S)
        return None if told is None else tuple(ObjectivePoint(*fields) for fields in told)

    def ask(self, question: str, argument: object = None, timeout_s: float = 2.0) -> Any:
        """Return what the exporter answers, once it has taken in all that was said before.

        After the end that is what it has answered then, to questions of `remember`.

        Args:
            question: `page`, `html`, `json`, `objectives` or `verdict`.
            argument: What belongs to it.
            timeout_s: Seconds to wait.

        Raises:
            TimeoutError: It does not answer in time, or there is none.
        """
        if not self._is_closed:
            return self._node.link.ask(question, argument, timeout_s)
        if question not in self._last:
            raise TimeoutError("the exporter has ended")
        return self._last[question]

    def remember(self, question: str) -> None:
        """Keep the answer of the end, for `ask` after it."""
        self._last[question] = None

    def close(self) -> None:
        """Give the final values to who scrapes, log the account, and stop; a second call waits for the first.

        For an embedded use, at its end; a Locust process does it by itself.
        """
        if not self._shutdown.begin():
            self._shutdown.wait_for_first()
            return
        if self._node.run is not None:
            grace_s = self._shutdown.grace_s
            self._finish(None if grace_s == float("inf") else grace_s)
        self._ticker.kill(block=False)
        if self._node.link.ready.get("has_slo"):
            self.remember("objectives")
        if self._last:
            asking = gevent.spawn(self._note_last)
            self._shutdown.join(asking)
        self._is_closed = True
        self._node.link.close(self._shutdown.interrupted)
        self._node.stop()
        self._shutdown.end()

    def start(self) -> None:
        """Start to measure and to report."""
        self._node.start()
        self._ticker.start()
        # Timers count from the loop's last turn, which was before all imports: --run-time would be shorter by those.
        gevent.get_hub().loop.update_now()

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
        run = self._running
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

    def on_quit(self, **_: object) -> None:
        """Close."""
        self.close()

    def _note_last(self) -> None:
        with contextlib.suppress(TimeoutError):
            for question in self._last:
                self._last[question] = self.ask(question)

    def _verdict(self) -> int:
        try:
            return int(self._node.link.ask("verdict", timeout_s=_VERDICT_S))
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
        run = self._running
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
