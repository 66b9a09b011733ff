"""The scrapers of `/metrics`: how often each comes, and which of them have the final values of a run.

A headless run ends between two scrapes, and what happened after the last one would be lost. So the endpoint stays up
until every scraper that came lately has come once more, at most 1.2 of its intervals.
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
INTERVALS_KEPT = 2  # the longest of them counts: after a scrape that came late the next one seems to come early
MAX_INTERVAL_S = 120.0  # a client that comes less often is a visitor and not waited for
MAX_SCRAPERS = 100  # remembered; the one that has been away for longest is forgotten first


@dataclass(slots=True)
class _Scraper:
    last: float
    intervals_s: tuple[float, ...]
    is_observed: bool
    final_of: str = ""  # the run whose final values it has


class Scrapers:
    """Remembers each scraper, told apart by its address and user agent.

    Every method may be called from every thread. What is pickled holds in another process of this machine, since all
    share the monotonic clock.
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
        """Note a scrape that has just come; its answer may take a while, and the run may end meanwhile.

        Args:
            client: Address and user agent.
            timeout_s: The scrape timeout it sent, as Prometheus does; until a second scrape shows the interval, this
                is the best guess at it. None for clients that send none: they count as scrapers from the second time.
        """
        with self._lock:
            now = self._clock()
            known = self._scrapers.pop(client, None)
            # Prometheus allows no timeout that is longer than the interval; two scrapes may be closer to each other,
            # if the first one had to wait.
            interval = max(now - known.last, timeout_s or 0.0) if known is not None else timeout_s
            # The first of them is a guess, and goes when there is an observed one.
            before = known.intervals_s[1 - INTERVALS_KEPT :] if known is not None and known.is_observed else ()
            intervals = () if interval is None or interval > MAX_INTERVAL_S else (*before, interval)
            self._scrapers[client] = _Scraper(now, intervals, is_observed=known is not None)
            while len(self._scrapers) > MAX_SCRAPERS:
                del self._scrapers[next(iter(self._scrapers))]

    def seen(self, client: tuple[str, str], *, run_id: str, total: int, is_final: bool) -> None:
        """Note that the answer to a scrape was sent, with so many requests of this run; an empty `run_id` for none."""
        with self._lock:
            if scraper := self._scrapers.get(client):  # not, if many others have come since
                scraper.final_of = run_id if is_final else ""
            if run_id:
                self._totals[run_id] = total
                for earlier in list(self._totals)[:-2]:
                    del self._totals[earlier]

    def last_total(self, run_id: str) -> int | None:
        """Return how many requests of a run were in the values last delivered; None before its first scrape."""
        with self._lock:
            return self._totals.get(run_id)

    def awaited(self, run_id: str) -> dict[str, float]:
        """Return the scrapers without the final values of a run: address, and seconds until it is given up."""
        awaited: dict[str, float] = {}
        with self._lock:
            now = self._clock()
            for (address, _), scraper in self._scrapers.items():  # several may have one address, behind a NAT
                if scraper.intervals_s and scraper.final_of != run_id:
                    left_s = scraper.last + PATIENCE * max(scraper.intervals_s) - now
                    if left_s > awaited.get(address, 0.0):
                        awaited[address] = left_s
        return awaited
