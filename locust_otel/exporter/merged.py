"""All requests of one run: the sum of the last reports of all sources.

A source is the local Locust process, or a worker of its master. Its numbers are cumulative, so the larger number wins:
a report that arrives twice counts once, and a late one changes nothing.
"""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from locust_otel.core.cardinality import ErrorTypes, Names
from locust_otel.core.catalogue import OTHER
from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import ErrorKey, Exemplar, RequestsSnapshot, SeriesKey, SeriesSnapshot
from locust_otel.wire.report import Piece, ReportError, SeriesReport, fingerprint


@dataclass(slots=True)
class _Series:
    """A series of the run; it shares `counts` and `exemplars` with the last snapshot while `frozen` is set."""

    key: SeriesKey
    counts: Counter[int] = field(default_factory=Counter)
    measured: int = 0
    unmeasured: int = 0
    sum_s: float = 0.0
    body_bytes: int = 0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)
    frozen: SeriesSnapshot | None = None
    saved: bytes | None = None

    def thaw(self) -> None:
        """Copy the fields that the last snapshot shares; call it before each change."""
        self.saved = None
        if self.frozen is not None:
            self.frozen = None
            self.counts = self.counts.copy()
            self.exemplars = self.exemplars.copy()

    def snapshot(self) -> SeriesSnapshot:
        """Return the series; the same object until the next change."""
        if self.frozen is None:
            self.frozen = SeriesSnapshot(
                self.key, self.counts, self.measured, self.unmeasured, self.sum_s, self.body_bytes, self.exemplars
            )
        return self.frozen

    def save(self) -> bytes:
        """Return the fields that cannot be computed from the sources' reports."""
        self.saved = pickle.dumps((self.key, self.sum_s, self.exemplars), pickle.HIGHEST_PROTOCOL)
        return self.saved


@dataclass(slots=True)
class _Reported:
    """The largest numbers that a source has reported for a series, and the series of the run."""

    merged: _Series
    counts: dict[int, int] = field(default_factory=dict)
    unmeasured: int = 0
    sum_s: float = 0.0
    body_bytes: int = 0
    saved: bytes | None = None

    def save(self, source: str, key: SeriesKey) -> bytes:
        """Return the numbers with their keys."""
        numbers = (self.counts, self.unmeasured, self.sum_s, self.body_bytes)
        self.saved = pickle.dumps((source, key, self.merged.key, *numbers), pickle.HIGHEST_PROTOCOL)
        return self.saved


class Merged:
    """The requests of a run.

    Args:
        layout: The bounds; the threshold of slow requests is one of them.
        slow_s: Seconds above which a request is slow.
        names: The methods and names that have series of their own.
    """

    def __init__(self, layout: Layout, slow_s: float, names: Names) -> None:
        self.layout = layout
        self.slow_s = slow_s
        self.names = names
        self._fingerprint = fingerprint(layout)
        self._error_types = ErrorTypes()
        self._series: dict[SeriesKey, _Series] = {}
        self._reported: dict[tuple[str, SeriesKey], _Reported] = {}
        self._errors: dict[ErrorKey, int] = {}
        self._user_errors: dict[tuple[str, str], int] = {}
        self._reported_errors: dict[tuple[str, tuple[str, ...]], int] = {}
        self._informed: set[str] = set()
        self.folds = False  # whether requests are counted under the name `_OTHER`

    def merge(self, source: str, piece: Piece) -> bool:
        """Replace the last numbers of a source by new ones.

        Returns:
            Whether to send the source the names that have series; true once, for a source that has reported others.

        Raises:
            ReportError: The piece has other bounds; nothing of it is merged.
        """
        if piece.layout != self._fingerprint:
            raise ReportError("a report with other histogram bounds than this run")
        last = len(self.layout.bounds)
        if any(series.counts and max(series.counts) > last for series in piece.series):
            raise ReportError("a report with buckets that this run does not have")
        has_others = False
        for series in piece.series:
            has_others |= self._replace(source, series)
        for key, number in piece.errors:
            if new := self._new(source, key, number):
                method, name = self.names.admitted(key.method, key.name)
                merged = ErrorKey(method, name, self._error_types.admitted(key.error_type))
                self._errors[merged] = self._errors.get(merged, 0) + new
        for (user_class, error_type), number in piece.user_errors:
            if new := self._new(source, (user_class, error_type), number):
                user_error = (user_class, self._error_types.admitted(error_type))
                self._user_errors[user_error] = self._user_errors.get(user_error, 0) + new
        if not has_others or source in self._informed:
            return False
        self._informed.add(source)
        return True

    def _new(self, source: str, key: tuple[str, ...], number: int) -> int:
        """Return the increase of an error count, and note the count."""
        known = self._reported_errors.get((source, key), 0)
        self._reported_errors[source, key] = max(number, known)
        return max(number - known, 0)

    def _replace(self, source: str, report: SeriesReport) -> bool:
        """Replace a source's last numbers of a series; return whether the name of the series is folded."""
        old = self._reported.get((source, report.key))
        if old is None:
            method, name = self.names.admitted(report.key.method, report.key.name)
            self.folds |= name == OTHER
            key = report.key._replace(method=method, name=name)
            old = self._reported[source, report.key] = _Reported(self._series.setdefault(key, _Series(key)))
        series, known = old.merged, old.counts
        series.thaw()
        old.saved = None
        counts, added = series.counts, 0
        for index, count in report.counts.items():
            if (difference := count - known.get(index, 0)) > 0:
                known[index] = count
                counts[index] += difference
                added += difference
        series.measured += added
        series.unmeasured += max(report.unmeasured - old.unmeasured, 0)
        # The difference is never negative; `s + new - old` can be a rounding error below `s`, and Prometheus takes a
        # falling sum for a reset.
        series.sum_s += max(report.sum_s - old.sum_s, 0.0)
        series.body_bytes += max(report.body_bytes - old.body_bytes, 0)
        old.unmeasured = max(report.unmeasured, old.unmeasured)
        old.sum_s = max(report.sum_s, old.sum_s)
        old.body_bytes = max(report.body_bytes, old.body_bytes)
        for index, exemplar in report.exemplars.items():
            last = series.exemplars.get(index)
            if index <= len(self.layout.classic_bounds) and (last is None or last.timestamp < exemplar.timestamp):
                series.exemplars[index] = exemplar
        return series.key.name != report.key.name

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a successor. It is saved each second, so only changed series are pickled again."""
        series, reported = list(self._series.values()), list(self._reported.items())
        return {
            **vars(self),
            "_series": [s.saved or s.save() for s in series],
            "_reported": [t.saved or t.save(source, key) for (source, key), t in reported],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        series, reported = state.pop("_series"), state.pop("_reported")
        vars(self).update(state)
        self._series, self._reported = {}, {}
        for saved in series:
            key, sum_s, exemplars = pickle.loads(saved)  # noqa: S301  # our own
            self._series[key] = _Series(key, sum_s=sum_s, exemplars=exemplars, saved=saved)
        for saved in reported:
            source, key, merged_key, *fields = pickle.loads(saved)  # noqa: S301  # our own
            last = self._reported[source, key] = _Reported(self._series[merged_key], *fields)
            last.saved = saved
            merged = last.merged
            merged.counts.update(last.counts)
            merged.measured += sum(last.counts.values())
            merged.unmeasured += last.unmeasured
            merged.body_bytes += last.body_bytes

    @property
    def total(self) -> int:
        """Requests so far."""
        return sum(series.measured + series.unmeasured for series in self._series.values())

    @property
    def folded(self) -> int:
        """Requests counted under the name `_OTHER`."""
        return sum(s.measured + s.unmeasured for s in self._series.values() if s.key.name == OTHER)

    def snapshot(self) -> RequestsSnapshot:
        """Return all requests so far."""
        return RequestsSnapshot(
            layout=self.layout,
            slow_s=self.slow_s,
            series=tuple(series.snapshot() for series in self._series.values()),
            errors=self._errors.copy(),
            user_errors=self._user_errors.copy(),
        )
