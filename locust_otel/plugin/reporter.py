"""Reports of one run in this process: pieces with the changes, each encoded in less than a millisecond.

`wire.report` defines the shape of a piece. Two reporters may follow the same requests: a worker with its own exporter
reports to that and to its master.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from locust_otel.core.snapshot import ErrorKey
from locust_otel.plugin.series import Requests, Series
from locust_otel.wire.report import encode, encode_counts, fingerprint

SERIES_PER_PIECE = 60
"""Series counted or encoded in one go, which takes half a millisecond."""

_BUCKETS_PER_SERIES = 8  # encoding so many buckets takes as long as encoding a series
_MAX_INDEXES = 500  # changed buckets listed for a series before duplicates are removed; more than there are buckets


class Reporter:
    """Reports the requests of a run; it follows them from now on."""

    def __init__(self, run_id: str, requests: Requests) -> None:
        self.run_id = run_id
        self._requests = requests
        self._layout = fingerprint(requests.layout)
        self._touched: dict[Series, Collection[int]] = {}
        self._errors: dict[ErrorKey, None] = {}
        self._healing: list[Series | ErrorKey] = []  # to repeat in the current round
        self._healed_per_call = 0
        requests.followers.append(self)

    def touched(self, series: Series, indexes: Collection[int]) -> None:
        """Add these changed buckets of a series to the next report; empty if only its other numbers changed."""
        if series not in self._touched:
            self._touched[series] = indexes
            return
        changed = self._touched[series] = [*self._touched[series], *indexes]
        if len(changed) > _MAX_INDEXES:  # the exporter has not read for a long time
            changed[:] = set(changed)

    def touched_error(self, key: ErrorKey) -> None:
        """Add the count of failed requests of a kind to the next report."""
        self._errors[key] = None

    def heal(self, ticks: int) -> None:
        """Add a part of all series and errors to the next report, even unchanged ones: all of them in so many calls.

        Locust's messages to its master may get lost, and with them changes that no other report contains.
        """
        if not self._healing:
            self._healing = [*self._requests.series.values(), *self._requests.errors]
            self._healed_per_call = -(-len(self._healing) // ticks)
        for _ in range(min(self._healed_per_call, len(self._healing))):
            part = self._healing.pop()
            if isinstance(part, Series):
                self.touched(part, part.counts)
            else:
                self.touched_error(part)

    def complete(self) -> list[bytes]:
        """Count and return everything that is recorded, in pieces; `last` has to follow."""
        self._requests.tally()
        self._healing.clear()
        self.heal(1)
        return list(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Yield the counted changes in pieces; each is encoded when the caller takes it."""
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
        """Return the piece that ends a report: errors, and the state of the process."""
        counts = self._requests.errors
        errors = [(key, counts[key]) for key in self._errors]
        self._errors.clear()
        return encode(self.run_id, self._layout, [], errors, list(self._requests.user_errors.items()), tail)


def _entry(series: Series, indexes: Collection[int]) -> tuple[Any, ...]:
    method, name, user_class, outcome = series.key
    exemplars = series.exemplars
    if exemplars:
        series.exemplars = {}
    return (
        method, name, user_class, 1 if outcome == "failure" else 0, series.unmeasured, series.sum_s, series.body_bytes,
        encode_counts(series.counts, indexes), exemplars,
    )  # fmt: skip
