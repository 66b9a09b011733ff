"""Events as OpenTelemetry log records.

https://opentelemetry.io/docs/specs/otel/logs/data-model/
"""

from __future__ import annotations

from time import time_ns

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    set_span_in_context,
)

from locust_otel.core.events import Event

_SEVERITIES = {"INFO": SeverityNumber.INFO, "WARN": SeverityNumber.WARN, "ERROR": SeverityNumber.ERROR}


def record(event: Event, resource: Resource, scope: InstrumentationScope) -> ReadableLogRecord:
    """Return an event as a log record."""
    span_context = INVALID_SPAN_CONTEXT
    if event.trace_id:
        span_context = SpanContext(
            int(event.trace_id, 16), int(event.span_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )
    return ReadableLogRecord(
        LogRecord(
            timestamp=int(event.timestamp * 1e9),
            observed_timestamp=time_ns(),
            # Always one of our own: without any, the span of whoever happens to push would be taken.
            context=set_span_in_context(NonRecordingSpan(span_context), Context()),
            severity_text=event.severity,
            severity_number=_SEVERITIES[event.severity],
            body=event.body,
            attributes=dict(event.attributes),
            event_name=event.name,
        ),
        resource,
        scope,
    )
