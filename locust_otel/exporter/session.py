"""The shared state of the exporter's parts: the settings, the current run, and the way back to Locust's process.

All that is known of a run is in `State`. If this process dies, a successor reads it from what `saved` returned last.
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
"""Longest wait for pages, in seconds, within one `in_turns`: beside scrapes without end nothing starves."""

ITEMS_AT_A_TIME = 100  # of the work that gives way; they take 2 to 10 ms

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The Locust process of this exporter."""

    name: str  # among the generating processes, `host-0`
    is_master: bool = False  # whether workers generate the load for it
    is_worker: bool = False  # whether it generates load for a master
    port_offset: int = 0  # from the first port to the port of its own numbers
    start_time: float = 0.0  # when it began to measure, in Unix time
    restarts: int = 0  # exporters that have died before this one
    versions: Mapping[str, str] = field(default_factory=dict)  # of this package and of Python


@dataclass(slots=True)
class State:
    """Everything that a successor needs."""

    run: Run | None = None  # the current or last one
    before: Run | None = None  # the run before that, for what its workers had not reported yet
    concluded: str = ""  # the run whose account was logged last
    received: int = 0  # messages of Locust's process that are part of all this
    merged_reports: int = 0
    workers: Workers = field(default_factory=Workers)
    events: EventQueue = field(default_factory=EventQueue)
    kept: dict[str, Any] = field(default_factory=dict)  # state of the outputs by their names


class Session:
    """The exporter of one Locust process.

    Args:
        settings: What the user asked for.
        origin: The process.
        tell: Sends a message of `wire.frames` to it; may be called from every thread.
        state: What the exporter before this one has saved.
    """

    def __init__(
        self, settings: Settings, origin: Origin, tell: Callable[..., None], state: State | None = None
    ) -> None:
        self.settings = settings
        self.origin = origin
        self.tell = tell
        self.lock = RLock()  # held while anything here is read in several steps, or changed
        self.state = state or State()
        self.exports = Exports()  # counts of the outputs' own exports, which have a checkpoint of their own
        self.hurry = Flag()  # set when nothing is worth a wait any more
        self.grace_s: float | None = None  # left to wait for scrapers at the end; None for as long as settings say
        self.url: str | None = None  # of `/metrics`; None where it is not served
        self.listeners: list[Callable[[Event], None]] = []  # called with each event, from any thread
        self.on_mark: Callable[[], None] = lambda: None  # called after each mark; must not wait for `lock`
        # Every mark is counted and recorded; only so many get a log line.
        self._mark_rate = RateLimit(burst=50)
        self.rendering = Lock()  # held while a page is rendered; other threads give way

    @property
    def scopes(self) -> frozenset[Scope]:
        """Scopes of the metrics that are exported here."""
        if self.origin.is_worker:
            return WORKER_SCOPES
        return MASTER_SCOPES if self.settings.from_workers and self.origin.is_master else ALL_SCOPES

    @property
    def run(self) -> Run | None:
        """The current or last run; None before the first."""
        return self.state.run

    @property
    def events(self) -> EventQueue:
        """Events that wait to be pushed."""
        return self.state.events

    def keep(self, name: str, value: _T) -> _T:
        """Return the state of an output in the process before this one, else `value`; it is saved from now on.

        It must be picklable, and be changed only while `lock` is held.
        """
        with self.lock:
            kept: _T = self.state.kept.setdefault(name, value)
            return kept

    def saved(self) -> bytes:
        """Return all that is known, for a successor."""
        with self.lock:
            return pickle.dumps(self.state, protocol=pickle.HIGHEST_PROTOCOL)

    def patience_s(self, limit_s: float) -> float:
        """Return how long to wait at the end of a run: at most this, `grace_s`, and what the user asked for."""
        return min(limit for limit in (limit_s, self.grace_s, self.settings.linger_s) if limit is not None)

    def give_way(self, longest_s: float) -> float:
        """Wait while a page is rendered; return for how many seconds."""
        began_s = monotonic()
        if self.rendering.acquire(timeout=longest_s):
            self.rendering.release()
        return monotonic() - began_s

    def in_turns(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield items of which each is some work, and give way every few milliseconds.

        Python runs one thread at a time: beside a busy thread a scrape takes twice as long.
        """
        left_s = GIVE_WAY_S
        for number, item in enumerate(items):
            if number % ITEMS_AT_A_TIME == 0 and left_s > 0:
                left_s -= self.give_way(left_s)
            yield item

    def add_event(self, event: Event) -> None:
        """Take in an event."""
        self.events.add(event)
        for listener in self.listeners:
            listener(event)

    def say(self, run: Run, text: str) -> None:
        """Tell how a run has ended: on standard output where there is no web UI, whatever is logged."""
        if run.is_headless:
            self.tell(frames.SAY, text)
        else:
            logger.info("%s", text)

    def mark(self, text: object, kind: object, timestamp: float | None = None) -> Marked | None:
        """Mark something in the current run, and return when; None if no run is active.

        Raises:
            MarkError: The text or the kind is not valid.
        """
        mark, word = cleaned(text, kind)
        with self.lock:
            run = self.run
            if run is None or not run.is_active:
                return None
            if not self.origin.is_worker:
                return self.note_mark(run, mark, word, timestamp)
            self.tell(frames.MARKED, mark, word)  # the master of a worker has its marks
            return Marked(run.run_id, time())

    def note_mark(self, run: Run, mark: str, kind: str, timestamp: float | None = None) -> Marked:
        """Note a mark in a run, active or not."""
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
        """Return everything that is known now."""
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
