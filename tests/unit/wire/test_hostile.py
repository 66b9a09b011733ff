"""Properties of the two decoders of strangers' bytes: workers' reports on the master, and answers of sinks."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from locust_otel.wire.report import VERSION, fingerprint
from tests.fuzz.targets import RUN, Master, answer, hostile
from tests.unit.factories import SPAN_ID, TRACE_ID, record
from tests.unit.wire.test_report import KEY, Worker, errors, merged, numbers

SERIES = ["GET", "/", "Shopper", 0, 1, 1.5, 10, [3, 4], [[1, 0.01, TRACE_ID, SPAN_ID, 100.0]]]
LAYOUT = fingerprint(Master().run.aggregate.layout)
GOOD: dict[str, Any] = {
    "v": VERSION,
    "runs": [
        {
            "id": RUN, "layout": LAYOUT, "series": [SERIES],
            "errors": [["GET", "/", "500", 3]], "user_errors": [["Shopper", "KeyError", 2]],
        }
    ],
    "reset": 0,
    "is_last": False,
    "errors": 2,
    "events": [["locust.slow_request", "slow", "WARN", {"a": 1}, 1.0, "", ""]],
    "vitals": [RUN, 0.5, 1000, ["cpu"], 0.25, [3, 4], 0.5, [3, 4]],
}  # fmt: skip

ODD = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.binary(max_size=3),
    st.sampled_from([0, -1, 1, 2**31, 2**48, 2**63, 2**64, 10**400, -(10**30), 1e308, -1e308]),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.5, -0.5]),
    st.just([]), st.just({}), st.just([[]]), st.just([1, 2]), st.just([1, 2**63]), st.just([10**9, 1]),
)  # fmt: skip


def paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value within a value."""
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(way for key, inner in items for way in paths(inner, (*path, key)))]


def changed(path: tuple[Any, ...], value: object) -> Any:
    """Return the good report with one value changed."""
    if not path:
        return value
    report = copy.deepcopy(GOOD)
    place: Any = report
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return report


def test_the_good_report_is_taken() -> None:
    """What the other tests spoil is merged as it is: 4 + 1 requests, and what went wrong on the worker."""
    assert hostile(GOOD).counters() == {
        "requests": 5, "errors": 3, "user_errors": 2, "bytes": 10, "listener_errors": 2,
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(paths(GOOD)), ODD), min_size=1, max_size=1))
@example([(("vitals", 1), "busy")])
@example([(("vitals", 2), 10**400)])
@example([(("vitals", 4), math.nan)])
@example([(("errors",), -5)])
@example([(("errors",), 10**400)])
@example([(("runs", 0, "series", 0, 6), 10**400)])
@example([(("runs", 0, "errors", 0, 3), 10**400)])
@example([(("reset",), 10**400)])
@example([(("runs", 0, "series", 0, 8, 0, 1), False)])
@example([(("events", 0, 3, "a"), 10**400)])
@example([(("events", 0, 5), "ab" * 99)])
def test_no_report_stops_the_master(changes: list[tuple[tuple[Any, ...], object]]) -> None:
    """A report with one value spoilt lowers no counter and breaks no export, and the next good one is merged."""
    ((path, value),) = changes
    master = hostile(changed(path, value))
    master.tell(copy.deepcopy(GOOD))
    assert master.counters()["requests"] >= 5
    master.exported()


@settings(max_examples=60, deadline=None)
@given(st.recursive(ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner)))
def test_anything_may_come_instead_of_a_report(part: object) -> None:
    """What is no report at all is refused, counted, and stops nothing."""
    if part is not None:  # a worker without locust-otel
        assert hostile(part).counters()["listener_errors"] == 1


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None])
def test_another_version_says_so(version: object, caplog: pytest.LogCaptureFixture) -> None:
    """A report in another version's format is refused, told of once, and counted each time."""
    master = hostile(changed(("v",), version))
    master.tell(changed(("v",), version))
    assert master.counters()["listener_errors"] == 2
    assert master.counters()["requests"] == 0
    (record_,) = caplog.records
    assert f"reports in version {version!r}, this master reads version {VERSION}" in record_.getMessage()
    assert "install the same locust-otel on both" in record_.getMessage()


REPORTS = st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 700_000), max_size=4)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(REPORTS, st.randoms(use_true_random=False))
def test_the_order_of_reports_does_not_matter(made: list[tuple[int, list[int]]], random: Any) -> None:
    """Merged in any order, and each as often as you like, the same reports make the same numbers."""
    workers = [Worker(f"host_{number}") for number in range(3)]
    reports = []
    for number, times_ms in made:
        record(workers[number].aggregate, KEY, times_ms)
        reports.append((workers[number].client_id, workers[number].report()))
    in_order, shuffled = merged(), merged()
    for client_id, report in reports:
        in_order.merge(client_id, report)
    mixed = reports + random.choices(reports, k=len(reports)) if reports else []
    random.shuffle(mixed)
    for client_id, report in mixed:
        shuffled.merge(client_id, report)
    expected, found = in_order.aggregate.snapshot(), shuffled.aggregate.snapshot()
    assert numbers(found) == numbers(expected)
    assert errors(found) == errors(expected)
    assert math.fsum(s.sum_s for s in found.series) == pytest.approx(math.fsum(s.sum_s for s in expected.series))


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
def test_any_answer_of_a_sink_is_judged(status: bytes, headers: list[bytes], body: bytes, cut: int) -> None:
    """An answer of whatever bytes, cut off wherever, is an outcome whose every field can be used and printed."""
    answer((b"HTTP/1.1 " + b"\r\n".join([status, *headers]) + b"\r\n\r\n" + body)[: cut or None])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_answer(data: bytes) -> None:
    """Bytes that are no HTTP at all are never taken for a push that arrived."""
    outcome = answer(data)
    assert outcome is None or not outcome.ok


def test_a_whole_answer_is_read() -> None:
    """The function that is fuzzed reads what a sink says: seven points rejected, and why in one line."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n" % len(PARTIAL)
    outcome = answer(head + PARTIAL)
    assert outcome is not None
    assert (outcome.ok, outcome.rejected, outcome.reason) == (True, 7, "toomany")
