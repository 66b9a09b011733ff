"""Tests of the outcome of each answer over HTTP; `tests/integration/test_sender.py` has those of the connection."""

from __future__ import annotations

import gzip
import io
from email.utils import formatdate
from http.client import HTTPResponse
from time import time
from typing import Any, cast

import pytest
import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse as UrllibResponse

from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.sender import judged
from tests.unit.otlp_sinks import reply

OK = Outcome(ok=True)
INCOMPLETE = Outcome(ok=False, reason="200 with an incomplete answer")


class Connection:
    """A socket from which an answer is read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _: str) -> io.BytesIO:
        """Return the answer."""
        return io.BytesIO(self._data)


def outcome_of(data: bytes, response_type: Any = ExportMetricsServiceResponse) -> Outcome:
    """Return the outcome of an answer to a POST."""
    parsed = HTTPResponse(cast("Any", Connection(data)), method="POST")
    parsed.begin()
    raw = UrllibResponse(
        cast("Any", parsed), dict(parsed.headers), parsed.status, parsed.version, reason=parsed.reason,
        preload_content=False, decode_content=False, original_response=cast("Any", parsed),
    )  # fmt: skip
    request = requests.Request("POST", "http://127.0.0.1/v1/metrics").prepare()
    return judged(HTTPAdapter().build_response(request, cast("Any", raw)), response_type)


@pytest.mark.parametrize(
    "answer",
    [
        reply(),
        reply(body=ExportMetricsServiceResponse().SerializeToString()),
        reply(body=ExportMetricsServiceResponse(partial_success=ExportMetricsPartialSuccess()).SerializeToString()),
        reply(content_type=""),
        reply(body=b"{}", content_type="application/json"),
        reply(body=b"OK", content_type="text/plain"),
        reply("202 Accepted"),
        reply("204 No Content", content_type=""),
    ],
)
def test_success(answer: bytes) -> None:
    """A 2xx answer is a success with a response of OTLP, an empty body, or a short text."""
    assert outcome_of(answer) == OK


@pytest.mark.parametrize(
    ("response", "rejected", "reason"),
    [
        (
            ExportMetricsServiceResponse(
                partial_success=ExportMetricsPartialSuccess(
                    rejected_data_points=99, error_message="out of\norder \x1b[31m" + "x" * 500
                )
            ),
            99,
            "out oforder [31m" + "x" * 182,
        ),
        (
            ExportLogsServiceResponse(
                partial_success=ExportLogsPartialSuccess(rejected_log_records=2, error_message="too old")
            ),
            2,
            "too old",
        ),
        # The specification allows such warnings.
        (
            ExportMetricsServiceResponse(
                partial_success=ExportMetricsPartialSuccess(rejected_data_points=0, error_message="deprecated")
            ),
            0,
            "",
        ),
    ],
    ids=["metrics", "logs", "warning"],
)
def test_partial_success(response: Any, rejected: int, reason: str) -> None:
    """A partial success has the number of rejected points or records, and a printable reason."""
    outcome = outcome_of(reply(body=response.SerializeToString()), type(response))
    assert outcome == Outcome(ok=True, rejected=rejected, reason=reason, is_permanent=bool(rejected))


@pytest.mark.parametrize(
    "answer",
    [
        reply(body=b"<html>Log in</html>", content_type="text/html; charset=utf-8"),
        reply(body=b"<html>Log in</html>", content_type="Text/HTML"),
        reply(body=b"\xff\xff\xff\xff"),
        reply(body=b"not protobuf at all"),
        reply(body=b"x" * 200_000, content_type="text/plain"),
        reply(body=gzip.compress(b"\0" * 1_000_000), Content_Encoding="gzip"),
    ],
    ids=["html", "HTML", "invalid", "text", "long", "gzip bomb"],
)
def test_false_success(answer: bytes) -> None:
    """A web page, garbage and a long body with status 200 are failures, but not permanent ones."""
    outcome = outcome_of(answer)
    assert (outcome.ok, outcome.rejected, outcome.is_permanent) == (False, 0, False)
    assert outcome.reason.startswith("200 with ")


@pytest.mark.parametrize(
    ("status", "reason", "is_permanent"),
    [
        ("301 Moved Permanently", "301 a redirect, which OTLP does not follow", True),
        ("308 Moved", "308 a redirect, which OTLP does not follow", True),
        ("400 Bad Request", "400 Bad Request", True),
        ("401 Unauthorized", "401 Unauthorized", True),
        ("403 Forbidden", "403 Forbidden", True),
        ("404 Not Found", "404 Not Found", True),
        ("413 Content Too Large", "413 Content Too Large", True),
        ("500 Internal Server Error", "500 Internal Server Error", True),
        ("429 Too Many Requests", "429 Too Many Requests", False),
        ("502 Bad Gateway", "502 Bad Gateway", False),
        ("503 Service Unavailable", "503 Service Unavailable", False),
        ("504 Gateway Timeout", "504 Gateway Timeout", False),
        ("503 busy\x1b[2J" + "x" * 5_000, "503 busy[2J" + "x" * 188, False),
    ],
)
def test_refusals(status: str, reason: str, is_permanent: bool) -> None:
    """The reason is the printable status line; statuses that the specification does not list are permanent."""
    outcome = outcome_of(reply(status, b"some text", "text/plain"))
    assert outcome == Outcome(ok=False, reason=reason, is_permanent=is_permanent)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("nan", 0.0), ("inf", 0.0), ("1e9", 3600.0), ("soon", 0.0), ("", 0.0)],
)
def test_retry_after(value: str, seconds: float) -> None:
    """A pause in Retry-After is at most an hour; an invalid one is 0."""
    outcome = outcome_of(reply("503 Service Unavailable", Retry_After=value))
    assert (outcome.ok, outcome.retry_after_s, outcome.is_permanent) == (False, seconds, False)


def test_retry_after_a_date() -> None:
    """Retry-After may be a date (RFC 9110, 10.2.3)."""
    outcome = outcome_of(reply("503 Busy", Retry_After=formatdate(time() + 120, usegmt=True)))
    assert outcome.retry_after_s == pytest.approx(120, abs=3)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Ty", INCOMPLETE),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-p", INCOMPLETE),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\n\r\n", OK),
        (b"HTTP/1.0 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n", OK),
        (b"HTTP/1.1 204 No Content\r\n\r\n", OK),
    ],
)
def test_incomplete_headers(head: bytes, expected: Outcome) -> None:
    """An answer that ends within its headers is a failure, unless the end of the connection is its end."""
    assert outcome_of(head) == expected
