"""Readers of a timeline: from a run record, and from a Prometheus that has scraped the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.core.errors import ConfigurationError
from locust_otel.review.analysis.timeline import EndpointSeries, Floats, Timeline
from locust_otel.review.prometheus import Prometheus, SampleSeries, by_exporter, exporters_of_requests, of_run
from locust_otel.review.record.reader import Record

_STOPPED = ("stopping", "stopped", "lost")
_STEP_S = 5.0
_MOST_STEPS = 10_000  # Prometheus refuses more than 11,000
_Key = tuple[str, str, str]


def from_record(record: Record, source: str = "") -> Timeline:
    """Return the intervals of a recorded run from its first to its last users, without those after its stop."""
    intervals = [interval for interval in record.intervals if interval.state not in _STOPPED]
    users = np.array([sum(interval.users.values()) for interval in intervals], float)
    kept = _with_users(users)
    intervals, users = intervals[kept], users[kept]
    names = list(dict.fromkeys((key.method, key.name) for key in record.series))
    place = {name: index for index, name in enumerate(names)}
    of_series = [(place[key.method, key.name], key.outcome == "failure") for key in record.series]
    numbers = np.zeros((len(names), 4, len(intervals)))  # good, failed, and their seconds
    cells: list[tuple[list[int], list[int], list[int]]] = [([], [], []) for _ in names]  # interval, bucket, count
    for at, interval in enumerate(intervals):
        for position, delta in interval.counts.items():
            endpoint, is_failed = of_series[position]
            numbers[endpoint, int(is_failed), at] += delta.measured + (delta.unmeasured if is_failed else 0)
            numbers[endpoint, 2 + int(is_failed), at] += delta.sum_s
            rows, buckets, counts = cells[endpoint]
            rows.extend([at] * len(delta.counts))
            buckets.extend(delta.counts)
            counts.extend(delta.counts.values())
    endpoints = [
        EndpointSeries(
            *name, good, failed, good_s, failed_s, np.array((rows, buckets), np.int64).T, np.array(counts, float)
        )
        for name, (good, failed, good_s, failed_s), (rows, buckets, counts) in zip(names, numbers, cells, strict=True)
    ]
    return Timeline(
        source=source or record.run_id,
        run_id=record.run_id,
        start_s=np.array([interval.start_s for interval in intervals]),
        end_s=np.array([interval.end_s for interval in intervals]),
        users=users,
        endpoints=tuple(sorted(endpoints, key=lambda endpoint: -float(endpoint.requests.sum()))),
        bounds=np.array(record.layout.bounds),
        keeps_up=np.array([not interval.reasons for interval in intervals], bool),
        cpu=np.array([interval.cpu_ratio for interval in intervals], float),  # None becomes NaN
        marks=tuple(record.marks),
        slo=record.slo,
    )


def from_prometheus(server: Prometheus, run_id: str, lookback: str = "30d") -> Timeline:
    """Return a run within the look-back, `30d`, step by step.

    Requests of a step are the rise of their counter, so each request is counted once. Durations come from classic
    buckets: means are exact, quantiles only to the width of a bucket.

    Raises:
        ConfigurationError: A query fails, or there is no such run.
    """
    selector = partial(of_run, run_id=run_id)
    starts = server.latest(selector(catalogue.RUN_START.name), lookback, "min_over_time")
    lengths = server.latest(selector(catalogue.RUN_ELAPSED.name), lookback)
    length = max((value for _, value in lengths), default=0.0)
    if not starts or length <= 0:
        found, remedy = f"Prometheus has no data of run {run_id!r} in the last {lookback}.", "Use a longer --lookback."
        raise ConfigurationError("--run-id", found, remedy, slug="analyze-run-id")
    start = min(value for _, value in starts)
    step = max(_STEP_S, float(np.ceil(length / _MOST_STEPS)))
    edges: Floats = start + step * np.arange(int(length // step) + 1, dtype=np.float64)
    times = (float(edges[0]), float(edges[-1]), step)
    requests = by_exporter(catalogue.REQUESTS, server.latest(selector(catalogue.REQUESTS.name), lookback))
    # Of several jobs the one with the most requests is taken: the others may have the same requests.
    exporters, _ = exporters_of_requests(
        {exporter: sum(value for _, value in samples) for exporter, samples in requests.items()},
        by_exporter(catalogue.RUN_ELAPSED, lengths),
    )

    def parts(metric: Metric, suffix: str = "") -> Iterator[SampleSeries]:
        for exporter in exporters:  # one at a time, so that answers stay small
            target = {label: dict(exporter).get(label, "") for label in ("job", "instance")}
            answer = server.range(selector(metric.name + suffix, **target), *times)
            yield from by_exporter(metric, answer).get(exporter, [])

    def level(promql: str, missing: float) -> Floats:
        """Return a gauge at the end of each step, with the last value in gaps."""
        series = server.range(promql, *times)
        values = _on(series[0], edges) if series else np.full(len(edges), np.nan)
        latest = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), 0))
        result: Floats = np.nan_to_num(values[latest], nan=missing)[1:]
        return result

    # Each exporter with gauges of the run has the whole run: max, not sum.
    users = level(f"sum(max by (user_class) ({selector(catalogue.USERS.name)}))", 0.0)
    kept = _with_users(users)
    endpoints, bounds = _endpoints(
        _rises(parts(catalogue.REQUESTS), "outcome", edges),
        _rises(parts(catalogue.REQUEST_DURATION, "_sum"), "outcome", edges),
        _rises(parts(catalogue.REQUEST_DURATION, "_bucket"), "le", edges),
        kept,
    )
    return Timeline(
        source=server.url,
        run_id=run_id,
        start_s=(edges[:-1] - start)[kept],
        end_s=(edges[1:] - start)[kept],
        users=users[kept],
        endpoints=tuple(sorted(endpoints, key=lambda endpoint: -float(endpoint.requests.sum()))),
        bounds=np.array(bounds or [1.0]),
        keeps_up=level(f"min({selector(catalogue.RUN_VALID.name)})", 1.0)[kept] > 0,
        cpu=level(f"max({selector(catalogue.WORKER_CPU.name)})", np.nan)[kept],
    )


def _with_users(users: Floats) -> slice:
    """Return the span from the first users to the last."""
    loaded = np.flatnonzero(users)
    return slice(int(loaded[0]), int(loaded[-1]) + 1) if len(loaded) else slice(0)


def _on(series: SampleSeries, edges: Floats) -> Floats:
    """Return the sample at each edge, NaN without one."""
    values = np.full(len(edges), np.nan)
    step = edges[1] - edges[0] if len(edges) > 1 else 1.0
    for time, value in series.samples:
        index = round((time - edges[0]) / step)  # VictoriaMetrics shifts the steps
        if 0 <= index < len(values):
            values[index] = value
    return values


def _rises(several: Iterable[SampleSeries], label: str, edges: Floats) -> dict[_Key, Floats]:
    """Return the rise of counters in each step, shape (len(edges) - 1,), by method, name and another label."""
    sums: dict[_Key, Floats] = {}
    for series in several:
        key = (series.labels.get("method", ""), series.labels.get("name", ""), series.labels.get(label, ""))
        # A gap keeps the last value, so its rise is counted at its end. Counters are 0 before the first sample.
        totals = np.maximum.accumulate(np.nan_to_num(_on(series, edges)))
        sums[key] = sums.get(key, 0.0) + np.diff(totals)
    return sums


def _endpoints(
    total: dict[_Key, Floats], sums: dict[_Key, Floats], buckets: dict[_Key, Floats], kept: slice
) -> tuple[list[EndpointSeries], list[float]]:
    """Return the endpoints in the steps to keep, and the finite bounds of their buckets.

    Requests and seconds are by method, name and outcome; buckets by method, name and upper bound, and cumulative.
    """
    bounds = sorted({float(key[2]) for key in buckets if float(key[2]) < np.inf})
    endpoints = []
    for method, name in dict.fromkeys((method, name) for method, name, _ in total):
        zeros = np.zeros_like(next(iter(total.values())))
        by_edge = {float(key[2]): values for key, values in buckets.items() if key[:2] == (method, name)}
        table = np.array([by_edge.get(edge, zeros) for edge in (*bounds, np.inf)])
        counts = np.maximum(np.diff(table, axis=0, prepend=0.0), 0.0)[:, kept]
        bucket, at = np.nonzero(counts)
        good, failed, good_s, failed_s = (
            rises.get((method, name, outcome), zeros)[kept]
            for rises in (total, sums)
            for outcome in ("success", "failure")
        )
        cells = np.stack((at, bucket), axis=1).astype(np.int64)
        endpoints.append(EndpointSeries(method, name, good, failed, good_s, failed_s, cells, counts[bucket, at]))
    return endpoints, bounds
