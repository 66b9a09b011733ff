"""What the exporters did so far: the account behind our own health metrics."""

from __future__ import annotations

from time import time

from locust_otel.core.snapshot import ExportCount


class Ledger:
    """Counts exports by exporter and outcome.

    Attributes:
        last_success: When each exporter last succeeded, in Unix time.
        rejected: Points and records that the other side refused of what it took, by exporter.
    """

    def __init__(self) -> None:
        self.last_success: dict[str, float] = {}
        self.rejected: dict[str, int] = {}
        self._counts: dict[tuple[str, str], tuple[int, float]] = {}

    def declare(self, exporter: str) -> None:
        """Begin at 0, so that the first failure is a change that can be seen."""
        for outcome in ("success", "failure"):
            self._counts.setdefault((exporter, outcome), (0, 0.0))
        self.rejected.setdefault(exporter, 0)

    def note(self, exporter: str, *, ok: bool, seconds: float, rejected: int = 0) -> None:
        """Note one export and how long it took."""
        key = (exporter, "success" if ok else "failure")
        count, total = self._counts.get(key, (0, 0.0))
        self._counts[key] = (count + 1, total + seconds)
        if ok:
            self.last_success[exporter] = time()
        if rejected:
            self.rejected[exporter] = self.rejected.get(exporter, 0) + rejected

    def counts(self) -> tuple[ExportCount, ...]:
        """Return the counts so far."""
        return tuple(ExportCount(*key, count, seconds) for key, (count, seconds) in self._counts.items())
