"""Properties of the two decoders of untrusted bytes: reports of workers, and answers of OTLP receivers."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from locust_otel.core.events import Event
from locust_otel.core.snapshot import SeriesKey, SlowRequest
from locust_otel.wire.report import VERSION, encode_event, fingerprint
from tests.fuzz.targets import RUN, Master, answer, hostile
from tests.unit.factories import SPAN_ID, TRACE_ID
from tests.unit.spoiling import changed, paths

SLOW = SlowRequest(SeriesKey("GET", "/", "Shopper", "success"), 6.0, "200", TRACE_ID, SPAN_ID, 1.0)
SERIES = ["GET", "/", "Shopper", 0, 1, 1.5, 10, [3, 4], {1: [0.01, TRACE_ID, SPAN_ID, 100.0]}]
GOOD: list[Any] = [
    VERSION, RUN, fingerprint(Master().run.merged.layout), [SERIES], [[["GET", "/", "500"], 3]],
    [[["Shopper", "KeyError"], 2]],
    {
        "is_over": False, "reset": 0, "missing": 0, "errors": 2,
        "events": [encode_event(Event("locust.user_error", "text", "WARN", {"a": 1}, 1.0, TRACE_ID, SPAN_ID))],
        "slow": [encode_event(SLOW) | {"key": [*SLOW.key]}], "slow_dropped": 1,
        "vitals": [0.5, 1000, ["cpu"], 0.25, {2: 4}, 0.5, {2: 4}],
    },
]  # fmt: skip
"""Piece of a report, before encoding."""

ODD = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.binary(max_size=3),
    st.sampled_from([0, -1, 1, 2**31, 2**48, 2**63, 2**64 - 1, -(2**63), 1e308, -1e308]),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.5, -0.5]),
    st.just([]), st.just({}), st.just([[]]), st.just([1, 2]), st.just([1, 2**63]), st.just([10**9, 1]),
)  # fmt: skip


def packed(piece: object) -> bytes:
    """Return the bytes of a piece."""
    data: bytes = msgpack.packb(piece)
    return data


def test_a_valid_report() -> None:
    """`GOOD`, which the other tests change, is merged: 4 + 1 requests, and the errors of the worker."""
    assert hostile([packed(GOOD)]).counters() == {
        "requests": 5, "errors": 3, "user_errors": 2, "bytes": 10, "listener_errors": 2,
    }  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(paths(GOOD)), ODD)
@example((6, "vitals", 0), "busy")
@example((6, "vitals", 3), math.nan)
@example((6, "errors"), -5)
@example((3, 0, 8, 1, 0), False)
@example((6, "events", 0, "attributes", "a"), 2**64 - 1)
@example((6, "events", 0, "trace_id"), "ab" * 99)
@example((6, "events", 0), encode_event(Event("a", "b", "INFO", {}, 1.0, "ab" * 24, "")))
@example((3, 0, 8, 1), [0.01, "ab" * 24, "", 100.0])
@example((6, "slow", 0, "trace_id"), [])
@example((3, 0, 7), [2**40, 1])
@example((6, "vitals", 4), {2**40: 1})
@example((3, 0, 8, 1, 3), 2**40)
@example((6, "events", 0, "timestamp"), 2**40)
@example((6, "slow", 0, "timestamp"), 2**40)
def test_no_report_stops_the_exporter(path: tuple[Any, ...], value: object) -> None:
    """A report with one changed value lowers no counter and breaks no export, and the next valid report is merged."""
    master = hostile([packed(changed(GOOD, path, value))])
    master.tell([packed(GOOD)])
    assert master.counters()["requests"] >= 5
    master.exported()


@settings(max_examples=40, deadline=None)
@given(st.recursive(ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner)))
def test_any_value_instead_of_a_report(part: object) -> None:
    """Any value instead of a report, of its pieces or of a piece is refused and counted."""
    if part is not None and part != []:  # None: a worker without locust-otel; []: a report without pieces
        assert hostile(part).counters()["listener_errors"] == 1
    assert hostile([part]).counters()["listener_errors"] == 1
    assert hostile([packed(part)]).counters()["listener_errors"] == 1


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.integers(0, len(packed(GOOD)) - 1), st.binary(min_size=1, max_size=3))
def test_any_bytes_instead_of_a_piece(data: bytes, at: int, patch: bytes) -> None:
    """Any bytes, and valid bytes with changes, raise nothing and break nothing."""
    hostile([data])
    good = packed(GOOD)
    hostile([good[:at] + patch + good[at + len(patch) :]])
    hostile([good[:at]])


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None])
def test_another_version(version: object, caplog: pytest.LogCaptureFixture) -> None:
    """A report of another version is refused and counted each time, and logged once."""
    part = [packed(changed(GOOD, (0,), version))]
    master = hostile(part)
    master.tell(part)
    assert master.counters()["listener_errors"] == 2
    assert master.counters()["requests"] == 0
    (record,) = caplog.records
    assert f"instead of {VERSION}: install the same locust-otel on both" in record.getMessage()


PARTIAL = ExportMetricsServiceResponse(
    partial_success=ExportMetricsPartialSuccess(rejected_data_points=7, error_message="too\nmany")
).SerializeToString()
HEADERS = st.sampled_from(
    [
        b"Content-Type: application/x-protobuf", b"Content-Type: text/html", b"Content-Length: 5",
        b"Content-Length: 99999999999999999999", b"Content-Length: -1", b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip", b"Content-Encoding: deflate, br", b"Retry-After: 1e400", b"Retry-After: nan",
        b"Retry-After: Wed, 99 Foo 2015", b"Connection: close", b"Retry-After: -3", b"Location: //[",
        b"Content-Type: ;;;\xff", b"Content-Length: %d" % len(PARTIAL), b"Retry-After: Sun, 31 Dec 9999 23:59:59 -2359",
    ]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"200 OK", b"204 No", b"302 Found", b"404 \xff\xfe", b"429 Slow", b"503 Busy", b"599", b"101 Up"]),
    st.lists(HEADERS, max_size=5),
    st.one_of(st.binary(max_size=60), st.just(PARTIAL), st.just(b"5\r\nabcde\r\n0\r\n\r\n")),
    st.integers(0, 400),
)
def test_any_answer_of_a_receiver(status: bytes, headers: list[bytes], body: bytes, cut: int) -> None:
    """Any HTTP answer, cut off anywhere, is an outcome with printable fields in their ranges."""
    answer((b"HTTP/1.1 " + b"\r\n".join([status, *headers]) + b"\r\n\r\n" + body)[: cut or None])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_not_http(data: bytes) -> None:
    """Bytes that are not HTTP are never a successful push."""
    outcome = answer(data)
    assert outcome is None or not outcome.ok


def test_a_valid_answer() -> None:
    """The outcome of a partial success has seven rejected points, and the reason in one line."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n" % len(PARTIAL)
    outcome = answer(head + PARTIAL)
    assert outcome is not None
    assert (outcome.ok, outcome.rejected, outcome.reason) == (True, 7, "toomany")
