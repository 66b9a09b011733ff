"""What came of a push, and what follows: whether the sink may be tried again, and what to log about it.

One line is logged when a sink begins to fail, and one when it recovers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from locust_otel.core.events import EXPORT_FAILING, EXPORT_RECOVERED

LATE_S = 4.0
"""Seconds after which a push without an answer is reported, before its time is up."""

_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one push.

    Attributes:
        ok: Whether the other side took it, if not all of it.
        rejected: Points or records that it refused.
        reason: Why, in a few words that hold no secret; empty where all is well.
        retry_after_s: Seconds for which the other side asks to be left alone.
        is_permanent: Whether the same sent again would be refused again.
    """

    ok: bool
    rejected: int = 0
    reason: str = ""
    retry_after_s: float = 0.0
    is_permanent: bool = False


NOT_SENT = Outcome(ok=False, reason="not sent")


@dataclass(slots=True)
class Circuit:
    """The state of one sink. What there is to log is returned as names of events and their texts.

    Attributes:
        exporter: Value of the label `exporter`.
        interval_s: Pause after the first failure; each further one doubles it.
        slowest_s: Slowest answer of the push under way.
    """

    exporter: str
    interval_s: float
    slowest_s: float = 0.0
    _failures: int = 0
    _not_before: float = 0.0
    _is_rejecting: bool = False
    _is_late: bool = False
    _waits_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the sink is left alone for now."""
        return monotonic() < self._not_before

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure how long an answer takes."""
        since = self._waits_since = monotonic()
        try:
            yield
        finally:
            self._waits_since = None
            self.slowest_s = max(monotonic() - since, self.slowest_s)

    def check(self) -> list[tuple[str, str]]:
        """Look for a push that still has no answer; it is reported once, until one comes in time again."""
        since = self._waits_since
        if since is None or self._is_late or (waited_s := monotonic() - since) <= LATE_S:
            return []
        self._is_late = True
        return [] if self._failures else [self._failing(f"no answer for {waited_s:.0f} s")]

    def note(self, outcome: Outcome) -> list[tuple[str, str]]:
        """Take in what came of a push."""
        failures, was_rejecting = self._failures, self._is_rejecting
        if not outcome.ok:
            self._failures += 1
            pause = min(self.interval_s * 2 ** min(failures, 10), _LONGEST_PAUSE_S)
            # A little less, or the turn that falls due at the same moment would be missed.
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
            text = f"{outcome.rejected} of the {self.exporter} were rejected: {outcome.reason}"
            changes.append((EXPORT_FAILING, text))
        return changes

    def _failing(self, reason: str) -> tuple[str, str]:
        return EXPORT_FAILING, f"{self.exporter} are failing: {reason}"
