"""The conductor of a game day: starts the load, and injects and undoes the faults at their times.

However the game day ends (by plan, Ctrl-C, SIGTERM, the stop condition, the end of the load, a bug), the same `finally`
undoes each active fault, and then ends the load. A signal is only noted, and handled between two steps of the loop: it
never interrupts an undo.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TypeVar

from locust_otel.core import catalogue
from locust_otel.core.errors import LocustOtelError
from locust_otel.gameday.history import start_of
from locust_otel.gameday.injection import Faults, Journal
from locust_otel.gameday.judge import InjectedFault
from locust_otel.gameday.load import Child, arguments, exit_code
from locust_otel.gameday.mark_client import FAULT_END, FAULT_START, MarkSender
from locust_otel.gameday.observer import Observer
from locust_otel.gameday.plan import GameDay
from locust_otel.gameday.schema import StepShape
from locust_otel.gameday.score import Played
from locust_otel.gameday.view import GameDayView
from locust_otel.review.prometheus import Prometheus, of_run

TICK_S = 0.1
LOAD_END_S = 30.0
"""Time for a load to end by itself after its run time: scrapers fetch the final values."""

STARTUP_S = 90.0
"""Time for Prometheus to see the run: Locust starts, and a scrape comes."""

SETTLE_S = 6.0
"""Time for Prometheus to store the end of the run, and to evaluate its alerts once or twice more."""

GRACE_S = 1.0
"""Time for an answer that is still due when the game day is over."""

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GameDayFailed(LocustOtelError):  # noqa: N818
    """A game day did not begin, so there is nothing to judge; or a server did not answer before its end."""


class _Aborted(Exception):  # noqa: N818
    """A game day ends early; the text is the reason."""


@dataclass
class Conductor:
    """Plays a game day once."""

    day: GameDay
    server: Prometheus
    observer: Observer
    journal: Journal
    view: GameDayView
    run_id: str
    folder: Path  # for logs, and for the run record if `keeps_record`
    metrics_url: str = ""  # address of the run's /metrics; empty to take it from the load's log or from Prometheus
    stop_after_s: float | None = None  # limit for the whole game day, from the start of the run once it is seen
    keeps_record: bool = False
    begin: float = field(default=0.0, init=False)  # Unix time of the start of the run, once it is known
    _signal: str = field(default="", init=False)
    _child: Child | None = field(default=None, init=False)
    _injected: dict[str, InjectedFault] = field(default_factory=dict, init=False)
    _notes: list[str] = field(default_factory=list, init=False)
    _load_output: tuple[str, ...] = field(default=(), init=False)
    # Start of the run on the monotonic clock; that of this process until the run is seen.
    _began: float = field(default_factory=time.monotonic, init=False)

    def play(self) -> Played:
        """Play the game day, and return what happened.

        Raises:
            GameDayFailed: The run did not start, or Prometheus does not see it; no fault was injected.
            ConfigurationError: Another game day of the file is running, or has left a fault.
        """
        self.journal.begin()
        aborted, left = "", list[str]()
        with ExitStack() as stack:
            for number in _SIGNALS:
                stack.callback(signal.signal, number, signal.signal(number, self._note_signal))
            log = stack.enter_context((self.folder / "game-day.log").open("ab"))
            folder = self.day.source.absolute().parent
            faults = Faults(folder, self.journal, log, self.run_id, lambda: bool(self._over))
            try:
                self._start()
                self.observer.start()
                self._play_steps(faults, self._marker())
            except _Aborted as reason:
                aborted = str(reason)
            finally:
                try:
                    active = list(self.journal.active)
                    left = faults.undo_all()
                    for name in active:
                        self._note_end(name, is_undone=name not in left)
                finally:
                    self._clear_up()
        return Played(
            self.run_id, tuple(self._injected.values()), aborted, tuple(left), tuple(self._notes),
            tuple(self.observer.silences), self._load_output,
        )  # fmt: skip

    def answer(self, ask: Callable[[], _T], grace_s: float = GRACE_S) -> _T:
        """Return the result of a call to a server, which runs in a thread of its own: it may hang.

        Raises:
            GameDayFailed: The game day has been over for `grace_s`, and there is no answer.
        """
        future: Future[_T] = Future()

        def run() -> None:
            try:
                future.set_result(ask())
            except Exception as error:
                future.set_exception(error)

        thread = Thread(target=run, name="gameday-question", daemon=True)
        thread.start()
        left_s = grace_s
        while left_s > 0:
            thread.join(TICK_S)
            if future.done():
                return future.result()
            left_s = left_s - TICK_S if self._over else grace_s
        raise GameDayFailed(
            f"A server ({self.server.url}, or another one) did not answer before the end: {self._over}."
        )

    @property
    def _over(self) -> str:
        """The signal or the limit that ends the game day; empty while there is none."""
        if self._signal or self.stop_after_s is None or self._now_s < self.stop_after_s:
            return self._signal
        return f"--stop-after {self.stop_after_s:g} s"

    @property
    def _now_s(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._began

    def _note_signal(self, number: int, _: FrameType | None) -> None:
        self._signal = self._signal or signal.Signals(number).name

    def _start(self) -> None:
        if self.day.load is not None:
            record_folder = self.folder if self.keeps_record else None
            command = arguments(self.day, self.day.load, self.run_id, record_folder)
            self._child = Child(command, self.folder / "load.log")
            self.journal.load = self._child.process
            self.journal.write()
            self.view.say(f"load started, run {self.run_id}")
        self.begin, now = self._wait_for_run(), time.time()
        self._began = time.monotonic() - max(now - self.begin, 0.0)

    def _wait_for_run(self) -> float:
        """Return the start of the run, once Prometheus sees it."""
        problem = "it has no series of it"
        deadline = time.monotonic() + STARTUP_S
        while time.monotonic() < deadline and not self._over:
            if self._child is not None and self._child.code is not None:
                lines = "\n".join(self._child.last_lines()) or "(no output)"
                raise GameDayFailed(f"The load ended with {exit_code(self._child.code)}. Its last output:\n{lines}")
            try:
                begin = self.answer(lambda: start_of(self.server, self.run_id, "1d"))
            except LocustOtelError as error:
                begin, problem = None, str(error)
            if begin is not None:
                return begin
            time.sleep(TICK_S)
        ended = f"Ended before the first fault: {self._over}. " if self._over else ""
        raise GameDayFailed(
            f"{ended}Prometheus at {self.server.url} does not see run {self.run_id}: {problem}. Does it scrape the "
            "run's port?"
        )

    def _marker(self) -> MarkSender:
        url = self.metrics_url or (self._child.metrics_url() if self._child else "")
        if not url:
            try:
                samples = self.answer(lambda: self.server.query(of_run(catalogue.RUN_INFO.name, self.run_id)))
            except LocustOtelError:
                samples = []
            instance = samples[0].labels.get("instance") if samples else None
            url = f"http://{instance}/metrics" if instance else ""
        return MarkSender(url)

    def _mark(self, marker: MarkSender, name: str, kind: str) -> None:
        with suppress(GameDayFailed):
            self.answer(lambda: marker.mark(name, kind))

    def _play_steps(self, faults: Faults, marker: MarkSender) -> None:
        for step in self.day.steps:
            self._wait(float(step.at))
            try:
                if self._inject(step, faults, marker):
                    self._wait(float(step.end_s))
            finally:
                is_undone = faults.undo(step.fault.name)
                self._mark(marker, step.fault.name, FAULT_END)
                self._note_end(step.fault.name, is_undone=is_undone)
        end_s = float(self.day.end_s)
        self._wait(end_s, is_last=True)
        if self._child is not None and self._child.code is None:
            self._wait(end_s + LOAD_END_S, is_last=True)

    def _wait(self, until_s: float, *, is_last: bool = False) -> None:
        """Wait for a time of the run; after the last fault only until the load has ended."""
        shown_s = -1.0
        while self._now_s < until_s and not (is_last and self._is_load_done()):
            if not self._over and self._child is not None and self._child.code is not None:
                self._load_output = self._child.last_lines()
                raise _Aborted(f"the load ended before its time, with {exit_code(self._child.code)}")
            if reason := self._over or self.observer.must_stop():
                raise _Aborted(reason)
            if self._now_s - shown_s >= 0.5:
                shown_s = self._now_s
                self.view.show(shown_s, self.observer.latest)
            time.sleep(TICK_S)
        if self._signal or (self._over and not is_last):
            raise _Aborted(self._over)

    def _is_load_done(self) -> bool:
        """Return whether the load has ended by itself, after its run time."""
        if self._child is None or self.day.load is None or self._child.code is None:
            return False
        return self._child.code >= 0 and self._now_s >= float(self.day.load.run_time) - 2

    def _inject(self, step: StepShape, faults: Faults, marker: MarkSender) -> bool:
        """Inject the fault of a step, and return whether its command succeeded."""
        name = step.fault.name
        self.view.say(f"fault {name}")
        self._injected[name] = InjectedFault(name, time.time())
        self._mark(marker, name, FAULT_START)
        failed = faults.inject(step.fault)
        if failed:
            failed = f"its command failed: {failed}"
            self._injected[name] = replace(self._injected[name], failed=failed)
            self.view.say(f"fault {name}: {failed}")
        if marker.problem and marker.problem not in self._notes:
            self.view.say(marker.problem)
            self._notes.append(marker.problem)
        return not failed

    def _note_end(self, name: str, *, is_undone: bool) -> None:
        if name in self._injected and self._injected[name].ended_at is None:
            self._injected[name] = replace(self._injected[name], ended_at=time.time())
        self.view.say(f"undone {name}" if is_undone else f"undo {name} FAILED: the fault is still active")

    def _clear_up(self) -> None:
        try:
            if self._child is not None:
                if self._child.code is None:
                    self.view.say("the load ends")
                self._child.stop()
            if self.begin:
                self._settle()
        finally:
            self.observer.stop()
            self.journal.close()

    def _settle(self) -> None:
        """Wait until no alert is pending or firing, at most `SETTLE_S`."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and not self._over:
            time.sleep(TICK_S * 5)
            self.view.show(self._now_s, self.observer.latest)
            if not self.observer.latest.alerts:
                return
