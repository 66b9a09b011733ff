"""Families of points as Prometheus reads them in protobuf: the way to native histograms over a scrape.

Each histogram has classic and native buckets; Prometheus takes those it is configured for. `metrics.proto` has the
messages, and the command that generates `metrics_pb2.py` from it.
"""

from __future__ import annotations

from functools import lru_cache
from operator import sub

from google.protobuf.timestamp_pb2 import Timestamp

from locust_otel.core.catalogue import Kind
from locust_otel.core.exposition import Exposition
from locust_otel.core.families import Family, HistogramPoint, Point
from locust_otel.core.histogram import SCALE
from locust_otel.core.snapshot import Exemplar
from locust_otel.exporter.endpoint import metrics_pb2 as messages

_TYPES = {Kind.COUNTER: messages.COUNTER, Kind.GAUGE: messages.GAUGE, Kind.HISTOGRAM: messages.HISTOGRAM}
_METRIC_TAG = b"\x22"  # field 4 of MetricFamily, with a length


class ProtobufExposition(Exposition):
    """Renders families as length-delimited `MetricFamily` messages."""

    def _heading(self, family: Family, points: list[bytes]) -> bytes:
        metric = family.metric
        message = messages.MetricFamily(name=metric.name, help=metric.help, type=_TYPES[metric.kind])
        head: bytes = message.SerializeToString()
        return _varint(len(head) + sum(map(len, points))) + head

    def _point(self, family: Family, point: Point | HistogramPoint) -> bytes:
        metric = messages.Metric()
        if isinstance(point, HistogramPoint):
            _fill(metric.histogram, point)
            metric.histogram.created_timestamp.CopyFrom(_timestamp(family.start_time))
        elif family.metric.kind is Kind.COUNTER:
            metric.counter.value = point.value
            metric.counter.created_timestamp.CopyFrom(_timestamp(family.start_time))
        else:
            metric.gauge.value = point.value
        labels = zip(family.label_names, point.labels, strict=True)
        # The bytes of a message are those of its fields, so labels that many points share are encoded once.
        encoded = b"".join((*(_label(name, value) for name, value in labels if value), metric.SerializeToString()))
        return _METRIC_TAG + _varint(len(encoded)) + encoded


def _fill(histogram: messages.Histogram, point: HistogramPoint) -> None:
    cumulative = point.layout.classic(point.counts)
    view = point.layout.exponential(point.counts)
    histogram.CopyFrom(_empty(point.layout.classic_bounds))
    for bucket, count in zip(histogram.bucket, cumulative, strict=False):
        bucket.cumulative_count = count
    histogram.sample_count = cumulative[-1]
    histogram.sample_sum = point.sum
    histogram.zero_count = view.zero_count
    # OpenTelemetry numbers a bucket by its lower edge, Prometheus by its upper one. An empty span marks a histogram
    # without observations as a native one.
    histogram.positive_span.add(offset=view.offset + 1 if view.counts else 0, length=len(view.counts))
    histogram.positive_delta.extend(map(sub, view.counts, (0, *view.counts)))
    for index, exemplar in point.exemplars.items():
        message = _exemplar(exemplar)
        histogram.exemplars.append(message)
        if index < len(histogram.bucket):
            histogram.bucket[index].exemplar.CopyFrom(message)


def _exemplar(exemplar: Exemplar) -> messages.Exemplar:
    labels = {"trace_id": exemplar.trace_id, "span_id": exemplar.span_id}
    return messages.Exemplar(
        label=[messages.LabelPair(name=name, value=value) for name, value in labels.items()],
        value=exemplar.duration_s,
        timestamp=_timestamp(exemplar.timestamp),
    )


@lru_cache(maxsize=16_384)
def _label(name: str, value: str) -> bytes:
    """Return the field of a `Metric` with this label."""
    # Bytes that are not UTF-8 in a file name or an environment variable arrive as lone surrogates.
    label = messages.LabelPair(name=name, value=value.encode("utf-8", "replace").decode())
    field: bytes = messages.Metric(label=[label]).SerializeToString()
    return field


@lru_cache(maxsize=8)
def _empty(bounds: tuple[float, ...]) -> messages.Histogram:
    """Return a histogram with these buckets and no observations."""
    buckets = [messages.Bucket(upper_bound=bound) for bound in bounds]
    return messages.Histogram(bucket=buckets, schema=SCALE, zero_threshold=0.0)


def _timestamp(time_s: float) -> Timestamp:
    return Timestamp(seconds=int(time_s), nanos=int(time_s % 1 * 1e9))


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes lengths: seven bits a byte, the lowest first."""
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
