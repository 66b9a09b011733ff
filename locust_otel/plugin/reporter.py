"""Makes the reports of one run in this process: pieces of what has changed, each made in less than a millisecond.

`wire.report` says how a piece is shaped. Two reporters may follow the same requests: a worker whose own exporter serves
its numbers tells them to that and to its master.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from locust_otel.core.snapshot import ErrorKey
from locust_otel.plugin.series import Requests, Series
from locust_otel.wire.report import encode, encode_counts, fingerprint

SERIES_PER_PIECE = 60
"""Series counted or told in one go, which takes half a millisecond."""

_BUCKETS_PER_SERIES = 8  # so many more buckets take as long as another series
_MAX_NOTES = 500  # of buckets of a series, before double ones are thrown out; more than there are buckets


class Reporter:
    """Reports the requests of a run, which it follows from now on."""

    def __init__(self, run_id: str, requests: Requests) -> None:
        self.run_id = run_id
        self._requests = requests
        self._layout = fingerprint(requests.layout)
        self._touched: dict[Series, Collection[int]] = {}
        self._errors: dict[ErrorKey, None] = {}
        self._healing: list[Series | ErrorKey] = []
        self._healed_at_once = 0
        requests.followers.append(self)

    def touched(self, series: Series, indexes: Collection[int]) -> None:
        """Note that these buckets of a series have changed, or only its other numbers."""
        if series not in self._touched:
            self._touched[series] = indexes
            return
        known = self._touched[series] = [*self._touched[series], *indexes]
        if len(known) > _MAX_NOTES:  # the exporter has not read for long
            known[:] = set(known)

    def touched_error(self, key: ErrorKey) -> None:
        """Note that the count of failed requests of a kind has changed."""
        self._errors[key] = None

    def heal(self, ticks: int) -> None:
        """Have a part of everything told whole with the next report, changed or not: all within so many calls.

        Locust's messages to its master may get lost, and with them what only they told.
        """
        if not self._healing:
            self._healing = [*self._requests.series.values(), *self._requests.errors]
            self._healed_at_once = -(-len(self._healing) // ticks)
        for _ in range(min(self._healed_at_once, len(self._healing))):
            part = self._healing.pop()
            if isinstance(part, Series):
                self.touched(part, part.counts)
            else:
                self.touched_error(part)

    def touch_all(self) -> None:
        """Have everything told whole with the next report."""
        for series in self._requests.series.values():
            self.touched(series, series.counts)
        self._errors.update(dict.fromkeys(self._requests.errors))

    def pieces(self) -> Iterator[bytes]:
        """Yield what has changed and is counted, in pieces; each is made when it is asked for."""
        while self._touched:
            entries: list[Any] = []
            weight = 0
            while self._touched and weight < SERIES_PER_PIECE * _BUCKETS_PER_SERIES:
                series = next(iter(self._touched))
                indexes = self._touched.pop(series)
                entries.append(_entry(series, indexes))
                weight += _BUCKETS_PER_SERIES + len(indexes)
            yield encode(self.run_id, self._layout, entries)

    def last(self, tail: Mapping[str, Any] | None) -> bytes:
        """Return the piece that ends a report: errors, and what the process says of itself."""
        errors, user_errors = self._requests.errors, self._requests.user_errors
        told = [(key, errors[key]) for key in self._errors]
        self._errors.clear()
        return encode(self.run_id, self._layout, [], told, list(user_errors.items()), tail)


def _entry(series: Series, indexes: Collection[int]) -> tuple[Any, ...]:
    method, name, user_class, outcome = series.key
    exemplars = series.exemplars
    if exemplars:
        series.exemplars = {}
    return (
        method,
        name,
        user_class,
        1 if outcome == "failure" else 0,
        series.unmeasured,
        series.sum_s,
        series.body_bytes,
        encode_counts(series.counts, indexes),
        exemplars,
    )
