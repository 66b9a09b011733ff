"""The exposition in protobuf, the only one with native histograms.

Each histogram has classic and native buckets; Prometheus takes those it is configured for. `metrics.proto` has the
messages, and the command that generates `metrics_pb2.py` from it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import starmap
from operator import sub

from google.protobuf.timestamp_pb2 import Timestamp

from locust_otel.core.catalogue import Kind
from locust_otel.core.exposition import Exposition
from locust_otel.core.families import Family, HistogramPoint, Point
from locust_otel.core.histogram import SCALE
from locust_otel.core.snapshot import Exemplar
from locust_otel.exporter.endpoint import metrics_pb2 as messages

_TYPES = {Kind.COUNTER: messages.COUNTER, Kind.GAUGE: messages.GAUGE, Kind.HISTOGRAM: messages.HISTOGRAM}
_EXEMPLAR = messages.Exemplar(label=[messages.LabelPair(name="trace_id"), messages.LabelPair(name="span_id")])
_METRIC_TAG = b"\x22"  # field 4 of MetricFamily, with a length


class ProtobufExposition(Exposition):
    """Renders families as length-delimited `MetricFamily` messages."""

    def _heading(self, family: Family, points: list[bytes]) -> bytes:
        metric = family.metric
        message = messages.MetricFamily(name=metric.name, help=metric.help, type=_TYPES[metric.kind])
        head: bytes = message.SerializeToString()
        return _varint(len(head) + sum(map(len, points))) + head

    def _point(self, family: Family, point: Point | HistogramPoint) -> bytes:
        if isinstance(point, HistogramPoint):
            metric = _histogram(point, family.start_time)
        else:
            metric = _number(family.metric.kind, point.value, family.start_time)
        value: bytes = metric.SerializeToString()
        # The bytes of a message are those of its fields, so the labels of a series are encoded once.
        labels = b"".join(starmap(_label, zip(family.label_names, point.labels, strict=True)))
        return b"".join((_METRIC_TAG, _varint(len(labels) + len(value)), labels, value))


def _number(kind: Kind, value: float, start_time: float) -> messages.Metric:
    metric = _blank(kind, start_time)
    (metric.gauge if kind is Kind.GAUGE else metric.counter).value = value
    return metric


@lru_cache(maxsize=8)
def _blank(kind: Kind, start_time: float) -> messages.Metric:
    """Return a metric to fill again and again: a new one for each point takes three times as long."""
    if kind is Kind.GAUGE:
        return messages.Metric(gauge=messages.Gauge())
    return messages.Metric(counter=messages.Counter(created_timestamp=_timestamp(start_time)))


def _histogram(point: HistogramPoint, start_time: float) -> messages.Metric:
    cumulative = point.layout.classic(point.counts)
    view = point.layout.exponential(point.counts)
    metric = messages.Metric(histogram=_empty(point.layout.classic_bounds))
    histogram = metric.histogram
    for bucket, count in zip(histogram.bucket, cumulative, strict=False):
        bucket.cumulative_count = count
    histogram.sample_count = cumulative[-1]
    histogram.sample_sum = point.sum
    histogram.zero_count = view.zero_count
    histogram.created_timestamp.CopyFrom(_timestamp(start_time))
    # OpenTelemetry numbers a bucket by its lower edge, Prometheus by its upper one. An empty span marks a histogram
    # without observations as a native one.
    histogram.positive_span.add(offset=view.offset + 1 if view.counts else 0, length=len(view.counts))
    histogram.positive_delta.extend(map(sub, view.counts, (0, *view.counts)))
    for index, exemplar in point.exemplars.items():
        message = _exemplar(exemplar)
        histogram.exemplars.append(message)
        if index < len(histogram.bucket):
            histogram.bucket[index].exemplar.CopyFrom(message)
    return metric


def _exemplar(exemplar: Exemplar) -> messages.Exemplar:
    """Return a message to copy; the next call fills it again, since a new one takes four times as long."""
    message = _EXEMPLAR
    trace, span = message.label
    trace.value, span.value, message.value = exemplar.trace_id, exemplar.span_id, exemplar.duration_s
    message.timestamp.seconds = int(exemplar.timestamp)
    message.timestamp.nanos = int(exemplar.timestamp % 1 * 1e9)
    return message


@lru_cache(maxsize=16_384)
def _label(name: str, value: str) -> bytes:
    """Return the field of a `Metric` with this label; nothing for an empty value, which is the same."""
    # Bytes that are not UTF-8 in a file name or an environment variable arrive as lone surrogates.
    label = messages.LabelPair(name=name, value=value.encode("utf-8", "replace").decode())
    field: bytes = messages.Metric(label=[label]).SerializeToString() if value else b""
    return field


@lru_cache(maxsize=8)
def _empty(bounds: tuple[float, ...]) -> messages.Histogram:
    """Return a histogram with these buckets and no observations."""
    buckets = [messages.Bucket(upper_bound=bound) for bound in bounds]
    return messages.Histogram(bucket=buckets, schema=SCALE, zero_threshold=0.0)


@lru_cache(maxsize=8)
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
