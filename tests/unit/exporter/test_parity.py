"""Parity of the formats: text, OpenMetrics, protobuf and OTLP have the same series, labels and values."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.internal.decoder import _DecodeVarint32  # type: ignore[attr-defined]  # its reader of lengths
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from locust_otel.core.exposition import TextExposition
from locust_otel.core.families import families
from locust_otel.core.snapshot import SeriesKey, Snapshot
from locust_otel.exporter.endpoint import metrics_pb2 as messages
from locust_otel.exporter.endpoint.protobuf import ProtobufExposition
from locust_otel.exporter.otlp.encoding import Encoder
from tests.unit.factories import ODD_TEXTS, Load, record, snapshot, worker

Labels = frozenset[tuple[str, str]]
Values = dict[tuple[str, Labels], Any]
"""By Prometheus name and labels: a number, or count, sum and cumulative buckets by edge of a histogram."""


@pytest.fixture(scope="module")
def taken() -> Snapshot:
    """Return a run with failures, slow requests, requests without a duration, odd names and two workers."""
    rng = random.Random(7)
    aggregate = Load(slow_s=2.0, max_names=500, thresholds_s=(0.3,))
    names = [f"/item/{number}" for number in range(50)] + [odd for odd in ODD_TEXTS if "\r" not in odd]
    for name in names:
        times = [rng.lognormvariate(4, 1.5) for _ in range(rng.randrange(1, 200))]
        record(aggregate, SeriesKey("GET", name, "Shopper", "success"), [*times, 0, 2500, 700_000], 1_234)
        if rng.random() < 0.5:
            record(aggregate, SeriesKey("GET", name, "Shopper", "failure"), times[:5])
            aggregate.count_error("GET", name, "503", 5)
    aggregate.of(SeriesKey("POST", "/no time", "", "success")).unmeasured = 3
    aggregate.count_user_error("Shopper", "KeyError", 2)
    return snapshot(
        aggregate,
        workers=(worker("host-0", lags_s=(0.001, 0.2)), worker("host-1", lags_s=(0.3,))),
        worker_states={"running": 2, "missing": 1},
        workers_expected=3,
    )


def _labels(labels: dict[str, str]) -> Labels:
    return frozenset((name, value) for name, value in labels.items() if value != "")


def of_text(taken: Snapshot, *, is_openmetrics: bool) -> Values:
    """Return the values of the text exposition, parsed by prometheus_client."""
    text = b"".join(TextExposition(is_openmetrics=is_openmetrics).render(families(taken))).decode()
    parse: Callable[[str], Any] = parse_openmetrics if is_openmetrics else parse_text
    values: Values = {}
    for family in parse(text):
        for sample in family.samples:
            if family.type != "histogram":
                values[sample.name, _labels(sample.labels)] = sample.value
                continue
            name, _, part = sample.name.rpartition("_")
            edge = sample.labels.get("le")
            labels = _labels({key: value for key, value in sample.labels.items() if key != "le"})
            histogram = values.setdefault((name, labels), {"buckets": {}})
            if part == "bucket":
                histogram["buckets"][float(edge)] = sample.value
            else:
                histogram[part] = sample.value
    return values


def _families_of_protobuf(body: bytes) -> Iterator[Any]:
    position = 0
    while position < len(body):
        length, position = _DecodeVarint32(body, position)
        yield messages.MetricFamily.FromString(body[position : position + length])
        position += length


def of_protobuf(taken: Snapshot) -> Values:
    """Return the values of the protobuf exposition."""
    body = b"".join(ProtobufExposition().render(families(taken)))
    values: Values = {}
    for family in _families_of_protobuf(body):
        for metric in family.metric:
            key = (family.name, _labels({pair.name: pair.value for pair in metric.label}))
            if metric.HasField("histogram"):
                histogram = metric.histogram
                buckets = {bucket.upper_bound: bucket.cumulative_count for bucket in histogram.bucket}
                buckets[float("inf")] = histogram.sample_count
                values[key] = {"count": histogram.sample_count, "sum": histogram.sample_sum, "buckets": buckets}
            else:
                values[key] = metric.counter.value if metric.HasField("counter") else metric.gauge.value
    return values


def _otlp_points(taken: Snapshot, *, is_exponential: bool) -> Iterator[tuple[str, Labels, Any]]:
    by_otlp_name = {family.metric.otlp: family.metric.name for family in families(taken)}
    encoder = Encoder(Resource({}), "0", is_exponential=is_exponential, is_delta=False)
    for batch in encoder.batches(families(taken), int(taken.time * 1e9)):
        for resource_metrics in encode_metrics(batch.data).resource_metrics:
            for scope_metrics in resource_metrics.scope_metrics:
                for metric in scope_metrics.metrics:
                    data = getattr(metric, metric.WhichOneof("data") or "")
                    for point in data.data_points:
                        labels = _labels({pair.key: pair.value.string_value for pair in point.attributes})
                        yield by_otlp_name[metric.name], labels, point


def of_otlp(taken: Snapshot) -> Values:
    """Return the values of OTLP with explicit buckets."""
    values: Values = {}
    for name, labels, point in _otlp_points(taken, is_exponential=False):
        if point.DESCRIPTOR.name == "NumberDataPoint":
            values[name, labels] = getattr(point, point.WhichOneof("value") or "")
            continue
        total, buckets = 0, {}
        for edge, count in zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True):
            total += count
            buckets[edge] = total
        values[name, labels] = {"count": point.count, "sum": point.sum, "buckets": buckets}
    return values


@pytest.mark.parametrize(
    "read",
    [lambda taken: of_text(taken, is_openmetrics=True), of_protobuf, of_otlp],
    ids=["openmetrics", "protobuf", "otlp"],
)
def test_the_same_as_in_text(taken: Snapshot, read: Callable[[Snapshot], Values]) -> None:
    """All series are equal: names, labels, values, and buckets at every edge."""
    text = of_text(taken, is_openmetrics=False)
    other = read(taken)
    assert len(text) > 300
    assert other.keys() == text.keys()
    assert {key: (text[key], other[key]) for key in text if text[key] != other[key]} == {}


def test_native_and_exponential_buckets_are_the_same(taken: Snapshot) -> None:
    """Native histograms of a scrape and exponential ones of OTLP have the same counts in the same buckets."""
    native: dict[tuple[str, Labels], dict[int, int]] = {}
    body = b"".join(ProtobufExposition().render(families(taken)))
    for family in _families_of_protobuf(body):
        for metric in family.metric:
            if not metric.HasField("histogram"):
                continue
            index, count, position = 0, 0, 0
            buckets: dict[int, int] = {}
            for span in metric.histogram.positive_span:
                index += span.offset
                for _ in range(span.length):
                    count += metric.histogram.positive_delta[position]
                    buckets[index] = count
                    index, position = index + 1, position + 1
            key = (family.name, _labels({pair.name: pair.value for pair in metric.label}))
            native[key] = {i: n for i, n in buckets.items() if n} | {-999: metric.histogram.zero_count}
    exponential = {
        (name, labels): {
            # OpenTelemetry numbers a bucket by its lower edge, Prometheus by its upper one.
            **{point.positive.offset + 1 + i: n for i, n in enumerate(point.positive.bucket_counts) if n},
            -999: point.zero_count,
        }
        for name, labels, point in _otlp_points(taken, is_exponential=True)
        if point.DESCRIPTOR.name == "ExponentialHistogramDataPoint"
    }
    assert exponential == native
    assert sum(sum(buckets.values()) for buckets in native.values()) > 5_000
