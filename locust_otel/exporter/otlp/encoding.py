"""Encodes metrics and events in the data model of the OpenTelemetry SDK.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/
https://opentelemetry.io/docs/specs/otel/logs/data-model/
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter, sub
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar as OtelExemplar
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from locust_otel.core.catalogue import Kind
from locust_otel.core.events import Event
from locust_otel.core.families import Family, HistogramPoint, Point
from locust_otel.core.histogram import SCALE, difference
from locust_otel.core.snapshot import Exemplar

POINTS_PER_BATCH = 1000
"""Points in one request: collectors refuse more than 4 MiB, and a histogram takes up to 2 kB."""

_SEVERITIES = {"INFO": SeverityNumber.INFO, "WARN": SeverityNumber.WARN, "ERROR": SeverityNumber.ERROR}

InTurns = Callable[[Iterable[Any]], Iterator[Any]]
SeriesId = tuple[str, tuple[str, ...]]
Sent = tuple[float, Mapping[int, int], int, bool]
"""State of a series that has arrived: value or sum, counts, time in Unix nanoseconds, whether it belongs to a run."""


class _Points(list[Any]):
    """Points of a metric; the official encoder gives way to other threads while it reads them."""

    def __init__(self, points: Iterable[Any], in_turns: InTurns) -> None:
        super().__init__(points)
        self._in_turns = in_turns

    def __iter__(self) -> Iterator[Any]:
        return self._in_turns(super().__iter__())


@dataclass(slots=True)
class Batch:
    """Metrics of one request, and the state of their series once it has arrived."""

    data: sdk.MetricsData
    sent: dict[SeriesId, Sent]


class Encoder:
    """Encodes the metrics and events of one process.

    Args:
        version: Version of this package.
        is_exponential: Histograms have exponential buckets.
        is_delta: Points count since the last acknowledged batch, else since the start.
        sent: The acknowledged series, if the caller keeps them.
        in_turns: Yields points, and gives way to other threads in between.
    """

    def __init__(  # noqa: PLR0913  # the last two have defaults
        self,
        resource: Resource,
        version: str,
        *,
        is_exponential: bool,
        is_delta: bool,
        sent: dict[SeriesId, Sent] | None = None,
        in_turns: InTurns = iter,
    ) -> None:
        self._in_turns = in_turns
        self._resource = resource
        self._scope = InstrumentationScope("locust_otel", version)
        self._is_exponential = is_exponential
        self._is_delta = is_delta
        self._temporality = sdk.AggregationTemporality.DELTA if is_delta else sdk.AggregationTemporality.CUMULATIVE
        self._sent = {} if sent is None else sent
        self._buckets_of: dict[tuple[str, ...], tuple[tuple[int, int], dict[str, Any]]] = {}

    def batches(self, families: Iterable[Family], time_ns: int) -> Iterator[Batch]:
        """Yield the families in batches.

        Args:
            families: Each point is read once.
            time_ns: Time of the snapshot in Unix nanoseconds.
        """
        pairs = ((family, point) for family in families for point in family.points)
        while chunk := list(islice(pairs, POINTS_PER_BATCH)):
            sent: dict[SeriesId, Sent] = {}
            metrics = [
                self._metric(family, [point for _, point in group], time_ns, sent)
                for family, group in groupby(chunk, key=itemgetter(0))
            ]
            scopes = [sdk.ScopeMetrics(self._scope, metrics, "")]
            yield Batch(sdk.MetricsData([sdk.ResourceMetrics(self._resource, scopes, "")]), sent)

    def acknowledge(self, batch: Batch) -> None:
        """Note that a batch has arrived."""
        self._sent.update(batch.sent)

    def forget_run(self) -> None:
        """Forget the series of the run, since another run begins."""
        self._buckets_of.clear()
        for key in [key for key, (*_, is_of_run) in self._sent.items() if is_of_run]:
            del self._sent[key]

    def log_record(self, event: Event) -> ReadableLogRecord:
        """Return an event as a log record."""
        span_context = trace.INVALID_SPAN_CONTEXT
        if event.trace_id:
            trace_id, span_id = int(event.trace_id, 16), int(event.span_id, 16)
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            span_context = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
        record = LogRecord(
            timestamp=int(event.timestamp * 1e9),
            observed_timestamp=time.time_ns(),
            # Always a new context: without one, the SDK takes the current span of the thread that pushes.
            context=trace.set_span_in_context(trace.NonRecordingSpan(span_context), Context()),
            severity_text=event.severity,
            severity_number=_SEVERITIES[event.severity],
            body=event.body,
            attributes=dict(event.attributes),
            event_name=event.name,
        )
        return ReadableLogRecord(record, self._resource, self._scope)

    def _metric(
        self, family: Family, points: Iterable[Point | HistogramPoint], time_ns: int, sent: dict[SeriesId, Sent]
    ) -> sdk.Metric:
        metric = family.metric
        encoded = _Points(
            (self._point(family, point, time_ns, sent) for point in self._in_turns(points)), self._in_turns
        )
        data: sdk.Gauge | sdk.Sum | sdk.Histogram | sdk.ExponentialHistogram
        if metric.kind is Kind.GAUGE:
            data = sdk.Gauge(encoded)
        elif metric.kind is Kind.COUNTER:
            data = sdk.Sum(encoded, self._temporality, is_monotonic=True)
        elif self._is_exponential:
            data = sdk.ExponentialHistogram(encoded, self._temporality)
        else:
            data = sdk.Histogram(encoded, self._temporality)
        return sdk.Metric(metric.otlp, metric.help, metric.unit, data)

    def _point(self, family: Family, point: Point | HistogramPoint, time_ns: int, sent: dict[SeriesId, Sent]) -> Any:
        attributes = dict(zip(family.label_names, point.labels, strict=True))
        if "" in point.labels:  # as on /metrics, an empty label is the same as none
            attributes = {name: value for name, value in attributes.items() if value}
        counts: Mapping[int, int] = {}
        if isinstance(point, HistogramPoint):
            value, counts = point.sum, point.counts
        else:
            value = point.value if isinstance(point.value, float) else int(point.value)
        if family.metric.kind is Kind.GAUGE:
            return sdk.NumberDataPoint(attributes, 0, time_ns, value)
        start_ns = int(family.start_time * 1e9)
        if self._is_delta:
            series = family.metric.otlp, point.labels
            last = self._sent.get(series)
            sent[series] = value, counts, time_ns, "run_id" in family.label_names
            if last is not None:
                value, start_ns = value - last[0], last[2]
                counts = difference(counts, last[1])
        if isinstance(point, Point):
            return sdk.NumberDataPoint(attributes, start_ns, time_ns, value)
        point_type: Any = sdk.ExponentialHistogramDataPoint if self._is_exponential else sdk.HistogramDataPoint
        return point_type(
            attributes=attributes,
            start_time_unix_nano=start_ns,
            time_unix_nano=time_ns,
            sum=value,
            min=None,  # not known over a whole run
            max=None,
            exemplars=[_exemplar(exemplar) for exemplar in point.exemplars.values()],
            **self._buckets(point, counts, start_ns),
        )

    def _buckets(self, point: HistogramPoint, counts: Mapping[int, int], start_ns: int) -> dict[str, Any]:
        """Return the fields that follow from the counts; an unchanged series keeps its last ones."""
        if point.source is None or self._is_delta:
            return self._bucket_fields(point, counts)
        # Cumulative counts of a run never fall: with the same sum they are the same.
        state = start_ns, point.source.measured
        known = self._buckets_of.get(point.labels)
        if known is None or known[0] != state:
            known = self._buckets_of[point.labels] = state, self._bucket_fields(point, counts)
        return known[1]

    def _bucket_fields(self, point: HistogramPoint, counts: Mapping[int, int]) -> dict[str, Any]:
        if self._is_exponential:
            view = point.layout.exponential(counts)
            return {
                "count": view.zero_count + sum(view.counts),
                "scale": SCALE,
                "zero_count": view.zero_count,
                "positive": sdk.Buckets(view.offset, view.counts),
                "negative": sdk.Buckets(0, ()),
                "flags": 0,
            }
        cumulative = point.layout.classic(counts)
        return {
            "count": cumulative[-1],
            "bucket_counts": [cumulative[0], *map(sub, cumulative[1:], cumulative)],
            "explicit_bounds": point.layout.classic_bounds,
        }


def _exemplar(exemplar: Exemplar) -> OtelExemplar:
    return OtelExemplar(
        {}, exemplar.duration_s, int(exemplar.timestamp * 1e9), int(exemplar.span_id, 16), int(exemplar.trace_id, 16)
    )


def resource_of(version: str, instance: str) -> Resource:
    """Return the resource; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` override our attributes."""
    ours = {
        "service.name": "locust",
        "service.version": version,
        "host.name": socket.gethostname(),
        "service.instance.id": instance,  # unique to a process: with a shared one, the samples of two processes collide
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
