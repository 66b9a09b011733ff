"""Families of points in the data model of the OpenTelemetry SDK, in batches that a collector takes.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from operator import itemgetter
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

SeriesId = tuple[str, tuple[str, ...]]
Sent = tuple[float, Sequence[int], int, bool]
"""What of a series has arrived: value or sum, counts, until when in Unix nanoseconds, and whether it is of a run."""


@dataclass(slots=True)
class Batch:
    """Some metrics to be pushed together, and what will have been sent once they are."""

    data: MetricsData
    sent: dict[SeriesId, Sent]


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
        sent: dict[SeriesId, Sent] | None = None,
    ) -> None:
        self._resource = resource
        self._scope = InstrumentationScope("locust_otel", version)
        self._is_exponential = is_exponential
        self._is_delta = is_delta
        self._temporality = AggregationTemporality.DELTA if is_delta else AggregationTemporality.CUMULATIVE
        self._sent = {} if sent is None else sent

    def batches(self, families: Iterable[Family], time_ns: int) -> Iterator[Batch]:
        """Yield the families in batches.

        Args:
            families: Each of their points is read once.
            time_ns: When the snapshot was taken, in Unix nanoseconds.
        """
        pairs = ((family, point) for family in families for point in family.points)
        while several := list(islice(pairs, POINTS_PER_BATCH)):
            sent: dict[SeriesId, Sent] = {}
            metrics = [
                self._metric(family, [self._point(family, point, time_ns, sent) for _, point in group])
                for family, group in groupby(several, key=itemgetter(0))
            ]
            scopes = [ScopeMetrics(self._scope, metrics, "")]
            yield Batch(MetricsData([ResourceMetrics(self._resource, scopes, "")]), sent)

    def acknowledge(self, batch: Batch) -> None:
        """Note that a batch has reached the other side."""
        self._sent.update(batch.sent)

    def forget_run(self) -> None:
        """Forget what was sent of the run: another one begins, whose series are new."""
        for key in [key for key, (*_, is_of_run) in self._sent.items() if is_of_run]:
            del self._sent[key]

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

    def _point(self, family: Family, point: Point | HistogramPoint, time_ns: int, sent: dict[SeriesId, Sent]) -> Any:
        # An empty label is the same as none, as on /metrics.
        attributes = {k: v for k, v in zip(family.label_names, point.labels, strict=True) if v != ""}
        counts: Sequence[int] = ()
        if isinstance(point, HistogramPoint):
            value, counts = point.sum, point.counts
        else:
            value = point.value if isinstance(point.value, float) else int(point.value)
        if family.metric.kind is Kind.GAUGE:
            return NumberDataPoint(attributes, 0, time_ns, value)
        start_ns = int(family.start_time * 1e9)
        if self._is_delta:
            series = family.metric.otlp, point.labels
            before = self._sent.get(series)
            sent[series] = value, counts, time_ns, "run_id" in family.label_names
            if before is not None:
                value, start_ns = value - before[0], before[2]
                counts = [now - then for now, then in zip(counts, before[1], strict=True)]
        if isinstance(point, Point):
            return NumberDataPoint(attributes, start_ns, time_ns, value)
        common: dict[str, Any] = {
            "attributes": attributes,
            "start_time_unix_nano": start_ns,
            "time_unix_nano": time_ns,
            "sum": value,
            "min": None,  # not known over a whole run
            "max": None,
            "exemplars": [_exemplar(exemplar) for exemplar in point.exemplars.values()],
        }
        if self._is_exponential:
            view = point.layout.exponential(counts)
            return ExponentialHistogramDataPoint(
                **common,
                count=view.zero_count + sum(view.counts),
                scale=SCALE,
                zero_count=view.zero_count,
                positive=Buckets(view.offset, view.counts),
                negative=Buckets(0, ()),
                flags=0,
            )
        cumulative = point.layout.classic(counts)
        return HistogramDataPoint(
            **common,
            count=cumulative[-1],
            bucket_counts=[cumulative[0], *(b - a for a, b in pairwise(cumulative))],
            explicit_bounds=point.layout.classic_bounds,
        )


def _exemplar(exemplar: Exemplar) -> OtelExemplar:
    return OtelExemplar(
        {}, exemplar.duration_s, int(exemplar.timestamp * 1e9), int(exemplar.span_id, 16), int(exemplar.trace_id, 16)
    )
