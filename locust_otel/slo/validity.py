"""Times at which the numbers of a run were not valid, and the reasons."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from locust_otel.core.catalogue import INVALID_REASONS

MAX_INVALID_SHARE = 0.1
"""Share of the judged time in which the numbers may be invalid; above it, nothing is decided."""

WORDS = {
    "cpu": "generator saturated (no CPU left)",
    "lag": "generator saturated (its event loop late)",
    "workers": "workers missing",
}
"""Descriptions of `catalogue.INVALID_REASONS`."""

_MAX_SPANS = 1000


@dataclass(slots=True)
class Span:
    """A time in which the numbers were not valid.

    Attributes:
        start_s: Seconds since the start of the run.
        end_s: Seconds since the start of the run.
        reasons: Of `catalogue.INVALID_REASONS`.
    """

    start_s: float
    end_s: float
    reasons: frozenset[str]


class Validity:
    """Collects the times at which the numbers of a run were not valid.

    Args:
        start_time: Start of the run in Unix time.
        from_s: End of the warm-up, in seconds since the start; invalid numbers before it do not matter.

    Attributes:
        spans: The times, in order; at most 1,000, of which the last is extended further.
    """

    def __init__(self, start_time: float, from_s: float) -> None:
        self.spans: list[Span] = []
        self._start_time = start_time
        self._looked_s = from_s

    def note(self, elapsed_s: float, reasons: Collection[str]) -> None:
        """Note the reasons why the numbers since the last call are not valid; none if they are."""
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
        """Return why the run as a whole is not valid, after this many judged seconds; empty if it is."""
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
