"""Families of points in the data model of the OpenTelemetry SDK, in batches that a collector takes.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from opentelemetry.sdk.metrics import Exemplar as OtelExemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from locust_otel.core.catalogue import Kind
from locust_otel.core.families import Family, HistogramPoint, Point
from locust_otel.core.histogram import SCALE
from locust_otel.core.snapshot import Exemplar

POINTS_PER_BATCH = 1000
"""Points in one request: collectors refuse more than 4 MiB, and a histogram takes up to 2 kB."""

_SeriesKey = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Sent:
    """What of a series has reached the other side, for those that want only what came since."""

    value: float
    counts: Sequence[int]
    time_ns: int
    is_of_run: bool


@dataclass(slots=True)
class Batch:
    """Some metrics to be pushed together, and what will have been sent once they are."""

    data: MetricsData
    points: int
    sent: dict[_SeriesKey, _Sent] = field(default_factory=dict)


class Encoder:
    """Turns families into batches.

    Args:
        resource: Who tells.
        version: Of this package.
        is_exponential: Whether histograms have exponential buckets.
        sent: What has been acknowledged, where that is kept elsewhere.
        is_delta: Whether points tell what came since the last batch that was `acknowledged`.
    """

    def __init__(
        self,
        resource: Resource,
        version: str,
        *,
        is_exponential: bool,
        is_delta: bool,
        sent: dict[Any, Any] | None = None,
    ) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("locust_otel", version)
        self._is_exponential = is_exponential
        self._is_delta = is_delta
        self._temporality = AggregationTemporality.DELTA if is_delta else AggregationTemporality.CUMULATIVE
        self._sent: dict[_SeriesKey, _Sent] = {} if sent is None else sent

    def batches(self, families: Iterable[Family], time_ns: int) -> Iterator[Batch]:
        """Yield the families in batches.

        Args:
            families: Each of their points is read once.
            time_ns: When the snapshot was taken, in Unix nanoseconds.
        """
        metrics: list[Metric] = []
        sent: dict[_SeriesKey, _Sent] = {}
        points = 0
        for family in families:
            encoded: list[Any] = []
            for point in family.points:
                encoded.append(self._point(family, point, time_ns, sent))
                points += 1
                if points >= POINTS_PER_BATCH:
                    metrics.append(self._metric(family, encoded))
                    yield Batch(self._data(metrics), points, sent)
                    metrics, encoded, sent, points = [], [], {}, 0
            if encoded:
                metrics.append(self._metric(family, encoded))
        if metrics:
            yield Batch(self._data(metrics), points, sent)

    def acknowledge(self, batch: Batch) -> None:
        """Note that a batch has reached the other side."""
        if not self._is_delta:
            return
        self._sent.update(batch.sent)

    def forget_run(self) -> None:
        """Forget what was sent of the run: another one begins, whose series are new."""
        for key in [key for key, sent in self._sent.items() if sent.is_of_run]:
            del self._sent[key]

    def _data(self, metrics: list[Metric]) -> MetricsData:
        return MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(self._scope, metrics, "")], "")])

    def _metric(self, family: Family, points: list[Any]) -> Metric:
        metric = family.metric
        data: Gauge | Sum | Histogram | ExponentialHistogram
        if metric.kind is Kind.GAUGE:
            data = Gauge(points)
        elif metric.kind is Kind.COUNTER:
            data = Sum(points, self._temporality, is_monotonic=True)
        elif self._is_exponential:
            data = ExponentialHistogram(points, self._temporality)
        else:
            data = Histogram(points, self._temporality)
        return Metric(metric.otlp, metric.help, metric.unit, data)

    def _point(
        self,
        family: Family,
        point: Point | HistogramPoint,
        time_ns: int,
        sent: dict[_SeriesKey, _Sent],
    ) -> NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint:
        # An empty label is the same as none, as on /metrics.
        attributes = {k: v for k, v in zip(family.label_names, point.labels, strict=True) if v != ""}
        key, is_of_run = (family.metric.otlp, point.labels), "run_id" in family.label_names
        before = self._sent.get(key) if self._is_delta else None
        start_ns = before.time_ns if before is not None else int(family.start_time * 1e9)
        if isinstance(point, Point):
            value = point.value if isinstance(point.value, float) else int(point.value)
            if family.metric.kind is Kind.GAUGE:
                return NumberDataPoint(attributes, 0, time_ns, value)
            sent[key] = _Sent(value, (), time_ns, is_of_run)
            return NumberDataPoint(attributes, start_ns, time_ns, value - before.value if before is not None else value)
        sent[key] = _Sent(point.sum, point.counts, time_ns, is_of_run)
        counts, total = point.counts, point.sum
        if before is not None:
            counts = [now - then for now, then in zip(counts, before.counts, strict=True)]
            total -= before.value
        exemplars = [_exemplar(exemplar) for exemplar in point.exemplars.values()]
        if self._is_exponential:
            return _exponential(point, counts, total, attributes, start_ns, time_ns, exemplars)
        return _explicit(point, counts, total, attributes, start_ns, time_ns, exemplars)


def _explicit(  # noqa: PLR0913, PLR0917  # the fields of a point
    point: HistogramPoint,
    counts: Sequence[int],
    total: float,
    attributes: dict[str, str],
    start_ns: int,
    time_ns: int,
    exemplars: list[OtelExemplar],
) -> HistogramDataPoint:
    cumulative = point.layout.classic(counts)
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=start_ns,
        time_unix_nano=time_ns,
        count=cumulative[-1],
        sum=total,
        bucket_counts=[cumulative[0], *(b - a for a, b in pairwise(cumulative))],
        explicit_bounds=point.layout.classic_bounds,
        min=None,  # type: ignore[arg-type]  # the protocol has it optional; it is not known over a whole run
        max=None,  # type: ignore[arg-type]
        exemplars=exemplars,
    )


def _exponential(  # noqa: PLR0913, PLR0917  # the fields of a point
    point: HistogramPoint,
    counts: Sequence[int],
    total: float,
    attributes: dict[str, str],
    start_ns: int,
    time_ns: int,
    exemplars: list[OtelExemplar],
) -> ExponentialHistogramDataPoint:
    view = point.layout.exponential(counts)
    return ExponentialHistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=start_ns,
        time_unix_nano=time_ns,
        count=view.zero_count + sum(view.counts),
        sum=total,
        scale=SCALE,
        zero_count=view.zero_count,
        positive=Buckets(view.offset, view.counts),
        negative=Buckets(0, ()),
        flags=0,
        min=None,  # type: ignore[arg-type]  # as above
        max=None,  # type: ignore[arg-type]
        exemplars=exemplars,
    )


def _exemplar(exemplar: Exemplar) -> OtelExemplar:
    return OtelExemplar(
        {}, exemplar.duration_s, int(exemplar.timestamp * 1e9), int(exemplar.span_id, 16), int(exemplar.trace_id, 16)
    )
