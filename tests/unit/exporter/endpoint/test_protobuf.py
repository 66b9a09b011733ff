"""Tests of the protobuf exposition, by message classes that are made from the published schema."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.internal.decoder import _DecodeVarint  # type: ignore[attr-defined]
from google.protobuf.unknown_fields import UnknownFieldSet

from locust_otel.core.catalogue import REQUEST_DURATION, Kind
from locust_otel.core.families import Family, HistogramPoint, Point, families
from locust_otel.core.snapshot import Exemplar, SeriesKey, Snapshot
from locust_otel.exporter.endpoint import metrics_pb2 as messages
from locust_otel.exporter.endpoint.protobuf import ProtobufExposition
from tests.unit.factories import MARKS, Load, judged, record, snapshot, worker

RUN_START, PROCESS_START = 1_764_000_000.25, 1_763_999_990.5  # of a snapshot
OK = SeriesKey("GET", "/", "Shopper", "success")
TIMES_MS = [0, 0, 0.05, 1, 5, 5.0001, 12, 12, 250, 300, 1000, 1000.0001, 2000, 60_000, 700_000]
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TIMESTAMP = "Timestamp"

# The published schema of a scrape: message, then each field as `[*]type name number`.
# https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
SCHEMA = """
LabelPair: string name 1, string value 2
Gauge: double value 1
Counter: double value 1, Exemplar exemplar 2, Timestamp created_timestamp 3
Quantile: double quantile 1, double value 2
Summary: uint64 sample_count 1, double sample_sum 2, *Quantile quantile 3, Timestamp created_timestamp 4
Untyped: double value 1
Histogram: uint64 sample_count 1, double sample_count_float 4, double sample_sum 2, *Bucket bucket 3, \
Timestamp created_timestamp 15, sint32 schema 5, double zero_threshold 6, uint64 zero_count 7, \
double zero_count_float 8, *BucketSpan negative_span 9, *sint64 negative_delta 10, *double negative_count 11, \
*BucketSpan positive_span 12, *sint64 positive_delta 13, *double positive_count 14, *Exemplar exemplars 16
Bucket: uint64 cumulative_count 1, double cumulative_count_float 4, double upper_bound 2, Exemplar exemplar 3
BucketSpan: sint32 offset 1, uint32 length 2
Exemplar: *LabelPair label 1, double value 2, Timestamp timestamp 3
Metric: *LabelPair label 1, Gauge gauge 2, Counter counter 3, Summary summary 4, Untyped untyped 5, \
Histogram histogram 7, int64 timestamp_ms 6
MetricFamily: string name 1, string help 2, MetricType type 3, *Metric metric 4, string unit 5
"""
COUNTER, GAUGE, HISTOGRAM = 0, 1, 4  # of MetricType: COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM


@cache
def metric_family() -> Any:
    """Return the class of `MetricFamily` in the schema."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="published.proto", package="p", syntax="proto2", dependency=["google/protobuf/timestamp.proto"]
    )
    enum = file.enum_type.add(name="MetricType")
    for number, name in enumerate(("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM")):
        enum.value.add(name=name, number=number)
    for line in SCHEMA.strip().splitlines():
        message, _, fields = line.partition(":")
        described = file.message_type.add(name=message)
        for text in fields.split(","):
            kind, name, number_text = text.split()
            repeated = kind.startswith("*")
            kind = kind.removeprefix("*")
            field = described.field.add(name=name, number=int(number_text))
            field.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind.islower():
                field.type = getattr(field_type, f"TYPE_{kind.upper()}")
            else:
                field.type = field_type.TYPE_ENUM if kind == "MetricType" else field_type.TYPE_MESSAGE
                field.type_name = ".google.protobuf.Timestamp" if kind == TIMESTAMP else f".p.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.MetricFamily"))


def parsed(exposition: bytes) -> list[Any]:
    """Return the families of an exposition, each after its length; all their fields must be in the schema."""
    parts, position = [], 0
    while position < len(exposition):
        size, position = _DecodeVarint(exposition, position)
        assert position + size <= len(exposition)
        family = metric_family().FromString(exposition[position : position + size])
        assert_known(family)
        parts.append(family)
        position += size
    return parts


def assert_known(message: Any) -> None:
    """Assert that the schema has every field of a message, at any depth."""
    assert len(UnknownFieldSet(message)) == 0
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                assert_known(part)


def rendered(taken: Iterable[Family] | Snapshot) -> list[Any]:
    """Return the families that a reader of the schema reads."""
    source = families(taken) if isinstance(taken, Snapshot) else taken
    return parsed(b"".join(ProtobufExposition().render(source)))


def metrics(taken: Snapshot, name: str) -> list[Any]:
    """Return the metrics of the only family with a name."""
    (family,) = (family for family in rendered(taken) if family.name == name)
    return list(family.metric)


def requests(times_ms: Iterable[float] = TIMES_MS) -> Load:
    """Return requests of one series."""
    load = Load(slow_s=2.0, max_names=5, thresholds_s=(0.3,))
    record(load, OK, times_ms, 100)
    return load


def histogram(load: Load) -> Any:
    """Return the histogram of the only request series."""
    (metric,) = metrics(snapshot(load), REQUEST_DURATION.name)
    return metric.histogram


def labels(message: Any) -> dict[str, str]:
    """Return labels, each of which must be unique."""
    pairs = [(pair.name, pair.value) for pair in message.label]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def seconds(timestamp: Any) -> float:
    """Return a timestamp as Unix time."""
    return float(timestamp.seconds + timestamp.nanos / 1e9)


def absolute(native: Any) -> dict[int, int]:
    """Return the buckets of a native histogram by Prometheus' index, from spans and deltas."""
    buckets: dict[int, int] = {}
    deltas = iter(native.positive_delta)
    index = count = 0
    for number, span in enumerate(native.positive_span):
        index = span.offset if number == 0 else index + span.offset
        for _ in range(span.length):
            count += next(deltas)
            buckets[index] = count
            index += 1
    assert next(deltas, None) is None
    return buckets


def test_names_types_labels_and_values() -> None:
    """Each family has its name, help and type, and each point its labels and value, once."""
    load = requests()
    load.count_error("GET", "/", "500", 2)
    load.count_user_error("Shopper", "KeyError", 9)
    taken = snapshot(
        load,
        slo=judged(load).points(),
        marks=MARKS,
        workers=(worker(), worker("host-1", lags_s=(0.02, 0.3))),
        worker_states={"running": 2, "missing": 1},
        workers_expected=3,
    )
    expected: dict[Any, float] = {}
    heads: dict[str, tuple[str, int]] = {}
    for family in families(taken):
        kind = {Kind.COUNTER: COUNTER, Kind.GAUGE: GAUGE, Kind.HISTOGRAM: HISTOGRAM}[family.metric.kind]
        for point in family.points:
            heads[family.metric.name] = (family.metric.help, kind)
            pairs = frozenset(pair for pair in zip(family.label_names, point.labels, strict=True) if pair[1])
            value = sum(point.counts.values()) if isinstance(point, HistogramPoint) else float(point.value)
            expected[family.metric.name, pairs] = value
    values: dict[Any, float] = {}
    read = rendered(taken)
    for family in read:
        for metric in family.metric:
            kind_name = {COUNTER: "counter", GAUGE: "gauge", HISTOGRAM: "histogram"}[family.type]
            assert [field.name for field, _ in metric.ListFields() if field.name != "label"] == [kind_name]
            value = metric.histogram.sample_count if kind_name == "histogram" else getattr(metric, kind_name).value
            key = (family.name, frozenset(labels(metric).items()))
            assert key not in values
            values[key] = value
    assert values == expected
    assert {family.name: (family.help, family.type) for family in read} == heads
    assert len(read) == len(heads)
    assert sum(value for (name, _), value in values.items() if name == "locust_requests_total") == 15


def test_odd_labels() -> None:
    """Label values need no escaping, bytes that are not UTF-8 are replaced, and empty values are left out."""
    odd = b"shop-\xe9.py".decode("utf-8", "surrogateescape")
    texts = ('quo"ted', "new\nline", "back\\slash", "ünïcödé 🦗", "100%", "a" * 5_000)
    load = Load(slow_s=2.0, max_names=50)
    for text in texts:
        record(load, SeriesKey("GET", text, "", "success"), [1])
    taken = snapshot(load, info={"locustfile": odd})
    series = metrics(taken, REQUEST_DURATION.name)
    assert tuple(labels(metric)["name"] for metric in series) == texts
    assert all("user_class" not in labels(metric) for metric in series)
    assert labels(metrics(taken, "locust_run_info")[0])["locustfile"] == "shop-?.py"


def test_created_timestamps() -> None:
    """Counters and histograms have the time when they were 0: the start of the run, or of the process."""
    for family in rendered(snapshot(requests(), workers=(worker(),))):
        for metric in family.metric:
            if family.type == GAUGE:
                continue
            created = (metric.counter if family.type == COUNTER else metric.histogram).created_timestamp
            start = RUN_START if "run_id" in labels(metric) else PROCESS_START
            assert seconds(created) == pytest.approx(start, abs=1e-6)


def test_classic_buckets() -> None:
    """Classic buckets are cumulative, at the classic edges and the thresholds, without `+Inf`."""
    read = histogram(requests())
    bounds = [bucket.upper_bound for bucket in read.bucket]
    assert bounds == sorted(bounds)
    assert {0.005, 0.3, 2.0, 60.0} <= set(bounds)
    counts = [0] * (len(bounds) + 1)
    for time_ms in TIMES_MS:
        counts[bisect_left(bounds, time_ms / 1000)] += 1
    assert [bucket.cumulative_count for bucket in read.bucket] == list(accumulate(counts))[:-1]
    assert read.sample_count == len(TIMES_MS)
    assert read.sample_sum == pytest.approx(math.fsum(TIMES_MS) / 1000, rel=1e-12)


def test_native_buckets() -> None:
    """Spans and deltas add up to the counts between the exact edges `2 ** ((i - 1) / 16)` and `2 ** (i / 16)`."""
    native = histogram(requests())
    expected: Counter[int] = Counter()
    for time_ms in TIMES_MS:
        value = time_ms / 1000
        if value > 0:
            index = math.ceil(round(math.log2(value) * 16, 9))
            assert value <= 2 ** (index / 16) * (1 + 1e-12)
            expected[min(max(index, -212), 149)] += 1
    assert {index: n for index, n in absolute(native).items() if n} == expected
    assert native.schema == 4
    assert native.zero_count == 2
    assert native.zero_threshold == 0.0
    assert native.HasField("zero_threshold")
    assert native.zero_count + sum(absolute(native).values()) == native.sample_count
    assert not native.negative_span
    assert not native.positive_count


@pytest.mark.parametrize(
    ("time_ms", "index"), [(1000, 0), (1000.0001, 1), (2000, 16), (500, -16), (500.0001, -15), (0.001, -212)]
)
def test_native_edges(time_ms: float, index: int) -> None:
    """Prometheus numbers a bucket by its upper edge: 1 s is in bucket 0, a little more is in bucket 1."""
    native = histogram(requests([time_ms]))
    assert absolute(native) == {index: 1}
    assert [(span.offset, span.length) for span in native.positive_span] == [(index, 1)]


@pytest.mark.parametrize(("times_ms", "zeros"), [([], 0), ([0, 0, 0], 3)])
def test_empty_native_histograms(times_ms: list[float], zeros: int) -> None:
    """Without a positive observation an empty span makes the histogram a native one."""
    load = requests([])
    load.of(OK).unmeasured = 2
    record(load, OK, times_ms)
    native = histogram(load)
    assert [(span.offset, span.length) for span in native.positive_span] == [(0, 0)]
    assert not native.positive_delta
    assert (native.sample_count, native.zero_count) == (zeros, zeros)


def test_lag_histograms() -> None:
    """The lag of the load generator has native buckets too."""
    taken = snapshot(requests(), workers=(worker("h-1", lags_s=(0.02, 0.3, 0)),))
    (metric,) = metrics(taken, "locust_generator_lag_seconds")
    assert labels(metric) == {"run_id": "run-1", "worker": "h-1"}
    assert (metric.histogram.zero_count, sum(absolute(metric.histogram).values())) == (1, 2)


def test_exemplars() -> None:
    """An exemplar is at its classic bucket and among the native ones, with time, value, trace and span."""
    load = requests()
    bounds = list(load.merged.layout.classic_bounds)
    slow = Exemplar(700.0, "f" * 32, "e" * 16, 1_764_000_060.5)
    quick = Exemplar(0.012, TRACE_ID, SPAN_ID, 1_764_000_050.5)
    load.of(OK).exemplars = {bisect_left(bounds, 0.012): quick, len(bounds): slow}
    read = histogram(load)
    expected = {0.012: quick, 700.0: slow}
    by_value = {exemplar.value: exemplar for exemplar in read.exemplars}
    assert set(by_value) == set(expected)
    for value, exemplar in by_value.items():
        assert labels(exemplar) == {"trace_id": expected[value].trace_id, "span_id": expected[value].span_id}
        assert seconds(exemplar.timestamp) == expected[value].timestamp
    (bucket,) = (bucket for bucket in read.bucket if bucket.HasField("exemplar"))
    assert (bucket.upper_bound, bucket.exemplar) == (0.025, by_value[0.012])


def test_only_changed_series_are_rendered_again() -> None:
    """A series without a change is the same object in the next scrape, and the whole is as if rendered anew."""
    load = Load(slow_s=2.0, max_names=500)
    keys = [SeriesKey("GET", f"/{number}", "Shopper", "success") for number in range(60)]
    for key in keys:
        record(load, key, [1, 2, 3])
    exposition = ProtobufExposition()
    before = exposition.render(families(snapshot(load)))
    record(load, keys[7], [4])
    taken = snapshot(load)
    after = exposition.render(families(taken))
    assert b"".join(after) == b"".join(ProtobufExposition().render(families(taken)))
    known = {id(piece) for piece in before}
    changed = [piece for piece in after if id(piece) not in known]
    assert {number for number in range(60) if any(b"/%d\n" % number in piece for piece in changed)} == {7}
    names = [labels(metric)["name"] for metric in metrics(taken, REQUEST_DURATION.name)]
    assert names == [key.name for key in keys]


def test_families_without_points() -> None:
    """A family without points is left out."""
    assert rendered([Family(REQUEST_DURATION, REQUEST_DURATION.labels, 1.0, iter(()))]) == []


def test_lengths() -> None:
    """Messages of any length follow their length, which takes one byte or more."""
    for length in (1, 100, 127, 128, 129, 16_383, 16_384, 100_000):
        point = Point(("r", "GET", "x" * length, ""), 1)
        (family,) = rendered([Family(REQUEST_DURATION, ("run_id", "method", "name", "x"), 1.0, iter([point]))])
        assert labels(family.metric[0])["name"] == "x" * length


def test_the_generated_messages_are_those_of_the_schema() -> None:
    """The generated module has the fields of `metrics.proto`, with the numbers and types that Prometheus publishes."""
    source = Path(messages.__file__).with_name("metrics.proto").read_text(encoding="utf-8")
    generated, published = (
        {message.name: {(f.label, f.type, f.name, f.number) for f in message.field} for message in file.message_type}
        for file in map(described, (messages.DESCRIPTOR, metric_family().DESCRIPTOR.file))
    )
    for name, fields in generated.items():
        assert fields <= published[name]
        written = source.partition(f"message {name} {{\n")[2].partition("}")[0]
        assert set(re.findall(r"(\w+) = (\d+);", written)) == {(field, str(number)) for _, _, field, number in fields}
    assert re.findall(r"^message (\w+)", source, re.MULTILINE) == list(generated)


def described(file: Any) -> descriptor_pb2.FileDescriptorProto:
    """Return the description of a file."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    return proto
