"""The shared state of the exporter's parts: the settings, the current run, and the way back to Locust's process.

`State` holds everything about a run. If this process dies, a successor continues with the last result of `saved`.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Lock, RLock
from time import monotonic, time
from typing import Any, TypeVar

from locust_otel.core.catalogue import Scope
from locust_otel.core.events import MARK, Event, RateLimit
from locust_otel.core.families import ALL_SCOPES, MASTER_SCOPES, WORKER_SCOPES
from locust_otel.core.marks import Marked, cleaned
from locust_otel.core.snapshot import HealthSnapshot, Snapshot
from locust_otel.exporter.exports import EventQueue, Exports
from locust_otel.exporter.run import Run
from locust_otel.exporter.settings import Settings
from locust_otel.exporter.workers import Workers
from locust_otel.wire import frames

logger = logging.getLogger(__name__)

GIVE_WAY_S = 0.15
"""Longest wait for pages, in seconds, within one `in_turns`: endless scrapes must not starve the others."""

ITEMS_AT_A_TIME = 100  # between two waits in `in_turns`; they take 2 to 10 ms

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The Locust process of this exporter."""

    name: str  # among the generating processes, `host-0`
    is_master: bool = False  # whether workers generate the load for it
    is_worker: bool = False  # whether it generates load for a master
    port_offset: int = 0  # distance of its own port from the first one
    start_time: float = 0.0  # when it began to measure, in Unix time
    restarts: int = 0  # exporters that died before this one
    versions: Mapping[str, str] = field(default_factory=dict)  # of this package and of Python


@dataclass(slots=True)
class State:
    """Everything that a successor needs."""

    run: Run | None = None  # the current or last one
    before: Run | None = None  # the run before that, for late reports of its workers
    concluded: str = ""  # the run whose account was logged last
    received: int = 0  # messages of Locust's process so far
    merged_reports: int = 0
    workers: Workers = field(default_factory=Workers)
    events: EventQueue = field(default_factory=EventQueue)
    kept: dict[str, Any] = field(default_factory=dict)  # state of the outputs, by name


class Session:
    """The exporter of one Locust process.

    Args:
        settings: The user's settings.
        origin: The Locust process.
        tell: Sends a message of `wire.frames` to it; thread-safe.
        state: The state that the exporter before this one has saved.
    """

    def __init__(
        self, settings: Settings, origin: Origin, tell: Callable[..., None], state: State | None = None
    ) -> None:
        self.settings = settings
        self.origin = origin
        self.tell = tell
        self.lock = RLock()  # held for each change, and while several fields are read
        self.state = state or State()
        self.exports = Exports()  # counts of the outputs' own exports, in a separate checkpoint
        self.hurry = Flag()  # set when outputs must no longer wait
        self.grace_s: float | None = None  # longest wait for the last scrape; None for that of the settings
        self.url: str | None = None  # of `/metrics`; None where it is not served
        self.listeners: list[Callable[[Event], None]] = []  # called with each event, from any thread
        self.on_mark: Callable[[], None] = lambda: None  # called after each mark; must not wait for `lock`
        self._mark_rate = RateLimit(burst=50)  # of log lines; every mark is counted
        self.rendering = Lock()  # held while a page is rendered; other threads give way

    @property
    def scopes(self) -> frozenset[Scope]:
        """Scopes of the metrics that this process exports."""
        if self.origin.is_worker:
            return WORKER_SCOPES
        return MASTER_SCOPES if self.settings.from_workers and self.origin.is_master else ALL_SCOPES

    @property
    def run(self) -> Run | None:
        """The current or last run; None before the first."""
        return self.state.run

    def keep(self, name: str, value: _T) -> _T:
        """Return the state of an output from the process before this one, else `value`; it is saved from now on.

        It must be picklable. Change it only while `lock` is held.
        """
        with self.lock:
            kept: _T = self.state.kept.setdefault(name, value)
            return kept

    def saved(self) -> bytes:
        """Return the state for a successor."""
        with self.lock:
            return pickle.dumps(self.state, protocol=pickle.HIGHEST_PROTOCOL)

    def patience_s(self, limit_s: float) -> float:
        """Return the longest wait at the end of a run: the least of this limit, `grace_s` and the user's setting."""
        return min(limit for limit in (limit_s, self.grace_s, self.settings.linger_s) if limit is not None)

    def give_way(self, longest_s: float) -> float:
        """Wait while a page is rendered; return the seconds that took."""
        began_s = monotonic()
        if self.rendering.acquire(timeout=longest_s):
            self.rendering.release()
        return monotonic() - began_s

    def in_turns(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield items, and give way to pages every few milliseconds.

        Python runs one thread at a time: beside a busy thread a scrape takes twice as long.
        """
        left_s = GIVE_WAY_S
        for number, item in enumerate(items):
            if number % ITEMS_AT_A_TIME == 0 and left_s > 0:
                left_s -= self.give_way(left_s)
            yield item

    def add_event(self, event: Event) -> None:
        """Queue an event, and pass it to the listeners."""
        self.state.events.add(event)
        for listener in self.listeners:
            listener(event)

    def say(self, run: Run, text: str) -> None:
        """Report the end of a run: on standard output, at any log level, if there is no web UI; else in the log."""
        if run.is_headless:
            self.tell(frames.SAY, text)
        else:
            logger.info("%s", text)

    def mark(self, text: object, kind: object, timestamp: float | None = None) -> Marked | None:
        """Mark the current run, and return run and time; None if no run is active.

        Raises:
            MarkError: The text or the kind is not valid.
        """
        mark, kind_word = cleaned(text, kind)
        with self.lock:
            run = self.run
            if run is None or not run.is_active:
                return None
            if not self.origin.is_worker:
                return self.note_mark(run, mark, kind_word, timestamp)
            self.tell(frames.MARKED, mark, kind_word)  # the master keeps the marks of its workers
            return Marked(run.run_id, time())

    def note_mark(self, run: Run, mark: str, kind: str, timestamp: float | None = None) -> Marked:
        """Add a mark to a run, active or not."""
        with self.lock:
            run.mark(mark, kind)
        marked = Marked(run.run_id, timestamp or time())
        if self._mark_rate.allows():
            logger.info("Marked (%s): %s", kind, mark)
            attributes = {"run_id": run.run_id, "mark": mark, "kind": kind}
            self.add_event(Event(MARK, f"Marked ({kind}): {mark}", attributes=attributes, timestamp=marked.time))
        self.on_mark()
        return marked

    def snapshot(self) -> Snapshot:
        """Return the current numbers."""
        with self.lock:
            run, workers = self.run, self.state.workers
            return Snapshot(
                time=time(),
                process_start_time=self.origin.start_time,
                run=run.snapshot() if run is not None else None,
                worker_states=dict(workers.states),
                workers_expected=workers.expected,
                workers=workers.snapshots(None if self.origin.is_master else self.origin.name),
                health=HealthSnapshot(
                    exports=self.exports.counts(),
                    last_exports=self.exports.last_success.copy(),
                    rejected_points=self.exports.rejected.copy(),
                    folded_requests=run.merged.folded if run is not None else 0,
                    listener_errors=workers.total_errors,
                    unreconciled=run.unreconciled if run is not None else None,
                    versions=self.origin.versions,
                    restarts=self.origin.restarts,
                    merged_reports=self.state.merged_reports,
                ),
                is_final=run is not None and run.is_final,
            )
