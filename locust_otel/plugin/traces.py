"""From a request to the trace it belongs to: the W3C `traceparent` header it carried.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 0x01


class SpanContext(NamedTuple):
    """Trace and span of a sampled request, as 32 and 16 hex digits."""

    trace_id: str
    span_id: str


def parse(traceparent: object) -> SpanContext | None:
    """Return the span context of a header's value; None where it is malformed or says the trace is not sampled."""
    if isinstance(traceparent, bytes):
        traceparent = traceparent.decode("ascii", "replace")
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if isinstance(traceparent, str) else None
    if match is None or not int(match[3], 16) & _SAMPLED:
        return None
    return SpanContext(match[1], match[2])


def of_request(response: object, context: object) -> SpanContext | None:
    """Return the span context a request went out with, None where there is none.

    Args:
        response: What Locust passes as `response`; its `request.headers` are looked at.
        context: What Locust passes as `context`; custom clients may put `traceparent` there.
    """
    for headers in (getattr(getattr(response, "request", None), "headers", None), context):
        get = getattr(headers, "get", None)
        if callable(get) and (found := parse(get("traceparent") or get("Traceparent"))):
            return found
    return None
