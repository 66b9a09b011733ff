"""The scrapers of `/metrics`: the interval of each, and which of them have the final values of a run.

A headless run ends between two scrapes, and Prometheus would miss the requests after the last one. So the endpoint
stays up until every recent scraper has come once more, for at most 1.2 of its intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any

PROMETHEUS = "prometheus"
"""Name of the endpoint among the exports."""

PATIENCE = 1.2  # intervals to wait for a scraper after its last scrape
INTERVALS_KEPT = 2  # the longer one counts: after a late scrape the next one seems early
MAX_INTERVAL_S = 120.0  # clients that come less often are visitors; the endpoint does not wait for them
MAX_SCRAPERS = 100  # kept; the one that has been away longest is dropped first


@dataclass(slots=True)
class _Scraper:
    last: float
    intervals_s: tuple[float, ...]
    is_observed: bool  # False if the interval is the timeout that it sent
    final_of: str = ""  # the run whose final values it has


class Scrapers:
    """Keeps each scraper by its address and user agent.

    Every method may be called from every thread. A pickled object is valid in another process of this machine, since
    they share the monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._scrapers: dict[tuple[str, str], _Scraper] = {}
        self._totals: dict[str, int] = {}  # of this run and the one before

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"_scrapers": self._scrapers.copy(), "_totals": self._totals.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self.__dict__ |= state

    def came(self, client: tuple[str, str], *, timeout_s: float | None) -> None:
        """Note a scrape that has just come; the run may end before it is answered.

        Args:
            client: Address and user agent.
            timeout_s: The scrape timeout that Prometheus sends: the best guess at the interval until a second scrape
                shows it. None if the client sent none; such a client counts as a scraper from its second request.
        """
        with self._lock:
            now = self._clock()
            known = self._scrapers.pop(client, None)
            # Prometheus allows no timeout above the interval. Two scrapes may be closer if the first one had to wait.
            interval = max(now - known.last, timeout_s or 0.0) if known is not None else timeout_s
            # A guess is dropped as soon as an interval is observed.
            before = known.intervals_s[1 - INTERVALS_KEPT :] if known is not None and known.is_observed else ()
            intervals = () if interval is None or interval > MAX_INTERVAL_S else (*before, interval)
            self._scrapers[client] = _Scraper(now, intervals, is_observed=known is not None)
            while len(self._scrapers) > MAX_SCRAPERS:
                del self._scrapers[next(iter(self._scrapers))]

    def seen(self, client: tuple[str, str], *, run_id: str, total: int, is_final: bool) -> None:
        """Note that a scrape was answered, with `total` requests of this run; `run_id` is empty before the first."""
        with self._lock:
            if scraper := self._scrapers.get(client):  # None if many others have come since
                scraper.final_of = run_id if is_final else ""
            if run_id:
                self._totals[run_id] = total
                for earlier in list(self._totals)[:-2]:
                    del self._totals[earlier]

    def last_total(self, run_id: str) -> int | None:
        """Return the number of requests in the last scrape of a run; None before its first scrape."""
        with self._lock:
            return self._totals.get(run_id)

    def awaited(self, run_id: str) -> dict[str, float]:
        """Return the scrapers without the final values of a run: their addresses, and the seconds left to wait."""
        awaited: dict[str, float] = {}
        with self._lock:
            now = self._clock()
            for (address, _), scraper in self._scrapers.items():  # several may have one address, behind a NAT
                if scraper.intervals_s and scraper.final_of != run_id:
                    left_s = scraper.last + PATIENCE * max(scraper.intervals_s) - now
                    if left_s > awaited.get(address, 0.0):
                        awaited[address] = left_s
        return awaited
