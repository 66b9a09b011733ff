"""Families of points as Prometheus reads them in protobuf: the way to native histograms over a scrape.

The classic buckets stand beside the native ones; Prometheus takes what it is configured for. The messages are those of
https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
as far as they are used here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

from locust_otel.core.catalogue import Kind
from locust_otel.core.families import Family, HistogramPoint, Point
from locust_otel.core.histogram import SCALE
from locust_otel.core.snapshot import Exemplar

POINTS_PER_PIECE = 16
"""Points encoded in one go: a millisecond or two of work."""

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


class ProtobufExposition:
    """Renders families as length-delimited `MetricFamily` messages."""

    def __init__(self) -> None:
        self._messages = messages()

    def render(self, families: Iterable[Family]) -> Iterator[bytes]:
        """Yield the exposition in pieces; some are empty, for the event loop's sake."""
        for family in families:
            encoded: list[bytes] = []
            for number, point in enumerate(family.points, start=1):
                metric = self._metric(family, point).SerializeToString()
                encoded += (_METRIC_TAG, _varint(len(metric)), metric)
                if number % POINTS_PER_PIECE == 0:
                    yield b""
            if not encoded:
                continue
            head = self._messages["MetricFamily"](
                name=family.metric.name, help=family.metric.help, type=_TYPES[family.metric.kind]
            ).SerializeToString()
            yield _varint(len(head) + sum(map(len, encoded))) + head
            size = 3 * POINTS_PER_PIECE
            for start in range(0, len(encoded), size):
                yield b"".join(encoded[start : start + size])

    def _metric(self, family: Family, point: Point | HistogramPoint) -> Any:
        pair = self._messages["LabelPair"]
        labels = [
            pair(name=name, value=value)
            for name, value in zip(family.label_names, point.labels, strict=True)
            if value != ""
        ]
        metric = self._messages["Metric"](label=labels)
        if isinstance(point, HistogramPoint):
            metric.histogram.CopyFrom(self._histogram(point))
            _set(metric.histogram.created_timestamp, family.start_time)
        elif family.metric.kind is Kind.COUNTER:
            metric.counter.value = point.value
            _set(metric.counter.created_timestamp, family.start_time)
        else:
            metric.gauge.value = point.value
        return metric

    def _histogram(self, point: HistogramPoint) -> Any:
        layout, bucket = point.layout, self._messages["Bucket"]
        cumulative = layout.classic(point.counts)
        view = layout.exponential(point.counts)
        span = self._messages["BucketSpan"]
        # OpenTelemetry numbers a bucket by its lower edge, Prometheus by its upper one. A span of nothing says that a
        # histogram without observations is a native one.
        spans = [span(offset=view.offset + 1, length=len(view.counts))] if view.counts else [span(offset=0, length=0)]
        deltas = [now - before for before, now in zip((0, *view.counts), view.counts, strict=False)]
        histogram = self._messages["Histogram"](
            sample_count=cumulative[-1],
            sample_sum=point.sum,
            bucket=[
                bucket(cumulative_count=count, upper_bound=bound)
                for bound, count in zip(layout.classic_bounds, cumulative, strict=False)
            ],
            schema=SCALE,
            zero_threshold=0.0,
            zero_count=view.zero_count,
            positive_span=spans,
            positive_delta=deltas,
        )
        for index, exemplar in point.exemplars.items():
            message = self._exemplar(exemplar)
            histogram.exemplars.append(message)
            if index < len(histogram.bucket):
                histogram.bucket[index].exemplar.CopyFrom(message)
        return histogram

    def _exemplar(self, exemplar: Exemplar) -> Any:
        pair = self._messages["LabelPair"]
        message = self._messages["Exemplar"](
            label=[pair(name="trace_id", value=exemplar.trace_id), pair(name="span_id", value=exemplar.span_id)],
            value=exemplar.duration_s,
        )
        _set(message.timestamp, exemplar.timestamp)
        return message


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
