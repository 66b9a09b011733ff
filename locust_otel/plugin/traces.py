"""W3C `traceparent` header of requests: users send it, and it links a recorded request to its trace.

This side needs no tracing SDK: the header names a trace, and the service under test continues it.
https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

_HEADER = "traceparent"
_MARK = "_locust_otel_propagates"

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 0x01


class SpanContext(NamedTuple):
    """Trace and span of a sampled request, as 32 and 16 hex digits."""

    trace_id: str
    span_id: str


def parse(traceparent: object) -> SpanContext | None:
    """Return the span context of a header's value; None if it is malformed or the trace is not sampled."""
    if isinstance(traceparent, bytes):
        traceparent = traceparent.decode("ascii", "replace")
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if isinstance(traceparent, str) else None
    if match is None or not int(match[3], 16) & _SAMPLED:
        return None
    return SpanContext(match[1], match[2])


def of_request(response: object, context: object) -> SpanContext | None:
    """Return the span context of a request; None without one.

    Args:
        response: Locust's `response`; its `request.headers` are read first.
        context: Locust's `context`; custom clients may put `traceparent` there.
    """
    for headers in (getattr(getattr(response, "request", None), "headers", None), context):
        get = getattr(headers, "get", None)
        if callable(get) and (span := parse(get("traceparent") or get("Traceparent"))):
            return span
    return None


class Propagator:
    """Creates headers, and makes users send them."""

    def __init__(self) -> None:
        self.ratio: float | None = None  # share of sampled traces, in [0, 1]; None to send no header
        self._random = Random()  # noqa: S311  # ids, no secrets; separate, so that the users' seeds keep their effect

    def header(self) -> str:
        """Return a header's value: a new trace and span, sampled with the probability `ratio`."""
        bits = self._random.getrandbits
        sampled = self._random.random() < (self.ratio or 0)
        return f"00-{bits(128) | 1:032x}-{bits(64) | 1:016x}-{sampled:02x}"

    def instrument(self, user_classes: Iterable[type[Any]]) -> None:
        """Make each future user of these classes send the header, if it has a client of HttpUser or FastHttpUser.

        Locust has no event for a new user, so the constructors of the classes are wrapped, once each.
        """
        for user_class in user_classes:
            if _MARK not in vars(user_class):
                setattr(user_class, _MARK, True)
                user_class.__init__ = self._constructor(user_class.__init__)

    def _constructor(self, original: Any) -> Any:
        @functools.wraps(original)
        def construct(user: Any, *arguments: Any, **options: Any) -> None:
            original(user, *arguments, **options)
            client = getattr(user, "client", None)
            if callable(getattr(client, "request", None)) and hasattr(client, "request_event"):
                self._wrap(client)

        return construct

    def _wrap(self, client: Any) -> None:
        if _MARK in vars(client):
            return
        request = client.request

        @functools.wraps(request)
        def traced(*arguments: Any, **options: Any) -> Any:
            headers = options.get("headers")
            if self.ratio is not None and not _has_header(headers, client):
                options["headers"] = {**(headers or {}), _HEADER: self.header()}
            return request(*arguments, **options)

        client.request = traced
        setattr(client, _MARK, True)


def _has_header(headers: Any, client: Any) -> bool:
    """Return whether the user sends the header already: in these headers, or in those of all requests of the client."""
    of_client = (getattr(client, "headers", None), getattr(getattr(client, "client", None), "default_headers", None))
    return any(str(name).lower() == _HEADER for mapping in (headers, *of_client) if mapping for name in mapping)
