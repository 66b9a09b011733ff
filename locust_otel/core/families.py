"""From a snapshot to families of points: what every exporter sends, whatever its format.

A family is a metric of the catalogue with its points. Both come one after the other: nothing is held twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from locust_otel.core import catalogue
from locust_otel.core.catalogue import INVALID_REASONS, OUTCOMES, RUN_STATES, SLO_STATUSES, WORKER_STATES, Metric, Scope
from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import Exemplar, ObjectivePoint, RunSnapshot, SeriesSnapshot, Snapshot

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
    """One histogram.

    Attributes:
        counts: As `layout` shapes them.
        sum: Sum of what was counted, in the unit of the metric.
        exemplars: By index into the classic view.
        source: Where the numbers come from; the same object again means the same numbers. None where that is not known.
    """

    labels: tuple[str, ...]
    layout: Layout
    counts: Sequence[int]
    sum: float
    exemplars: Mapping[int, Exemplar]
    source: SeriesSnapshot | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """A metric and its points, to be read once; there may be none.

    Attributes:
        label_names: Those of the metric, and for `locust_run_info` the user's own after them.
        start_time: When its counters and histograms were 0, in Unix time: the start of the run or of the process.
    """

    metric: Metric
    label_names: tuple[str, ...]
    start_time: float
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
    if run is not None:
        yield from _requests(run)
        yield from _run(run, snapshot)
    yield from _workers(snapshot, run.run_id if run else "")
    if run is not None:
        if run.slo is not None:
            yield from _slo(run.run_id, run.slo)
        yield _plain(catalogue.MARKS, (((run.run_id, *mark), count) for mark, count in run.marks.items()))
    yield from _generator(snapshot, run.run_id if run else "")
    yield from _health(snapshot)


def _plain(metric: Metric, points: Iterable[tuple[tuple[str, ...], float]]) -> _Draft:
    return metric, metric.labels, (Point(labels, value) for labels, value in points)


def _requests(run: RunSnapshot) -> Iterator[_Draft]:
    run_id, requests = run.run_id, run.requests
    # Outcomes side by side: a ratio of failures needs both, so both are there from the first request on, at 0.
    pairs: dict[tuple[str, str, str], dict[str, SeriesSnapshot]] = {}
    for series in requests.series:
        pairs.setdefault(series.key[:3], {})[series.key.outcome] = series

    yield _plain(
        catalogue.REQUESTS,
        (
            ((run_id, *pair, outcome), outcomes[outcome].total if outcome in outcomes else 0)
            for pair, outcomes in pairs.items()
            for outcome in OUTCOMES
        ),
    )
    yield (
        catalogue.REQUEST_DURATION,
        catalogue.REQUEST_DURATION.labels,
        (HistogramPoint((run_id, *s.key), requests.layout, s.counts, s.sum_s, s.exemplars, s) for s in requests.series),
    )
    yield _plain(catalogue.REQUEST_ERRORS, (((run_id, *key), count) for key, count in requests.errors.items()))
    yield _plain(
        catalogue.SLOW_REQUESTS,
        (
            ((run_id, *pair), sum(requests.slow(series) for series in outcomes.values()))
            for pair, outcomes in pairs.items()
        ),
    )
    body_bytes: dict[tuple[str, str], int] = {}
    for series in requests.series:
        endpoint = series.key[:2]
        body_bytes[endpoint] = body_bytes.get(endpoint, 0) + series.body_bytes
    yield _plain(catalogue.RESPONSE_BODY, (((run_id, *endpoint), count) for endpoint, count in body_bytes.items()))
    yield _plain(catalogue.USER_ERRORS, (((run_id, *key), count) for key, count in requests.user_errors.items()))


def _run(run: RunSnapshot, snapshot: Snapshot) -> Iterator[_Draft]:
    run_id = run.run_id
    of_run = (run_id,)
    yield _plain(catalogue.USERS, (((run_id, name), count) for name, count in run.users.items()))
    yield _plain(catalogue.USERS_TARGET, (((run_id, name), count) for name, count in run.users_target.items()))
    yield _plain(catalogue.RUN_STATE, (((run_id, state), state == run.state) for state in RUN_STATES))
    yield catalogue.RUN_INFO, ("run_id", *run.info), iter([Point((run_id, *run.info.values()), 1)])
    yield _plain(catalogue.RUN_START, [(of_run, run.start_time)])
    yield _plain(catalogue.RUN_ELAPSED, [(of_run, run.elapsed_s)])
    yield _plain(catalogue.RUN_ACTIVE, [(of_run, run.active)])
    reasons = snapshot.invalid_reasons
    yield _plain(catalogue.RUN_VALID, [(of_run, not reasons)])
    yield _plain(catalogue.RUN_INVALID, (((run_id, reason), reason in reasons) for reason in INVALID_REASONS))


def _slo(run_id: str, slo: tuple[ObjectivePoint, ...]) -> Iterator[_Draft]:
    def plain(metric: Metric, values: Callable[[ObjectivePoint], Iterable[tuple[tuple[str, ...], float]]]) -> _Draft:
        return _plain(
            metric,
            (((run_id, p.name, p.service, *more), value) for p in slo for more, value in values(p)),
        )

    def of_mean(value: float, point: ObjectivePoint) -> list[tuple[tuple[str, ...], float]]:
        return [((), value)] if point.target is None else []

    def known(value: float | None) -> list[tuple[tuple[str, ...], float]]:
        return [] if value is None else [((), value)]

    yield plain(
        catalogue.SLO_EVENTS,
        lambda p: zip([("good",), ("bad",)], (p.good, p.bad), strict=True) if p.target is not None else (),
    )
    yield plain(catalogue.SLO_MEAN_SECONDS, lambda p: of_mean(p.sum_s, p))
    yield plain(catalogue.SLO_MEAN_REQUESTS, lambda p: of_mean(p.good, p))
    yield plain(catalogue.SLO_OBJECTIVE, lambda p: known(p.target))
    yield plain(catalogue.SLO_THRESHOLD, lambda p: known(p.within_s))
    yield plain(catalogue.SLO_MIN_REQUESTS, lambda p: known(p.min_requests))
    yield plain(catalogue.SLO_STATUS, lambda p: [((status,), status == p.status) for status in SLO_STATUSES])


def _workers(snapshot: Snapshot, run_id: str) -> Iterator[_Draft]:
    if snapshot.workers_expected is None:
        return
    yield _plain(
        catalogue.WORKERS, (((run_id, state), snapshot.worker_states.get(state, 0)) for state in WORKER_STATES)
    )
    yield _plain(catalogue.WORKERS_EXPECTED, [((run_id,), snapshot.workers_expected)])


def _generator(snapshot: Snapshot, run_id: str) -> Iterator[_Draft]:
    workers = snapshot.workers
    yield _plain(catalogue.WORKER_CPU, (((run_id, w.worker), w.cpu_ratio) for w in workers if w.cpu_ratio is not None))
    yield _plain(
        catalogue.WORKER_MEMORY, (((run_id, w.worker), w.memory_bytes) for w in workers if w.memory_bytes is not None)
    )
    yield _plain(catalogue.WORKER_USERS, (((run_id, w.worker), w.users) for w in workers))
    yield (
        catalogue.GENERATOR_LAG,
        catalogue.GENERATOR_LAG.labels,
        (HistogramPoint((run_id, w.worker), w.lag_layout, w.lag_counts, w.lag_sum_s, {}) for w in workers),
    )
    yield (
        catalogue.SCHEDULE_LAG,
        catalogue.SCHEDULE_LAG.labels,
        (
            HistogramPoint((run_id, w.worker), w.schedule_layout, w.schedule_counts, w.schedule_sum_s, {})
            for w in workers
            if w.schedule_layout is not None
        ),
    )


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
