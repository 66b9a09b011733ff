"""A timeline of a run that a Prometheus has scraped: range queries, aggregated step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from locust_otel.core import catalogue
from locust_otel.core.errors import ConfigurationError
from locust_otel.review.analysis.timeline import EndpointSeries, Floats, Timeline
from locust_otel.review.prometheus import Prometheus, SampleSeries, of_run

_MOST_STEPS = 10_000  # Prometheus refuses more than 11,000
_Key = tuple[str, ...]


def timeline(server: Prometheus, run_id: str, lookback: str = "30d", step_s: float | None = None) -> Timeline:
    """Return a run by its id.

    Counters are differenced from step to step, so each request is counted once. The classic buckets are what a
    Prometheus has of the durations: quantiles are as good as their edges are near, means are exact.

    Args:
        server: Where to ask.
        run_id: The run.
        lookback: How far back to look for it, as Prometheus writes durations.
        step_s: Seconds from step to step; None for 5 s, or as many as a long run needs.

    Raises:
        ConfigurationError: There is no answer, or no such run.
    """
    run = of_run("", run_id)
    starts = server.query(f"min(min_over_time({catalogue.RUN_START.name}{run}[{lookback}]))")
    lengths = server.query(f"max(max_over_time({catalogue.RUN_ELAPSED.name}{run}[{lookback}]))")
    if not starts or not lengths or lengths[0].value <= 0:
        raise ConfigurationError(
            "--run-id", f"Prometheus has no data of run {run_id!r} in the last {lookback}.",
            "Give the run's id, or a longer --lookback.", slug="analyze-run-id",
        )  # fmt: skip
    start, length = starts[0].value, lengths[0].value
    step = step_s or max(5.0, float(np.ceil(length / _MOST_STEPS)))
    edges: Floats = start + step * np.arange(int(length // step) + 1, dtype=np.float64)

    def ask(promql: str) -> list[SampleSeries]:
        return server.range(promql, float(edges[0]), float(edges[-1]), step)

    # Of several exporters of one run, the master has all of it: max, not sum.
    by = "method, name, user_class, outcome"
    seconds = catalogue.REQUEST_DURATION.name
    total = _deltas(ask(f"max by ({by}) ({catalogue.REQUESTS.name}{run})"), ("method", "name", "outcome"), edges)
    sums = _deltas(ask(f"max by ({by}) ({seconds}_sum{run})"), ("method", "name", "outcome"), edges)
    buckets = _deltas(ask(f"max by ({by}, le) ({seconds}_bucket{run})"), ("method", "name", "le"), edges)
    users = _levels(ask(f"sum(max by (user_class) ({catalogue.USERS.name}{run}))"), edges, 0.0)
    valid = _levels(ask(f"min({catalogue.RUN_VALID.name}{run})"), edges, 1.0)
    cpu = _levels(ask(f"max({catalogue.WORKER_CPU.name}{run})"), edges, np.nan)
    bounds = sorted({float(key[2]) for key in buckets if float(key[2]) < np.inf})
    kept = _loaded(users)
    endpoints = [
        _endpoint(name, total, sums, buckets, bounds, kept) for name in dict.fromkeys((key[0], key[1]) for key in total)
    ]
    return Timeline(
        source=server.url,
        run_id=run_id,
        start_s=(edges[:-1] - start)[kept],
        end_s=(edges[1:] - start)[kept],
        users=users[kept],
        endpoints=tuple(sorted(endpoints, key=lambda each: -float(each.good.sum() + each.failed.sum()))),
        bounds=np.array(bounds or [1.0]),
        keeps_up=valid[kept] > 0,
        cpu=cpu[kept],
    )


def _loaded(users: Floats) -> slice:
    at = np.flatnonzero(users > 0)
    return slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0)


def _on(series: SampleSeries, edges: Floats, missing: float) -> Floats:
    step = edges[1] - edges[0] if len(edges) > 1 else 1.0
    values = np.full(len(edges), missing)
    for time, value in series.samples:
        index = round((time - edges[0]) / step)
        if 0 <= index < len(values):
            values[index] = value
    return values


def _deltas(found: Iterable[SampleSeries], labels: Sequence[str], edges: Floats) -> dict[_Key, Floats]:
    """Return what counters rose by within each step, shape (len(edges) - 1,), summed by labels."""
    result: dict[_Key, Floats] = {}
    for series in found:
        key = tuple(series.labels.get(label, "") for label in labels)
        values = _on(series, edges, np.nan)
        # A gap keeps the last value: what came in it is counted at its end. Before the first sample there was nothing.
        known = np.maximum.accumulate(np.where(np.isnan(values), 0.0, values))
        rises = np.diff(known)
        result[key] = result[key] + rises if key in result else rises
    return result


def _levels(found: list[SampleSeries], edges: Floats, missing: float) -> Floats:
    """Return a gauge at the end of each step, the last known value in gaps."""
    values = _on(found[0], edges, np.nan) if found else np.full(len(edges), np.nan)
    known = np.where(np.isfinite(values), np.arange(len(values)), 0)
    held = values[np.maximum.accumulate(known)]
    result: Floats = np.where(np.isfinite(held), held, missing)[1:]
    return result


def _endpoint(  # noqa: PLR0913, PLR0917  # the tables it is picked from
    name: tuple[str, str], total: dict[_Key, Floats], sums: dict[_Key, Floats], buckets: dict[_Key, Floats],
    bounds: list[float], kept: slice,
) -> EndpointSeries:  # fmt: skip
    length = len(next(iter(total.values())))
    zeros = np.zeros(length)
    by_edge = {float(key[2]): values for key, values in buckets.items() if key[:2] == name}
    table = np.array([by_edge.get(edge, zeros) for edge in (*bounds, float("inf"))])
    counts = np.maximum(np.diff(table, axis=0, prepend=0.0), 0.0)[:, kept]
    bucket, at = np.nonzero(counts)
    good = total.get((*name, "success"), zeros)
    return EndpointSeries(
        *name, good[kept], total.get((*name, "failure"), zeros)[kept], sums.get((*name, "success"), zeros)[kept],
        sums.get((*name, "failure"), zeros)[kept], np.stack((at, bucket), axis=1).astype(np.int64), counts[bucket, at],
    )  # fmt: skip
