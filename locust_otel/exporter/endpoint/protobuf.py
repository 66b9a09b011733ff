"""Families of points as Prometheus reads them in protobuf: the way to native histograms over a scrape.

Each histogram has classic and native buckets; Prometheus takes those it is configured for. The messages are those of
https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
without the fields that are not used here.
"""

from __future__ import annotations

from functools import cache, lru_cache
from operator import sub
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from locust_otel.core.catalogue import Kind
from locust_otel.core.exposition import Exposition
from locust_otel.core.families import Family, HistogramPoint, Point
from locust_otel.core.histogram import SCALE
from locust_otel.core.snapshot import Exemplar

_PACKAGE = "io.prometheus.client"
_TIMESTAMP = ".google.protobuf.Timestamp"

# Message -> field -> number, type, and whether it is repeated; types in capitals are those of the descriptor.
_SCHEMA: dict[str, dict[str, tuple[int, str, bool]]] = {
    "LabelPair": {"name": (1, "STRING", False), "value": (2, "STRING", False)},
    "Exemplar": {
        "label": (1, "LabelPair", True),
        "value": (2, "DOUBLE", False),
        "timestamp": (3, _TIMESTAMP, False),
    },
    "Gauge": {"value": (1, "DOUBLE", False)},
    "Counter": {
        "value": (1, "DOUBLE", False),
        "exemplar": (2, "Exemplar", False),
        "created_timestamp": (3, _TIMESTAMP, False),
    },
    "Bucket": {
        "cumulative_count": (1, "UINT64", False),
        "upper_bound": (2, "DOUBLE", False),
        "exemplar": (3, "Exemplar", False),
    },
    "BucketSpan": {"offset": (1, "SINT32", False), "length": (2, "UINT32", False)},
    "Histogram": {
        "sample_count": (1, "UINT64", False),
        "sample_sum": (2, "DOUBLE", False),
        "bucket": (3, "Bucket", True),
        "schema": (5, "SINT32", False),
        "zero_threshold": (6, "DOUBLE", False),
        "zero_count": (7, "UINT64", False),
        "positive_span": (12, "BucketSpan", True),
        "positive_delta": (13, "SINT64", True),
        "created_timestamp": (15, _TIMESTAMP, False),
        "exemplars": (16, "Exemplar", True),
    },
    "Metric": {
        "label": (1, "LabelPair", True),
        "gauge": (2, "Gauge", False),
        "counter": (3, "Counter", False),
        "histogram": (7, "Histogram", False),
    },
    "MetricFamily": {
        "name": (1, "STRING", False),
        "help": (2, "STRING", False),
        "type": (3, "MetricType", False),
        "metric": (4, "Metric", True),
        "unit": (5, "STRING", False),
    },
}
_TYPES = {Kind.COUNTER: 0, Kind.GAUGE: 1, Kind.HISTOGRAM: 4}  # of the enum MetricType
_METRIC_TAG = b"\x22"  # field 4 of MetricFamily, with a length


@cache
def messages() -> dict[str, Any]:
    """Return the message classes by name."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="locust_otel/metrics.proto",
        package=_PACKAGE,
        syntax="proto2",
        dependency=["google/protobuf/timestamp.proto"],
    )
    enum = file.enum_type.add(name="MetricType")
    for name, number in (("COUNTER", 0), ("GAUGE", 1), ("SUMMARY", 2), ("UNTYPED", 3), ("HISTOGRAM", 4)):
        enum.value.add(name=name, number=number)
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, is_repeated) in fields.items():
            label = field_type.LABEL_REPEATED if is_repeated else field_type.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            if kind.isupper():
                field.type = getattr(field_type, f"TYPE_{kind}")
            else:
                field.type = field_type.TYPE_ENUM if kind == "MetricType" else field_type.TYPE_MESSAGE
                field.type_name = kind if kind.startswith(".") else f".{_PACKAGE}.{kind}"
    # A pool of our own: another package may have registered the same names in the common one.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SCHEMA}


class ProtobufExposition(Exposition):
    """Renders families as length-delimited `MetricFamily` messages."""

    def __init__(self) -> None:
        super().__init__()
        self._messages = messages()

    def _heading(self, family: Family, points: list[bytes]) -> bytes:
        head: bytes = self._messages["MetricFamily"](
            name=family.metric.name, help=family.metric.help, type=_TYPES[family.metric.kind]
        ).SerializeToString()
        return _varint(len(head) + sum(map(len, points))) + head

    def _point(self, family: Family, point: Point | HistogramPoint) -> bytes:
        metric = self._messages["Metric"]()
        if isinstance(point, HistogramPoint):
            self._fill(metric.histogram, point)
            _set(metric.histogram.created_timestamp, family.start_time)
        elif family.metric.kind is Kind.COUNTER:
            metric.counter.value = point.value
            _set(metric.counter.created_timestamp, family.start_time)
        else:
            metric.gauge.value = point.value
        labels = zip(family.label_names, point.labels, strict=True)
        # A message is its fields one after the other, so those that most points share are encoded once.
        encoded = b"".join(
            (*(_label(name, value) for name, value in labels if value != ""), metric.SerializeToString())
        )
        return _METRIC_TAG + _varint(len(encoded)) + encoded

    def _fill(self, histogram: Any, point: HistogramPoint) -> None:
        cumulative = point.layout.classic(point.counts)
        view = point.layout.exponential(point.counts)
        histogram.CopyFrom(_empty(point.layout.classic_bounds))
        for bucket, count in zip(histogram.bucket, cumulative, strict=False):
            bucket.cumulative_count = count
        histogram.sample_count = cumulative[-1]
        histogram.sample_sum = point.sum
        histogram.zero_count = view.zero_count
        # OpenTelemetry numbers a bucket by its lower edge, Prometheus by its upper one. A span of nothing says that a
        # histogram without observations is a native one.
        histogram.positive_span.add(offset=view.offset + 1 if view.counts else 0, length=len(view.counts))
        histogram.positive_delta.extend(map(sub, view.counts, (0, *view.counts)))
        for index, exemplar in point.exemplars.items():
            message = self._exemplar(exemplar)
            histogram.exemplars.append(message)
            if index < len(histogram.bucket):
                histogram.bucket[index].exemplar.CopyFrom(message)

    def _exemplar(self, exemplar: Exemplar) -> Any:
        pair = self._messages["LabelPair"]
        message = self._messages["Exemplar"](
            label=[pair(name="trace_id", value=exemplar.trace_id), pair(name="span_id", value=exemplar.span_id)],
            value=exemplar.duration_s,
        )
        _set(message.timestamp, exemplar.timestamp)
        return message


@lru_cache(maxsize=16_384)
def _label(name: str, value: str) -> bytes:
    """Return the field of a `Metric` with this label."""
    # What the file system or the environment held of bytes that are no UTF-8 came as lone surrogates.
    metric = messages()["Metric"]()
    metric.label.add(name=name, value=value.encode("utf-8", "replace"))
    encoded: bytes = metric.SerializeToString()
    return encoded


@lru_cache(maxsize=8)
def _empty(bounds: tuple[float, ...]) -> Any:
    """Return a histogram with these buckets and nothing in them."""
    histogram = messages()["Histogram"](schema=SCALE, zero_threshold=0.0)
    for bound in bounds:
        histogram.bucket.add(upper_bound=bound)
    return histogram


def _set(timestamp: Any, time_s: float) -> None:
    timestamp.seconds = int(time_s)
    timestamp.nanos = int(time_s % 1 * 1e9)


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes lengths: seven bits a byte, the lowest first."""
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
