"""Tests of metrics and events over OTLP: the official encoder sends all numbers of the snapshot."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from random import Random
from time import time_ns
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk.resources import Resource

from locust_otel.core.catalogue import CATALOGUE, REQUEST_DURATION, Kind
from locust_otel.core.events import SLOW_REQUEST, Event
from locust_otel.core.families import Family, HistogramPoint, families
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import Exemplar, SeriesKey, Snapshot
from locust_otel.exporter.otlp.encoding import POINTS_PER_BATCH, Batch, Encoder
from tests.unit.factories import Load, record, worker
from tests.unit.otlp_sinks import NOW, PROCESS_START, RUN_START, Decoded, decode, health, snapshot

OK = SeriesKey("GET", "/", "Shopper", "success")
FAILED = SeriesKey("GET", "/", "Shopper", "failure")
NO_USER = SeriesKey("POST", "/buy", "", "success")
TIMES_MS = [0, 0, 0.05, 0.1026, 1, 5, 5.0001, 12, 250, 300, 1000, 1000, 2000, 2500, 60_000, 600_000, 700_000]
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CUMULATIVE, DELTA = 2, 1  # of the protocol's enum AggregationTemporality


def aggregate() -> Load:
    """Return requests with numbers of every kind."""
    result = Load(slow_s=2.0, max_names=5, thresholds_s=(0.3,))
    record(result, OK, TIMES_MS, 1_000)
    record(result, FAILED, [5, 70_000], 10)
    record(result, NO_USER, [3])
    result.of(NO_USER).unmeasured = 2
    result.count_error("GET", "/", "500", 2)
    result.count_user_error("Shopper", "KeyError", 9)
    return result


def encoder(*, is_exponential: bool = False, is_delta: bool = False) -> Encoder:
    """Return an encoder."""
    return Encoder(Resource({"service.name": "shop"}), "1.2.3", is_exponential=is_exponential, is_delta=is_delta)


def batches(encoder_: Encoder, taken: Snapshot) -> list[Batch]:
    """Return a snapshot in batches."""
    return list(encoder_.batches(families(taken), int(taken.time * 1e9)))


def points(encoder_: Encoder, taken: Snapshot) -> list[Decoded]:
    """Return the points of a snapshot as they are sent."""
    return [point for batch in batches(encoder_, taken) for point in decode(batch.data)]


def histogram(encoder_: Encoder, key: SeriesKey = OK, taken: Snapshot | None = None) -> Any:
    """Return the histogram of one series as it is sent."""
    labels = {("run_id", "run-1"), *zip(("method", "name", "user_class", "outcome"), key, strict=True)}
    (histogram,) = (
        p
        for p in points(encoder_, taken or snapshot(aggregate()))
        if p.metric.name == "locust.request.duration" and set(p.attributes) == {pair for pair in labels if pair[1]}
    )
    return histogram.point


def attributes(family: Family, labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return labels as attributes, without empty ones."""
    return tuple(sorted((k, v) for k, v in zip(family.label_names, labels, strict=True) if v))


def exponential_index(seconds: float) -> int:
    """Return the index of OpenTelemetry at scale 4: `2 ** (i / 16) < seconds <= 2 ** ((i + 1) / 16)`, exactly."""
    power = Fraction(seconds) ** 16
    index = math.ceil(math.log2(seconds) * 16) - 1
    while power > Fraction(2) ** (index + 1):
        index += 1
    while power <= Fraction(2) ** index:
        index -= 1
    return index


def test_names_units_types_and_values() -> None:
    """Each family has its name, unit, help and type, and each point its labels and value, once."""
    taken = snapshot(
        aggregate(), workers=(worker(), worker("host-1", lags_s=(0.02, 0.3), late_s=(0.5, 2.0))), is_judged=True
    )
    expected: dict[Any, Any] = {}
    for family in families(taken):
        kind = {Kind.COUNTER: "sum", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}[family.metric.kind]
        for point in family.points:
            key = (family.metric.otlp, attributes(family, point.labels))
            value = sum(point.counts.values()) if isinstance(point, HistogramPoint) else float(point.value)
            expected[key] = (family.metric.unit, family.metric.help, kind, value)
    decoded = points(encoder(), taken)
    assert len(decoded) == len(expected)
    sent = {p.key: (p.metric.unit, p.metric.description, p.metric.WhichOneof("data"), p.value) for p in decoded}
    assert sent == expected
    assert {name for name, _ in sent} == {metric.otlp for metric in CATALOGUE}


def test_known_values() -> None:
    """Some values, computed by hand."""
    sent = {p.key: p for p in points(encoder(), snapshot(aggregate()))}
    of_ok = (("method", "GET"), ("name", "/"), ("outcome", "success"), ("run_id", "run-1"), ("user_class", "Shopper"))
    assert sent["locust.requests", of_ok].point.as_int == 17
    no_user = (("method", "POST"), ("name", "/buy"), ("outcome", "success"), ("run_id", "run-1"))
    assert sent["locust.requests", no_user].point.as_int == 3
    assert sent["locust.request.duration", no_user].point.count == 1
    assert sent["locust.response.body", (("method", "GET"), ("name", "/"), ("run_id", "run-1"))].value == 17_020
    assert sent["locust_otel.rejected_points", (("exporter", "otlp_metrics"),)].value == 8
    seconds = sent["locust_otel.export", (("exporter", "otlp_metrics"), ("outcome", "success"))]
    assert (seconds.metric.unit, seconds.point.as_double) == ("s", 0.125)
    assert sent["locust.run.state", (("run_id", "run-1"), ("state", "running"))].value == 1
    assert sent["locust.run.state", (("run_id", "run-1"), ("state", "stopped"))].value == 0


@pytest.mark.parametrize(("is_delta", "temporality"), [(False, CUMULATIVE), (True, DELTA)])
@pytest.mark.parametrize("is_exponential", [False, True])
def test_temporality(is_exponential: bool, is_delta: bool, temporality: int) -> None:
    """Counters are monotonic sums; counters and histograms have a temporality, gauges have none."""
    kinds = set()
    decoded = points(encoder(is_exponential=is_exponential, is_delta=is_delta), snapshot(aggregate()))
    for p in decoded:
        kind = p.metric.WhichOneof("data")
        kinds.add(kind)
        if kind == "sum":
            assert p.metric.sum.is_monotonic
        if kind != "gauge":
            assert getattr(p.metric, kind).aggregation_temporality == temporality
    assert kinds == {"sum", "gauge", "exponential_histogram" if is_exponential else "histogram"}


def test_resource_and_scope() -> None:
    """Each batch has the resource, and the version of this package."""
    (batch,) = batches(encoder(), snapshot(None))
    (resource,) = batch.data.resource_metrics
    (scope,) = resource.scope_metrics
    assert dict(resource.resource.attributes) == {"service.name": "shop"}
    assert (scope.scope.name, scope.scope.version) == ("locust_otel", "1.2.3")


def test_times() -> None:
    """Series of a run start with the run, others with the process; gauges have no start."""
    decoded = points(encoder(), snapshot(aggregate(), workers=(worker(),)))
    of_run = of_process = 0
    for p in decoded:
        assert p.point.time_unix_nano == int(NOW * 1e9)
        if p.metric.WhichOneof("data") == "gauge":
            assert p.point.start_time_unix_nano == 0
        elif "run_id" in dict(p.attributes):
            of_run += 1
            assert p.point.start_time_unix_nano == int(RUN_START * 1e9)
        else:
            of_process += 1
            assert p.point.start_time_unix_nano == int(PROCESS_START * 1e9)
    assert of_run > 10
    assert of_process == 9  # exports and seconds by outcome, rejected, folded, listener errors, restarts, merged


def test_before_the_first_run() -> None:
    """Without a run there are only health metrics, since the start of the process."""
    decoded = points(encoder(), snapshot(None))
    assert {p.metric.name.partition(".")[0] for p in decoded} == {"locust_otel", "locust"}
    assert "locust.requests" not in {p.metric.name for p in decoded}
    starts = {p.point.start_time_unix_nano for p in decoded if p.metric.WhichOneof("data") != "gauge"}
    assert starts == {int(PROCESS_START * 1e9)}


def test_explicit_buckets() -> None:
    """Explicit buckets have the classic bounds and the thresholds, and the counts between them."""
    point = histogram(encoder())
    bounds = list(point.explicit_bounds)
    assert bounds == sorted(bounds)
    assert {0.005, 0.3, 2.0, 60.0} < set(bounds)
    expected = [0] * (len(bounds) + 1)
    for time_ms in TIMES_MS:
        expected[bisect_left(bounds, time_ms / 1000)] += 1
    assert list(point.bucket_counts) == expected
    assert sum(point.bucket_counts) == point.count == len(TIMES_MS)
    assert point.sum == pytest.approx(math.fsum(TIMES_MS) / 1000, rel=1e-12)
    assert not point.HasField("min")
    assert not point.HasField("max")


def test_exponential_buckets() -> None:
    """Exponential buckets have the counts between the exact edges of OpenTelemetry's scale 4."""
    point = histogram(encoder(is_exponential=True))
    lowest, highest = -213, 148  # of durations up to 0.1 ms, and above 10 minutes
    expected = Counter(
        min(max(exponential_index(time_ms / 1000), lowest), highest) for time_ms in TIMES_MS if time_ms > 0
    )
    offset, counts = point.positive.offset, point.positive.bucket_counts
    assert {offset + i: n for i, n in enumerate(counts) if n} == expected
    assert counts[0]
    assert counts[-1]
    assert point.scale == 4
    assert point.zero_count == 2
    assert point.count == len(TIMES_MS) == point.zero_count + sum(counts)
    assert point.sum == pytest.approx(math.fsum(TIMES_MS) / 1000, rel=1e-12)
    assert not point.negative.bucket_counts
    assert not point.HasField("min")


def test_exponential_buckets_at_powers_of_two() -> None:
    """A duration on an edge is in the bucket below it: 1 s in bucket -1, a longer one in bucket 0."""
    for time_ms, index in ((1000, -1), (1000.0001, 0), (2000, 15), (500, -17), (4000, 31)):
        result = Load(slow_s=5.0, max_names=5)
        record(result, OK, [time_ms])
        point = histogram(encoder(is_exponential=True), taken=snapshot(result))
        assert (point.positive.offset, list(point.positive.bucket_counts)) == (index, [1])


def test_empty_histograms() -> None:
    """A series without durations has an empty histogram of either kind."""
    result = Load(slow_s=5.0, max_names=5)
    result.of(OK).unmeasured = 3
    taken = snapshot(result)
    explicit = histogram(encoder(), taken=taken)
    assert (explicit.count, explicit.sum, sum(explicit.bucket_counts)) == (0, 0.0, 0)
    exponential = histogram(encoder(is_exponential=True), taken=taken)
    assert (exponential.count, exponential.zero_count, list(exponential.positive.bucket_counts)) == (0, 0, [])


@pytest.mark.parametrize("is_exponential", [False, True])
def test_histograms_of_several_pushes(is_exponential: bool) -> None:
    """An encoder with earlier pushes encodes like a new one: without changes, with more requests, in a new run."""
    result, another = aggregate(), Load(slow_s=2.0, max_names=5, thresholds_s=(0.3,))
    record(another, OK, [*(time_ms * 3 for time_ms in TIMES_MS), 1])
    kept = encoder(is_exponential=is_exponential)
    for second, load in enumerate((result, result, result, another)):
        if second == 2:
            record(result, OK, [40.0])
        taken = snapshot(load, time=NOW + second)
        if load is another:  # as many requests under the same id as the run before
            assert taken.run is not None
            taken = replace(taken, run=replace(taken.run, start_time=RUN_START + 1))
        fresh = encoder(is_exponential=is_exponential)
        assert [p.point for p in points(kept, taken)] == [p.point for p in points(fresh, taken)]


@pytest.mark.parametrize("is_exponential", [False, True])
def test_exemplars(is_exponential: bool) -> None:
    """An exemplar has its duration, time, trace and span as bytes."""
    result = aggregate()
    result.of(OK).exemplars = {
        3: Exemplar(0.012, TRACE_ID, SPAN_ID, 1_764_000_050.5),
        19: Exemplar(700.0, TRACE_ID[::-1], SPAN_ID[::-1], 1_764_000_060.5),
    }
    exemplars = histogram(encoder(is_exponential=is_exponential), taken=snapshot(result)).exemplars
    assert [(e.as_double, e.trace_id.hex(), e.span_id.hex(), e.time_unix_nano // 1_000_000) for e in exemplars] == [
        (0.012, TRACE_ID, SPAN_ID, 1_764_000_050_500),
        (700.0, TRACE_ID[::-1], SPAN_ID[::-1], 1_764_000_060_500),
    ]


def many(names: int) -> Load:
    """Return an aggregate with this many request series."""
    result = Load(slow_s=5.0, max_names=names)
    for number in range(names):
        record(result, SeriesKey("GET", f"/{number}", "Shopper", "success"), [number])
    return result


def test_batches() -> None:
    """All batches but the last are full; together they have each point once."""
    taken = snapshot(many(700), workers=tuple(worker(f"host-{i}") for i in range(20)))
    sent = [decode(batch.data) for batch in batches(encoder(), taken)]
    assert len(sent) > 3
    assert {len(batch) for batch in sent[:-1]} == {POINTS_PER_BATCH}
    assert 0 < len(sent[-1]) <= POINTS_PER_BATCH
    keys = Counter(p.key for batch in sent for p in batch)
    expected = Counter(
        (family.metric.otlp, attributes(family, point.labels)) for family in families(taken) for point in family.points
    )
    assert keys == expected
    assert set(keys.values()) == {1}


def test_a_full_last_batch() -> None:
    """No empty batch follows a full one."""
    for names in range(197, 202):
        taken = snapshot(many(names))
        assert all(decode(batch.data) for batch in batches(encoder(), taken))


@pytest.mark.parametrize("is_exponential", [False, True])
def test_the_largest_batch(is_exponential: bool) -> None:
    """A batch of full histograms with exemplars and long names is below the limit of collectors: 4 MiB."""
    bounds, metric = layout(), REQUEST_DURATION
    exemplars = {i: Exemplar(0.25, TRACE_ID, SPAN_ID, NOW) for i in range(len(bounds.classic_bounds) + 1)}
    counts = dict.fromkeys(range(len(bounds.bounds) + 1), 1_000)
    points_ = (
        HistogramPoint(("run-1", "POST", f"/{i:0200}", "Shopper", "success"), bounds, counts, 1e6, exemplars)
        for i in range(POINTS_PER_BATCH)
    )
    family = Family(metric, metric.labels, RUN_START, points_)
    (batch,) = encoder(is_exponential=is_exponential).batches([family], int(NOW * 1e9))
    assert 500_000 < encode_metrics(batch.data).ByteSize() < 4 * 1024 * 1024


def test_no_families() -> None:
    """Without families there is no batch."""
    assert list(encoder().batches(iter(()), 1)) == []


class Receiver:
    """A receiver of deltas: adds them up, and checks that each one starts at the end of the one before."""

    def __init__(self) -> None:
        self.sums: dict[Any, list[float]] = {}
        self.until: dict[Any, int] = {}

    def take(self, batch: Batch) -> None:
        """Take a batch."""
        for p in decode(batch.data):
            kind = p.metric.WhichOneof("data")
            if kind == "gauge":
                continue
            start, end = p.point.start_time_unix_nano, p.point.time_unix_nano
            if p.key in self.until:
                assert start == self.until[p.key], p.key
            else:
                assert start in {int(RUN_START * 1e9), int(PROCESS_START * 1e9)}
            assert start < end
            self.until[p.key] = end
            values = [p.value]
            if kind == "histogram":
                values += [p.point.sum, *p.point.bucket_counts]
            elif kind == "exponential_histogram":
                buckets = [0.0] * 400
                for i, n in enumerate(p.point.positive.bucket_counts):
                    buckets[p.point.positive.offset + 220 + i] = n
                values += [p.point.sum, p.point.zero_count, *buckets]
            before = self.sums.setdefault(p.key, [0.0] * len(values))
            self.sums[p.key] = [a + b for a, b in zip(before, values, strict=True)]


@pytest.mark.parametrize("is_exponential", [False, True])
def test_deltas(is_exponential: bool) -> None:
    """The sums of deltas are the cumulative values, though half of the batches are lost."""
    random = Random(11)
    result = Load(slow_s=2.0, max_names=400)
    delta = encoder(is_exponential=is_exponential, is_delta=True)
    receiver = Receiver()
    lost = 0
    for second in range(1, 7):
        for name in random.sample(range(250), 60):
            record(result, SeriesKey("GET", f"/{name}", "Shopper", "success"), [random.lognormvariate(4, 2)], 10)
        taken = snapshot(result, time=RUN_START + second, workers=(worker(lags_s=[0.001] * second),))
        for batch in batches(delta, taken):
            if second < 6 and random.random() < 0.5:
                lost += 1
                continue
            receiver.take(batch)
            delta.acknowledge(batch)
    assert lost >= 3
    whole = Receiver()
    for batch in batches(encoder(is_exponential=is_exponential, is_delta=False), taken):
        whole.take(batch)
    assert receiver.sums.keys() == whole.sums.keys()
    for key, values in whole.sums.items():
        assert receiver.sums[key] == pytest.approx(values, rel=1e-9, abs=1e-9), key
    assert sum(v[0] for k, v in receiver.sums.items() if k[0] == "locust.request.duration") == 360


def test_delta_of_a_lost_batch() -> None:
    """The next push has the numbers of a lost batch, also if a later batch of the same push arrived."""
    result, delta = many(250), encoder(is_delta=True)
    lost, *arrived = batches(delta, snapshot(result))
    assert arrived
    for batch in arrived:
        delta.acknowledge(batch)
    keys = {p.key: p.value for p in decode(lost.data) if p.metric.WhichOneof("data") != "gauge"}
    again = {p.key: p for p in points(delta, snapshot(result, time=NOW + 5)) if p.metric.WhichOneof("data") != "gauge"}
    assert {key: again[key].value for key in keys} == keys
    assert {again[key].point.start_time_unix_nano for key in keys} == {int(RUN_START * 1e9)}
    unchanged = [p for key, p in again.items() if key not in keys]
    assert {p.value for p in unchanged} == {0.0}
    assert {p.point.start_time_unix_nano for p in unchanged} == {int(NOW * 1e9)}


def test_cumulative_values() -> None:
    """A cumulative point counts since the start, whatever was acknowledged."""
    result, cumulative = aggregate(), encoder()
    first = [p.value for p in points(cumulative, snapshot(result))]
    for batch in batches(cumulative, snapshot(result)):
        cumulative.acknowledge(batch)
    assert [p.value for p in points(cumulative, snapshot(result))] == first


def test_series_of_a_new_run() -> None:
    """After `forget_run` the series of a new run count from its start."""
    delta = encoder(is_delta=True)
    for batch in batches(delta, snapshot(aggregate())):
        delta.acknowledge(batch)
    delta.forget_run()
    fresh = points(delta, snapshot(aggregate(), run_id="run-2", of_bridge=health()))
    totals = {p.key: p for p in fresh if p.metric.name == "locust.requests"}
    assert sum(p.value for p in totals.values()) == 17 + 2 + 3
    assert {p.point.start_time_unix_nano for p in totals.values()} == {int(RUN_START * 1e9)}
    assert {dict(p.attributes)["run_id"] for p in totals.values()} == {"run-2"}


def encoded(*events: Event) -> Any:
    """Return events as they are sent: the resource with its records."""
    wire = encode_logs(list(map(encoder().log_record, events))).SerializeToString()
    (resource_logs,) = ExportLogsServiceRequest.FromString(wire).resource_logs
    return resource_logs


def test_an_event() -> None:
    """Name, body, severity, time, attributes of each type, trace and span arrive."""
    before = time_ns()
    event = Event(
        SLOW_REQUEST,
        "slow request",
        "WARN",
        {"run_id": "run-1", "duration_s": 5.125, "users": 7},
        timestamp=1_764_000_050.5,
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
    )
    resource_logs = encoded(event)
    (scope,) = resource_logs.scope_logs
    (log,) = scope.log_records
    assert (scope.scope.name, scope.scope.version) == ("locust_otel", "1.2.3")
    assert {a.key: a.value.string_value for a in resource_logs.resource.attributes} == {"service.name": "shop"}
    assert (log.event_name, log.body.string_value) == ("locust.slow_request", "slow request")
    assert log.time_unix_nano == 1_764_000_050_500_000_000
    assert before <= log.observed_time_unix_nano <= time_ns()
    attributes = {a.key: a.value for a in log.attributes}
    assert attributes["run_id"].string_value == "run-1"
    assert attributes["duration_s"].double_value == 5.125
    assert attributes["users"].int_value == 7
    assert (log.trace_id.hex(), log.span_id.hex(), log.flags) == (TRACE_ID, SPAN_ID, 1)


@pytest.mark.parametrize(("severity", "number"), [("INFO", 9), ("WARN", 13), ("ERROR", 17)])
def test_severities(severity: str, number: int) -> None:
    """Severities have the numbers of the data model."""
    (log,) = encoded(Event("e", "text", severity)).scope_logs[0].log_records
    assert (log.severity_text, log.severity_number) == (severity, number)


def test_no_trace() -> None:
    """An event without a trace has none, also if the thread has a current span."""
    span = trace.NonRecordingSpan(trace.SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), is_remote=False))
    token = attach(trace.set_span_in_context(span))
    try:
        (log,) = encoded(Event("e", "text")).scope_logs[0].log_records
    finally:
        detach(token)
    assert (log.trace_id, log.span_id, log.flags) == (b"", b"", 0)
