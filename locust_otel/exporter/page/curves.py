"""The curves of the live page, one point a second, and the requests of each endpoint in the last ten seconds.

Both are differences between snapshots that are a second apart. A series that has not changed costs nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import mul
from typing import NamedTuple

from locust_otel.core.histogram import Layout, difference
from locust_otel.core.snapshot import RunSnapshot, SeriesSnapshot, Snapshot, WorkerSnapshot
from locust_otel.exporter.session import Session
from locust_otel.slo.counts import Endpoint

MAX_POINTS = 900  # fifteen minutes
RECENT_S = 10  # window of percentiles, and of the rates of endpoints
QUANTILES = (0.5, 0.95, 0.99)

COLUMNS = ("at_s", "requests", "failures", "bytes", "users", "p50_s", "p95_s", "p99_s", "cpu", "lag_s")
"""The values of a point: seconds since the start of the run, three rates a second, users, the percentiles of the last
`RECENT_S`, the CPU of the busiest generating process as a share of a core, and the mean lag of all these processes."""

# Workers report every three seconds. With these weights, the last second first, a report counts the same whenever it
# arrives: any three weights that are three seconds apart add up to 8.
_EVEN = (1, 2, 3, 3, 3, 3, 3, 3, 2, 1)
_MIN_LENGTH_S = 0.5  # between two points; a rate over less, as at the end of a run, would be noise
_UNSETTLED = 2  # first snapshots of a restarted exporter, in which requests from before the restart arrive


class RecentRequests(NamedTuple):
    """Requests of the last `RECENT_S`."""

    rate: float | None = None  # requests a second; None before the first point
    failure_rate: float | None = None  # failed ones, likewise
    times_s: tuple[float | None, ...] = (None,) * len(QUANTILES)  # in seconds; None if no request was measured


@dataclass(slots=True)
class _Tally:
    """Requests of one endpoint, or of all, in one second; `counts` by index of the bounds."""

    requests: int = 0
    failures: int = 0
    counts: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class _Second:
    """Changes between two snapshots; the tally of all requests has the key None."""

    length_s: float
    tallies: defaultdict[Endpoint | None, _Tally] = field(default_factory=lambda: defaultdict(_Tally))
    body_bytes: int = 0
    lag_s: float = 0.0
    lags: int = 0

    @property
    def sums(self) -> tuple[float, ...]:
        """Seconds, requests, failures, bytes, measurements of the lag, and their sum in seconds."""
        total = self.tallies[None]
        return self.length_s, total.requests, total.failures, self.body_bytes, self.lags, self.lag_s


@dataclass(slots=True)
class _Kept:
    """The points of a run, each as `COLUMNS`, kept for a restarted exporter."""

    run_id: str = ""
    points: deque[tuple[float | None, ...]] = field(default_factory=lambda: deque(maxlen=MAX_POINTS))


class Curves:
    """The curves of the current or last run; to read them, hold the lock of the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: _Kept = session.keep("curves", _Kept())
        self._unsettled = _UNSETTLED if self.run_id else 0
        self._restart((), 0.0)

    @property
    def run_id(self) -> str:
        """The run; empty before the first point."""
        return self._kept.run_id

    def add(self, snapshot: Snapshot) -> None:
        """Add the point of a snapshot, once a second."""
        run = snapshot.run
        if run is None:
            return
        if self.run_id != run.run_id:
            with self._session.lock:
                self._kept.run_id = run.run_id
                self._kept.points.clear()
                self._restart((), 0.0)
            self._unsettled = 0
        if self._unsettled:
            self._unsettled -= 1
            self._restart(run.requests.series, run.elapsed_s)
            self._new_lags(snapshot.workers)
        elif run.elapsed_s - self._elapsed_s >= _MIN_LENGTH_S:
            second = self._new_second(run)
            second.lags, second.lag_s = self._new_lags(snapshot.workers)
            with self._session.lock:
                self._is_distributed = snapshot.workers_expected is not None
                self._recent.append(second)
                self._kept.points.append(tuple(map(rounded, self._new_point(snapshot, run))))

    def _restart(self, series: tuple[SeriesSnapshot, ...], elapsed_s: float) -> None:
        """Compare the next snapshot with these values."""
        self._series = series
        self._elapsed_s = elapsed_s
        self._lags: dict[str, tuple[int, float]] = {}
        self._recent: deque[_Second] = deque(maxlen=RECENT_S)
        self._is_distributed = False

    def _new_second(self, run: RunSnapshot) -> _Second:
        second = _Second(run.elapsed_s - self._elapsed_s)
        known = iter(self._series)  # series are only added, at the end
        for new in self._session.in_turns(run.requests.series):
            old = next(known, None)
            if old is new:
                continue
            counts, total, body_bytes = (old.counts, old.total, old.body_bytes) if old is not None else ({}, 0, 0)
            second.body_bytes += new.body_bytes - body_bytes
            changes = difference(new.counts, counts)
            for tally in second.tallies[None], second.tallies[new.key[:2]]:
                tally.requests += new.total - total
                tally.failures += new.total - total if new.key.outcome == "failure" else 0
                tally.counts.update(changes)
        self._series, self._elapsed_s = run.requests.series, run.elapsed_s
        return second

    def _new_lags(self, workers: Sequence[WorkerSnapshot]) -> tuple[int, float]:
        """Return the number of measurements of the lag since the last snapshot, and their sum in seconds."""
        before = self._lags
        self._lags = {worker.worker: (sum(worker.lag_counts.values()), worker.lag_sum_s) for worker in workers}
        number, sum_s = 0, 0.0
        for name, (count, lag_s) in self._lags.items():
            old_count, old_lag_s = before.get(name, (count, lag_s))
            if count > old_count:  # smaller after a restart of the worker
                number, sum_s = number + count - old_count, sum_s + max(lag_s - old_lag_s, 0.0)
        return number, sum_s

    def _new_point(self, snapshot: Snapshot, run: RunSnapshot) -> list[float | None]:
        weights = _EVEN if self._is_distributed else (1,)
        columns = zip(*(second.sums for second in reversed(self._recent)), strict=True)
        length_s, requests, failures, body_bytes, lags, lag_s = (sum(map(mul, weights, column)) for column in columns)
        cpu = [worker.cpu_ratio for worker in snapshot.workers if worker.cpu_ratio is not None]
        return [
            run.elapsed_s,
            requests / length_s,
            failures / length_s,
            body_bytes / length_s,
            sum(run.users.values()),
            *self.recent(run.requests.layout).times_s,
            max(cpu, default=None),
            lag_s / lags if lags else None,
        ]

    def recent(self, layout: Layout, endpoint: Endpoint | None = None) -> RecentRequests:
        """Return the recent requests of an endpoint, or of all."""
        counts = Counter[int]()
        requests = failures = length_s = 0.0
        weights = _EVEN if self._is_distributed else repeat(1)
        for weight, second in zip(weights, reversed(self._recent), strict=False):
            length_s += weight * second.length_s
            if tally := second.tallies.get(endpoint):
                requests += weight * tally.requests
                failures += weight * tally.failures
                counts.update(tally.counts)
        return recent_requests(layout, counts, requests, failures, length_s)

    def columns(self) -> Mapping[str, list[float | None]]:
        """Return all points by `COLUMNS`, rounded for the charts."""
        return {name: [point[index] for point in self._kept.points] for index, name in enumerate(COLUMNS)}

    def last(self) -> Mapping[str, float | None]:
        """Return the last point; empty before the first."""
        return dict(zip(COLUMNS, self._kept.points[-1], strict=True)) if self._kept.points else {}


def recent_requests(
    layout: Layout, counts: Mapping[int, int], requests: float, failures: float, length_s: float
) -> RecentRequests:
    """Return the rates and percentiles of the requests of `length_s` seconds."""
    if length_s <= 0:
        return RecentRequests()
    times_s = tuple(layout.quantile(counts, q) for q in QUANTILES)
    return RecentRequests(requests / length_s, failures / length_s, times_s)


def rounded(value: float | None) -> float | None:
    """Return a value with as many digits as a chart can show."""
    if value is None:
        return None
    return round(value, 1) if value >= 1000 else float(f"{value:.4g}")
