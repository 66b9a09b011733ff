"""Who scrapes, how often, and who has the final values already.

A headless run ends between two scrapes, and what happened after the last one would be lost. So the endpoint stays up
until every scraper that was there lately came once more; this module knows who that is and how long it may take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

PATIENCE = 1.2
"""Intervals of a scraper to wait for it; also how many intervals ago it may have come to be waited for at all."""

INTERVALS_KEPT = 2
"""Of so many intervals the longest counts: after a scrape that came late the next one seems to come early."""

MAX_INTERVAL_S = 120.0
"""Who comes less often than this is a visitor and not waited for."""

MAX_SCRAPERS = 100
"""Scrapers kept in mind; the one longest gone makes room."""


@dataclass(slots=True)
class _Scraper:
    last: float
    intervals_s: tuple[float, ...]
    has_final: bool = False
    is_answered: bool = False
    is_observed: bool = False


class Scrapers:
    """Remembers each scraper, told apart by its address and user agent.

    Attributes:
        last_total: Requests of the run in the values last delivered; None before the first scrape of the run.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.last_total: int | None = None
        self._clock = clock
        self._scrapers: dict[tuple[str, str], _Scraper] = {}

    def came(self, client: tuple[str, str], *, timeout_s: float | None) -> None:
        """Note a scrape that has just come; its answer may take a while, and the run may end meanwhile.

        Args:
            client: Address and user agent.
            timeout_s: The scrape timeout it told, as Prometheus does; until a second scrape shows the interval, this
                is the best guess at it. None for clients that tell none: they count as scrapers from the second time.
        """
        now = self._clock()
        known = self._scrapers.pop(client, None)
        interval = now - known.last if known is not None else timeout_s
        # The first of them is a guess, and goes when there is something observed.
        before = known.intervals_s[1 - INTERVALS_KEPT :] if known is not None and known.is_observed else ()
        intervals = () if interval is None or interval > MAX_INTERVAL_S else (*before, interval)
        self._scrapers[client] = _Scraper(now, intervals, is_observed=known is not None)
        while len(self._scrapers) > MAX_SCRAPERS:
            del self._scrapers[next(iter(self._scrapers))]

    def seen(self, client: tuple[str, str], *, timeout_s: float | None, is_final: bool, total: int | None) -> None:
        """Note that the answer to a scrape was sent.

        Args:
            client: Address and user agent.
            timeout_s: As for `came`, which is made up for if it was not called.
            is_final: Whether it got the final values of the run.
            total: Requests of the run in those values.
        """
        if client not in self._scrapers or self._scrapers[client].is_answered:
            self.came(client, timeout_s=timeout_s)
        self._scrapers[client].has_final = is_final
        self._scrapers[client].is_answered = True
        self.last_total = total

    def forget_totals(self) -> None:
        """Forget who has final values: a new run begins."""
        self.last_total = None
        for scraper in self._scrapers.values():
            scraper.has_final = False

    def awaited(self) -> dict[str, float]:
        """Return the scrapers still to come for the final values: address, and seconds until it is given up."""
        now = self._clock()
        patience = {
            client: scraper.last + PATIENCE * max(scraper.intervals_s) - now
            for client, scraper in self._scrapers.items()
            if scraper.intervals_s and not scraper.has_final
        }
        awaited: dict[str, float] = {}
        for (address, _), left in patience.items():  # several may come from one address, through a NAT
            if left > 0:
                awaited[address] = max(left, awaited.get(address, 0.0))
        return awaited
