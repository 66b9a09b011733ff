"""Plays a game day: the load, the faults at their times, and an end after which nothing stays broken.

Whatever ends it (its plan, Ctrl-C, SIGTERM, the stop condition, the load's death, an error of ours) goes through the
same `finally`: what is broken is mended first, then the load is ended. A signal is noted and acted upon between two
steps of the loop; none interrupts an undo.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from locust_otel.core import catalogue
from locust_otel.core.errors import LocustOtelError
from locust_otel.gameday.history import start_of
from locust_otel.gameday.injection import Faults, Log
from locust_otel.gameday.journal import Journal
from locust_otel.gameday.load import Child, MarkSender, arguments
from locust_otel.gameday.observer import Observer, Seen
from locust_otel.gameday.plan import FAULT_END, FAULT_START, GameDay, Step
from locust_otel.gameday.score import Done, Played
from locust_otel.review.prometheus import Prometheus, of_run

TICK_S = 0.1
LAST_WORDS_S = 30.0
"""For a load to end by itself once its time is over: scrapers get the final values."""

STARTUP_S = 90.0
"""For the run to be seen by Prometheus: Locust starts, and a scrape comes."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GameDayFailed(LocustOtelError):  # noqa: N818
    """A game day did not begin: there is nothing to be judged."""


class View(Protocol):
    """Who is told how it goes."""

    def say(self, text: str) -> None:
        """Take a line."""

    def show(self, now_s: float, seen: Seen) -> None:
        """Take how it stands: seconds since the start of the run."""


@dataclass
class Stage:
    """What a game day is played with.

    Attributes:
        folder: For logs and the run record.
        metrics_url: Of the run; empty where the load says it, or Prometheus.
        stop_after_s: It ends after so long, if not before.
        keeps_record: Whether the folder outlives the game day, and so a run record is worth its bytes.
    """

    day: GameDay
    server: Prometheus
    observer: Observer
    journal: Journal
    view: View
    run_id: str
    folder: Path
    metrics_url: str = ""
    stop_after_s: float | None = None
    keeps_record: bool = False
    startup_s: float = STARTUP_S


@dataclass
class Conductor:
    """Plays a game day once."""

    stage: Stage
    asked: str = ""
    begin: float = 0.0
    end: float = 0.0
    child: Child | None = None
    _done: dict[str, Done] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _began: float = 0.0  # on the monotonic clock, when the run started

    def play(self) -> Played:
        """Play it, and return what was done.

        Raises:
            GameDayFailed: The run did not start, or Prometheus does not see it; nothing was broken.
            ConfigurationError: An earlier game day has left something broken.
        """
        stage = self.stage
        stage.journal.refuse_leftovers()
        stage.journal.begin()
        aborted, left = "", list[str]()
        with _signals(self._ask), (stage.folder / "game-day.log").open("ab") as file:
            faults = Faults(stage.day.source.absolute().parent, stage.journal, Log(file), stage.run_id, self._is_asked)
            try:
                self._start()
                stage.observer.start()
                aborted = self._steps(faults, self._marker())
            finally:
                try:
                    left = self._mend(faults)
                finally:
                    self._clear_up()
        self.end = time.time()
        return Played(stage.run_id, tuple(self._done.values()), aborted, tuple(left), tuple(self._notes))

    def _ask(self, why: str) -> None:
        self.asked = self.asked or why

    def _is_asked(self) -> bool:
        return bool(self.asked)

    def _start(self) -> None:
        stage = self.stage
        if stage.day.load is not None:
            record = stage.folder if stage.keeps_record else None
            command = arguments(stage.day.load, stage.day, stage.run_id, record)
            self.child = Child(command, stage.folder / "load.log")
            stage.journal.load = self.child.process
            stage.journal.write()
            stage.view.say(f"load started, run {stage.run_id}")
        self.begin = self._seen_by_prometheus()
        now = time.time()
        self._began = time.monotonic() - max(now - self.begin, 0.0)

    def _seen_by_prometheus(self) -> float:
        """Return when the run started, once Prometheus has it."""
        stage, why = self.stage, "it has no series of it"
        deadline = time.monotonic() + stage.startup_s
        while time.monotonic() < deadline and not self.asked:
            if self.child is not None and self.child.code is not None:
                raise GameDayFailed(f"The load ended with exit code {self.child.code}:\n{self.child.tail()}")
            try:
                found = start_of(stage.server, stage.run_id, "1d")
            except LocustOtelError as error:
                found, why = None, str(error)
            if found is not None:
                return found
            time.sleep(TICK_S)
        if self.asked:
            raise GameDayFailed(f"Ended before the first fault: {self.asked}.")
        raise GameDayFailed(
            f"Prometheus at {stage.server.url} does not see run {stage.run_id}: {why}. Does it scrape the run's port?"
        )

    def _marker(self) -> MarkSender:
        url = self.stage.metrics_url or (self.child.metrics_url() if self.child else "")
        if not url:
            try:
                samples = self.stage.server.query(of_run(catalogue.RUN_INFO.name, self.stage.run_id))
                instances = [labels.get("instance", "") for labels, _ in samples]
            except LocustOtelError:
                instances = []
            url = f"http://{instances[0]}/metrics" if instances and instances[0] else ""
        return MarkSender(url)

    @property
    def now_s(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._began

    def _steps(self, faults: Faults, marker: MarkSender) -> str:
        """Play the steps, and return why it ended before its time; empty where it did not."""
        day = self.stage.day
        for step in day.steps:
            why = self._wait(float(step.at_s))
            if not why:
                self._make(step, faults, marker)
                why = "" if self._done[step.fault.name].failed else self._wait(float(step.end_s))
                self._end(step, faults, marker)
            if why:
                return why
        why = self._wait(float(day.end_s), is_last=True)
        if why or self.child is None or self.child.code is not None:
            return why
        return self._wait(float(day.end_s) + LAST_WORDS_S, is_last=True)

    def _wait(self, until_s: float, *, is_last: bool = False) -> str:
        """Wait for a time of the run; return why there is no waiting any more."""
        shown = -1.0
        while self.now_s < until_s:
            why = self._over(is_last=is_last)
            if why is not None:
                return why
            if self.now_s - shown >= 0.5:
                shown = self.now_s
                self.stage.view.show(shown, self.stage.observer.seen)
            time.sleep(TICK_S)
        return self.asked

    def _over(self, *, is_last: bool) -> str | None:
        stage = self.stage
        if self.asked:
            return self.asked
        if self.child is not None and self.child.code is not None:
            planned = stage.day.load.run_time_s if stage.day.load else 0
            is_done = is_last and self.child.code >= 0 and self.now_s >= float(planned) - 2
            return "" if is_done else f"the load ended before its time, with exit code {self.child.code}"
        if stage.stop_after_s is not None and self.now_s >= stage.stop_after_s:
            return f"--stop-after {stage.stop_after_s:g} s"
        return stage.observer.must_stop() or None

    def _make(self, step: Step, faults: Faults, marker: MarkSender) -> None:
        name = step.fault.name
        self.stage.view.say(f"fault {name}")
        begun_at = time.time()
        self._done[name] = Done(name, begun_at)
        marker.mark(name, FAULT_START)
        ended = faults.make(step.fault)
        if ended.code != 0:
            failed = f"its command did not do it: {ended.told}"
            self._done[name] = Done(name, begun_at, failed=failed)
            self.stage.view.say(f"fault {name}: {failed}")
        if marker.problem:
            self.stage.view.say(marker.problem)
            self._notes.append(marker.problem)
            marker.problem = ""

    def _end(self, step: Step, faults: Faults, marker: MarkSender) -> None:
        name = step.fault.name
        is_mended = faults.mend(name)
        marker.mark(name, FAULT_END)
        self._ended(name)
        self.stage.view.say(f"undone {name}" if is_mended else f"undo {name} FAILED: it stays broken")

    def _ended(self, name: str) -> None:
        if name in self._done and self._done[name].ended_at is None:
            self._done[name] = replace(self._done[name], ended_at=time.time())

    def _mend(self, faults: Faults) -> list[str]:
        active = list(self.stage.journal.active)
        left = faults.mend_all()
        for name in active:
            self._ended(name)
            self.stage.view.say(f"undo {name} FAILED: it stays broken" if name in left else f"undone {name}")
        return left

    def _clear_up(self) -> None:
        try:
            self._stop_load()
        finally:
            self.stage.observer.stop()
            self.stage.journal.close()

    def _stop_load(self) -> None:
        if self.child is None:
            self._settle()
            return
        is_early = self.child.code is None
        if is_early:
            self.stage.view.say("the load ends")
        self.child.stop()
        self._settle()

    def _settle(self) -> None:
        """Wait until Prometheus has the end of the run, and its alerts have had an evaluation or two."""
        deadline = time.monotonic() + 6.0
        while time.monotonic() < deadline and not self.asked:
            time.sleep(TICK_S * 5)
            self.stage.view.show(self.now_s, self.stage.observer.seen)
            if not self.stage.observer.seen.alerts:
                return


@contextmanager
def _signals(ask: Callable[[str], None]) -> Iterator[None]:
    """Note signals instead of ending at once."""

    def note(number: int, _: FrameType | None) -> None:
        ask(signal.Signals(number).name)

    before: dict[int, Any] = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
