"""Circuit of a receiver: the pause before the next push, and the log lines when pushes fail or recover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED
from locust_otel.exporter.otlp.outcome import Outcome

LATE_S = 4.0
"""Seconds after which a push without an answer is reported, before it times out."""

_LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class Circuit:
    """State of one receiver. Its methods return what to log, as names of events and their texts."""

    exporter: str  # value of the label `exporter`
    url: str  # of the receiver, without secrets
    interval_s: float  # pause after the first failure; each further one doubles it
    slowest_s: float = 0.0  # slowest answer of the current push
    _failures: int = 0
    _not_before: float = 0.0
    _is_rejecting: bool = False
    _is_late: bool = False
    _waits_since: float | None = None

    @property
    def is_open(self) -> bool:
        """True during a pause after a failure."""
        return monotonic() < self._not_before

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure the time to an answer."""
        since = self._waits_since = monotonic()
        try:
            yield
        finally:
            self._waits_since = None
            self.slowest_s = max(monotonic() - since, self.slowest_s)

    def check(self) -> list[tuple[str, str]]:
        """Report a push that still has no answer; once, until an answer arrives in time again."""
        since = self._waits_since
        if since is None or self._is_late or (waited_s := monotonic() - since) <= LATE_S:
            return []
        self._is_late = True
        return [] if self._failures else [self._failing(f"no answer for {waited_s:.0f} s")]

    def note(self, outcome: Outcome) -> list[tuple[str, str]]:
        """Take in the outcome of a push."""
        failures, was_rejecting = self._failures, self._is_rejecting
        if not outcome.ok:
            self._failures += 1
            pause = min(self.interval_s * 2 ** min(failures, 10), _LONGEST_PAUSE_S)
            # Shorter by 0.1 s, so that the push that is due at the same moment is not skipped.
            self._not_before = monotonic() + max(pause, outcome.retry_after_s) - 0.1
            return [] if failures or self._is_late else [self._failing(outcome.reason)]
        self._failures = 0
        in_time = self.slowest_s <= LATE_S
        changes = []
        if failures or (self._is_late and in_time):
            changes.append((EXPORT_RECOVERED, f"{self.exporter} arrive again, after {failures or 'no'} failures"))
        self._is_late &= not in_time
        self._is_rejecting = bool(outcome.rejected)
        if self._is_rejecting and not was_rejecting:
            text = f"{outcome.rejected} of the {self.exporter} were rejected by {self.url}: {outcome.reason}"
            changes.append((EXPORT_FAILING, text))
        return changes

    def _failing(self, reason: str) -> tuple[str, str]:
        return EXPORT_FAILING, f"{self.exporter} to {self.url} are failing: {reason}"
