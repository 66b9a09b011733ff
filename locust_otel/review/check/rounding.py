"""Locust's rounding of response times, and what it leaves to decide at a threshold.

Locust keeps 147 ms as 150, 3,432 ms as 3,400: exact below 100 ms, to tens below 1 s, to hundreds below 10 s, to
thousands above, halves to even. (`bucket_response_time` in Locust's stats.py.) A rounded time below the rounded
threshold is below the threshold, one above it is above. Equal to it, it says nothing, unless the threshold is itself a
number the rounding keeps: then it is compared as it stands in the file, as people do.
"""

from __future__ import annotations

from decimal import Decimal

from locust_otel.slo.objectives import plain


def rounded(ms: Decimal) -> Decimal:
    """Return a response time in ms as Locust keeps it."""
    digits = 0 if ms < 100 else -1 if ms < 1000 else -2 if ms < 10000 else -3
    return plain(round(ms, digits))


class Threshold:
    """A duration that response times as Locust keeps them are compared with.

    Args:
        within_s: Seconds.
    """

    def __init__(self, within_s: Decimal) -> None:
        self.ms = plain(within_s * 1000)
        kept = rounded(self.ms)
        self.is_kept = kept == self.ms
        # All between, not only the rounded threshold: Locust's rounding can be replaced by a finer one.
        self._unclear = (min(self.ms, kept), max(self.ms, kept))

    def is_exceeded(self, ms: int) -> bool | None:
        """Return whether a time as Locust keeps it is above; None where the rounding hides that."""
        if self._unclear[0] <= ms <= self._unclear[1]:
            return False if self.is_kept else None
        return ms > self.ms

    def unclear(self, ms: int) -> str:
        """Return why a time says nothing."""
        return f"not decidable: Locust rounds response times, and {ms:,} ms may be above or below {self.ms} ms"
