"""When the numbers of a run could not be believed, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from locust_otel.core.catalogue import INVALID_REASONS

MAX_INVALID_SHARE = 0.1
"""Share of the judged time in which the load generator may have been too slow before nothing is decided by its
numbers."""

WORDS = {
    "cpu": "generator saturated (no CPU left)",
    "lag": "generator saturated (its event loop late)",
    "workers": "workers missing",
}
"""What the reasons of `catalogue.INVALID_REASONS` are called."""

_MAX_SPANS = 1000


@dataclass(slots=True)
class Span:
    """A stretch of time in which the numbers could not be believed.

    Attributes:
        start_s: Seconds since the start of the run.
        end_s: Likewise.
        reasons: Of `catalogue.INVALID_REASONS`.
    """

    start_s: float
    end_s: float
    reasons: frozenset[str]


class Validity:
    """Notes when the numbers of a run could not be believed.

    Args:
        start_time: Start of the run in Unix time.
        from_s: Seconds since then from which on it matters: the end of the warm-up.

    Attributes:
        spans: When they could not, in order of time.
    """

    def __init__(self, start_time: float, from_s: float) -> None:
        self.spans: list[Span] = []
        self._start_time = start_time
        self._looked_s = from_s

    def note(self, elapsed_s: float, reasons: Collection[str]) -> None:
        """Note why the numbers since the last look cannot be believed; nothing where they can."""
        since_s, self._looked_s = self._looked_s, max(elapsed_s, self._looked_s)
        if not reasons or elapsed_s <= since_s:
            return
        last = self.spans[-1] if self.spans else None
        if last is not None and (last.end_s == since_s or len(self.spans) >= _MAX_SPANS):
            last.end_s = elapsed_s
            last.reasons |= frozenset(reasons)
        else:
            self.spans.append(Span(since_s, elapsed_s, frozenset(reasons)))

    def invalid(self, judged_s: float) -> str:
        """Return why the numbers of so many judged seconds are not valid as a whole; empty where they are."""
        total_s = sum(span.end_s - span.start_s for span in self.spans)
        if total_s <= MAX_INVALID_SHARE * judged_s or not self.spans:
            return ""
        longest = max(self.spans, key=lambda span: span.end_s - span.start_s)
        what = " and ".join(WORDS[reason] for reason in INVALID_REASONS if reason in longest.reasons)
        text = f"{what} from {self._clock(longest.start_s)} to {self._clock(longest.end_s)} UTC"
        others = len(self.spans) - 1
        more = f", and {others} more time{'s'[: others != 1]}" if others else ""
        return f"{text}{more}: {total_s:.0f} of {judged_s:.0f} s, where {MAX_INVALID_SHARE:.0%} may be"

    def _clock(self, elapsed_s: float) -> str:
        return datetime.fromtimestamp(self._start_time + elapsed_s, UTC).strftime("%H:%M:%S")
