"""Families of points from a snapshot, for every format and protocol.

A family is a metric of the catalogue with its points. Families and points are generated one by one, so that no number
is in memory twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from locust_otel.core import catalogue
from locust_otel.core.catalogue import INVALID_REASONS, OUTCOMES, RUN_STATES, SLO_STATUSES, WORKER_STATES, Metric, Scope
from locust_otel.core.histogram import Layout, layout
from locust_otel.core.snapshot import Exemplar, ObjectivePoint, RunSnapshot, SeriesSnapshot, Snapshot, WorkerSnapshot

ALL_SCOPES = frozenset(Scope)
MASTER_SCOPES = frozenset({Scope.RUN, Scope.SLO, Scope.HEALTH})
WORKER_SCOPES = frozenset({Scope.REQUESTS, Scope.GENERATOR, Scope.HEALTH})


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a counter or gauge; `len(labels) == len(family.label_names)`."""

    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """One histogram."""

    labels: tuple[str, ...]
    layout: Layout
    counts: Mapping[int, int]  # by index of the bounds of `layout`, without zeros
    sum: float  # of the counted values, in the unit of the metric
    exemplars: Mapping[int, Exemplar]  # by index into the classic view
    source: SeriesSnapshot | None = None  # source of the numbers; the same object means the same numbers


@dataclass(frozen=True, slots=True)
class Family:
    """A metric and its points, which can be read once and may be empty."""

    metric: Metric
    label_names: tuple[str, ...]  # labels of the metric; for `locust_run_info` the user's labels after them
    start_time: float  # Unix time at which counters and histograms were 0: the start of the run or of the process
    points: Iterator[Point | HistogramPoint]


def families(snapshot: Snapshot, scopes: frozenset[Scope] = ALL_SCOPES) -> Iterator[Family]:
    """Yield the families of the given scopes, in the order of the catalogue."""
    run_start = snapshot.run.start_time if snapshot.run is not None else snapshot.process_start_time
    for metric, label_names, points in _all(snapshot):
        if metric.scope in scopes:
            start_time = run_start if "run_id" in label_names else snapshot.process_start_time
            yield Family(metric, label_names, start_time, points)


_Draft = tuple[Metric, tuple[str, ...], Iterator[Point | HistogramPoint]]


def _all(snapshot: Snapshot) -> Iterator[_Draft]:
    run = snapshot.run
    run_id = run.run_id if run is not None else ""
    if run is not None:
        yield from _requests(run)
        yield from _run(run, snapshot.invalid_reasons)
    if snapshot.workers_expected is not None:
        states = snapshot.worker_states
        yield _plain(catalogue.WORKERS, (((run_id, state), states.get(state, 0)) for state in WORKER_STATES))
        yield _plain(catalogue.WORKERS_EXPECTED, [((run_id,), snapshot.workers_expected)])
    if run is not None:
        if run.slo is not None:
            yield from _slo(run_id, run.slo)
        yield _plain(catalogue.MARKS, (((run_id, *mark), count) for mark, count in run.marks.items()))
    yield from _generator(snapshot.workers, run_id)
    yield from _health(snapshot)


def _plain(metric: Metric, values: Iterable[tuple[tuple[str, ...], float]]) -> _Draft:
    """Return a counter or gauge from the labels and the value of each point."""
    return metric, metric.labels, (Point(labels, value) for labels, value in values)


def _requests(run: RunSnapshot) -> Iterator[_Draft]:
    run_id, requests = run.run_id, run.requests
    totals: dict[tuple[str, ...], int] = {}
    slow, body_bytes = defaultdict[tuple[str, ...], int](int), defaultdict[tuple[str, ...], int](int)
    for series in requests.series:
        labels = (run_id, *series.key)
        # A failure ratio needs both outcomes, so both have a point from the first request on.
        for outcome in OUTCOMES:
            totals.setdefault((*labels[:-1], outcome), 0)
        totals[labels] = series.total
        slow[labels[:-1]] += requests.slow(series)
        body_bytes[labels[:-2]] += series.body_bytes
    yield _plain(catalogue.REQUESTS, totals.items())
    yield (
        catalogue.REQUEST_DURATION,
        catalogue.REQUEST_DURATION.labels,
        (HistogramPoint((run_id, *s.key), requests.layout, s.counts, s.sum_s, s.exemplars, s) for s in requests.series),
    )
    yield _plain(catalogue.REQUEST_ERRORS, (((run_id, *key), count) for key, count in requests.errors.items()))
    yield _plain(catalogue.SLOW_REQUESTS, slow.items())
    yield _plain(catalogue.RESPONSE_BODY, body_bytes.items())
    yield _plain(catalogue.USER_ERRORS, (((run_id, *key), count) for key, count in requests.user_errors.items()))


def _run(run: RunSnapshot, invalid_reasons: frozenset[str]) -> Iterator[_Draft]:
    run_id = run.run_id
    labels = (run_id,)
    yield _plain(catalogue.USERS, (((run_id, name), count) for name, count in run.users.items()))
    yield _plain(catalogue.USERS_TARGET, (((run_id, name), count) for name, count in run.users_target.items()))
    yield _plain(catalogue.RUN_STATE, (((run_id, state), state == run.state) for state in RUN_STATES))
    yield catalogue.RUN_INFO, ("run_id", *run.info), iter([Point((run_id, *run.info.values()), 1)])
    yield _plain(catalogue.RUN_START, [(labels, run.start_time)])
    yield _plain(catalogue.RUN_ELAPSED, [(labels, run.elapsed_s)])
    yield _plain(catalogue.RUN_ACTIVE, [(labels, run.active)])
    yield _plain(catalogue.RUN_VALID, [(labels, not invalid_reasons)])
    yield _plain(catalogue.RUN_INVALID, (((run_id, reason), reason in invalid_reasons) for reason in INVALID_REASONS))


def _slo(run_id: str, slo: tuple[ObjectivePoint, ...]) -> Iterator[_Draft]:
    def plain(metric: Metric, value: Callable[[ObjectivePoint], float | None]) -> _Draft:
        """Return a metric with one point for each objective that has a value."""
        values = ((labels(point), value(point)) for point in slo)
        return _plain(metric, ((names, number) for names, number in values if number is not None))

    def labels(point: ObjectivePoint) -> tuple[str, ...]:
        return run_id, point.name, point.service

    ratios = [point for point in slo if point.target is not None]
    events = (((*labels(p), event), count) for p in ratios for event, count in (("good", p.good), ("bad", p.bad)))
    yield _plain(catalogue.SLO_EVENTS, events)
    yield plain(catalogue.SLO_MEAN_SECONDS, lambda p: p.sum_s if p.target is None else None)
    yield plain(catalogue.SLO_MEAN_REQUESTS, lambda p: p.good if p.target is None else None)
    yield plain(catalogue.SLO_OBJECTIVE, lambda p: p.target)
    yield plain(catalogue.SLO_THRESHOLD, lambda p: p.within_s)
    yield plain(catalogue.SLO_MIN_REQUESTS, lambda p: p.min_requests)
    statuses = (((*labels(p), status), status == p.status) for p in slo for status in SLO_STATUSES)
    yield _plain(catalogue.SLO_STATUS, statuses)


def _generator(workers: Sequence[WorkerSnapshot], run_id: str) -> Iterator[_Draft]:
    named = [((run_id, worker.worker), worker) for worker in workers]
    yield _plain(catalogue.WORKER_CPU, ((labels, w.cpu_ratio) for labels, w in named if w.cpu_ratio is not None))
    memory = ((labels, w.memory_bytes) for labels, w in named if w.memory_bytes is not None)
    yield _plain(catalogue.WORKER_MEMORY, memory)
    yield _plain(catalogue.WORKER_USERS, ((labels, w.users) for labels, w in named))
    lags = ((labels, w.lag_counts, w.lag_sum_s) for labels, w in named)
    delays = ((labels, w.schedule_counts, w.schedule_sum_s) for labels, w in named if w.schedule_counts)
    for metric, values in ((catalogue.GENERATOR_LAG, lags), (catalogue.SCHEDULE_LAG, delays)):
        points = (HistogramPoint(labels, layout(), counts, sum_s, {}) for labels, counts, sum_s in values)
        yield metric, metric.labels, points


def _health(snapshot: Snapshot) -> Iterator[_Draft]:
    health = snapshot.health
    yield _plain(catalogue.EXPORTS, (((e.exporter, e.outcome), e.count) for e in health.exports))
    yield _plain(catalogue.EXPORT_DURATION, (((e.exporter, e.outcome), e.seconds) for e in health.exports))
    yield _plain(catalogue.LAST_EXPORT, (((exporter,), when) for exporter, when in health.last_exports.items()))
    yield _plain(catalogue.REJECTED_POINTS, (((exporter,), n) for exporter, n in health.rejected_points.items()))
    yield _plain(catalogue.EXPORTER_RESTARTS, [((), health.restarts)])
    yield _plain(catalogue.REPORTS_MERGED, [((), health.merged_reports)])
    yield _plain(catalogue.FOLDED_REQUESTS, [((), health.folded_requests)])
    yield _plain(catalogue.LISTENER_ERRORS, [((), health.listener_errors)])
    yield _plain(catalogue.SERIES, [((), len(snapshot.run.requests.series) if snapshot.run else 0)])
    if health.unreconciled is not None:
        yield _plain(catalogue.UNRECONCILED, [((), health.unreconciled)])
    yield _plain(catalogue.BUILD_INFO, [(tuple(health.versions.values()), 1)])
