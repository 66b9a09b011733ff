"""Tests of events over OTLP: what the official encoder makes of them says what the event says."""

from __future__ import annotations

from time import time_ns
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from locust_otel.core.events import SLOW_REQUEST, Event
from locust_otel.exporter.otlp.logs import record

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def encoded(*events: Event) -> Any:
    """Return events as they were on the wire: the resource with its records."""
    resource, scope = Resource({"service.name": "shop"}), InstrumentationScope("locust_otel", "1.2.3")
    wire = encode_logs([record(event, resource, scope) for event in events]).SerializeToString()
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
    """An event without a trace has none, even where a span of somebody else's is current."""
    span = trace.NonRecordingSpan(trace.SpanContext(int(TRACE_ID, 16), int(SPAN_ID, 16), is_remote=False))
    token = attach(trace.set_span_in_context(span))
    try:
        (log,) = encoded(Event("e", "text")).scope_logs[0].log_records
    finally:
        detach(token)
    assert (log.trace_id, log.span_id, log.flags) == (b"", b"", 0)


def test_many() -> None:
    """Several events keep their order under one resource."""
    (scope,) = encoded(*(Event("e", f"text {i}") for i in range(5))).scope_logs
    assert [log.body.string_value for log in scope.log_records] == [f"text {i}" for i in range(5)]
