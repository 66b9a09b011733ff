"""Recorder of Locust's `request` events: one event becomes one record.

The common case, a successful request of a simulated user in a known series, takes the few lines of `on_request`.
Everything else (the first request of a series, failures, slow requests, odd values) takes `_record`, which evaluates
all fields. Neither raises an exception, and neither loses a request.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from time import time
from typing import Any, TypeVar

from greenlet import getcurrent
from locust import User

from locust_otel.core.catalogue import OTHER
from locust_otel.core.snapshot import Exemplar, SeriesKey, SlowRequest
from locust_otel.plugin import traces
from locust_otel.plugin.redaction import redacted
from locust_otel.plugin.series import Requests, Series, usable_length, usable_time

MAX_LABEL_LENGTH = 1024
"""Characters of a label's value; a longer value is cut."""

SLOW_REQUESTS_KEPT = 20
"""Slow requests kept until a report takes them; further ones replace the oldest, which are only counted."""

TRACES_PER_REPORT = 25
"""Ordinary requests whose trace is read between two reports."""

GROUPED_KEPT = 10_000
"""Names with ids whose series is cached; a request with any further name takes three times as long."""

_HTTP_ERROR = 400
_T = TypeVar("_T")


class Recorder:
    """Records the requests of this process into those of the current run."""

    def __init__(self, requests: Requests) -> None:
        self.errors = 0  # invalid events; they are counted as requests, too
        self.slow_requests: deque[SlowRequest] = deque(maxlen=SLOW_REQUESTS_KEPT)  # not yet reported
        self.slow_requests_dropped = 0  # from there, since the last report
        self.requests = requests
        self._traces_left = TRACES_PER_REPORT
        self._grouped_kept = 0  # names in `_series` that are counted under the name of their group
        # By class of the user, method and name. Three look-ups cost less than making and hashing a tuple of the three.
        self._series: dict[type, dict[str, dict[str, Series]]] = {}
        self.on_request, self._set_slow_ms = self._listener()
        self.record_into(requests)

    def record_into(self, requests: Requests) -> None:
        """Record into these requests from now on."""
        self._series.clear()
        self._grouped_kept = 0
        self.requests = requests
        self._set_slow_ms(requests.slow_s * 1000)

    def look_for_traces(self) -> None:
        """Read the traces of some more requests: reading each would cost more than counting the request."""
        self._traces_left = TRACES_PER_REPORT

    def _listener(self) -> tuple[Callable[..., None], Callable[[float], None]]:
        """Make the listener: a closure, whose cells are quicker to read than attributes."""
        series_of, record, first = self._series, self._record, self._first
        slow_ms = math.inf

        def set_slow_ms(value: float) -> None:
            nonlocal slow_ms
            slow_ms = value

        # The signature lists the names that Locust's own clients fire; otherwise each request would need a dictionary
        # of them. `args[0]` of a user's greenlet is the user; Locust documents that as the way to get it.
        def on_request(  # noqa: PLR0913, PLR0917  # the fields of Locust's event
            request_type: Any = None,
            name: Any = None,
            response_time: Any = None,
            response_length: Any = 0,
            response: Any = None,
            exception: Any = None,
            context: Any = None,
            start_time: Any = None,  # noqa: ARG001
            url: Any = None,  # noqa: ARG001
            **_others: Any,
        ) -> None:
            try:
                series = series_of[getcurrent().args[0].__class__][request_type][name]
                # NaN is never <= anything.
                if not exception and response_time <= slow_ms:
                    pending = series.pending
                    if not pending:  # the first one since the last tally
                        first(series, response_time, response, context)
                    pending.append(response_time)
                    pending.append(response_length)
                    return
            except Exception:  # noqa: S110  # no user, no series yet, an odd value: the slow path handles all of them
                pass
            try:
                record(request_type, name, response_time, response_length, response, exception, context)
            except Exception:  # an exception from a listener would change Locust's exit code
                self.errors += 1

        return on_request, set_slow_ms

    def _record(  # noqa: PLR0913, PLR0917  # as above
        self,
        request_type: Any,
        name: Any,
        response_time: Any,
        response_length: Any,
        response: Any,
        exception: Any,
        context: Any,
    ) -> None:
        # First evaluate the values of other code, which can fail; then count, which cannot.
        requests = self.requests
        user_class = self._user_class()
        failed = self._guarded(bool, exception, True)
        milliseconds = usable_time(response_time)
        body_bytes = usable_length(response_length)
        status = self._guarded(_status, response, 0)
        error_type = str(status) if status >= _HTTP_ERROR else type(exception).__name__ if failed else ""
        method, name_label = requests.names.admitted(self._label(request_type), self._label(name))

        key = SeriesKey(
            method, name_label, user_class.__name__ if user_class else "", "failure" if failed else "success"
        )
        series = requests.of(key)
        if failed:
            requests.count_error(method, name_label, error_type)
        elif user_class and type(name) is type(request_type) is str:
            self._keep_series(user_class, request_type, name, series)
        if milliseconds is None:
            requests.count_unmeasured(series, body_bytes)
            return
        requests.dirty[series] = None
        is_first = not series.pending
        series.pending += (milliseconds, body_bytes)

        duration_s = milliseconds / 1000
        is_slow = duration_s > requests.slow_s
        if is_first or is_slow:
            span = self._guarded(lambda r: traces.of_request(r, context), response, None)
            if span is not None:
                self._keep_exemplar(series, duration_s, span)
            if is_slow:
                if len(self.slow_requests) == SLOW_REQUESTS_KEPT:
                    self.slow_requests_dropped += 1
                result = error_type or str(status or "")
                self.slow_requests.append(SlowRequest(key, duration_s, result, *(span or ("", "")), time()))

    def _keep_series(self, user_class: type, method: str, name: str, series: Series) -> None:
        """Let the listener find a series by method and name.

        Only names that are used unchanged are cached; shortened or folded names would grow the cache without limit. Of
        the names with ids the first `GROUPED_KEPT` are cached too, since that is faster.
        """
        key = series.key
        if (method, name) != (key.method, key.name):
            is_grouped = self.requests.names.groups and method == key.method and key.name != OTHER
            if not is_grouped or len(name) > MAX_LABEL_LENGTH or self._grouped_kept >= GROUPED_KEPT:
                return
            # A slow request of a cached name comes here, too.
            self._grouped_kept += name not in self._series.get(user_class, {}).get(method, {})
        self._series.setdefault(user_class, {}).setdefault(method, {})[name] = series

    def _first(self, series: Series, response_time: Any, response: Any, context: Any) -> None:
        """Mark a known series as changed, and keep the trace of this ordinary request, if it has one."""
        self.requests.dirty[series] = None
        if not self._traces_left:
            return
        self._traces_left -= 1
        span = self._guarded(lambda r: traces.of_request(r, context), response, None)
        milliseconds = usable_time(response_time) if span is not None else None
        if span is not None and milliseconds is not None:
            self._keep_exemplar(series, milliseconds / 1000, span)

    def _keep_exemplar(self, series: Series, duration_s: float, span: traces.SpanContext) -> None:
        index = bisect_left(self.requests.layout.classic_bounds, duration_s)
        series.exemplars[index] = Exemplar(duration_s, span.trace_id, span.span_id, time())

    def _user_class(self) -> type | None:
        """Return the class of the user that this greenlet runs; None in any other greenlet."""
        try:
            user = getcurrent().args[0]
            return user.__class__ if isinstance(user, User) else None
        except Exception:  # another greenlet: without arguments, or with arguments that are no sequence
            return None

    def _label(self, value: object) -> str:
        """Return a label's value as text without secrets; None is empty text."""
        text = value if isinstance(value, str) else "" if value is None else self._guarded(str, value, OTHER)
        # A lone surrogate cannot be encoded as UTF-8, and Prometheus refuses all of a scrape for it.
        return redacted(text[:MAX_LABEL_LENGTH]).encode("utf-8", "replace").decode()

    def _guarded(self, function: Callable[[Any], _T], value: object, otherwise: _T) -> _T:
        """Return the function's result; if the value makes it raise, count an error and return `otherwise`."""
        try:
            return function(value)
        except Exception:
            self.errors += 1
            return otherwise


def _status(response: Any) -> int:
    """Return the HTTP status of a response, 0 without one."""
    # A response is falsy from 400 up, so do not test its truth.
    status = getattr(response, "status_code", None) if response is not None else None
    return int(status) if isinstance(status, int) and 0 <= status < 1000 else 0
