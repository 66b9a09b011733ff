"""Tests of the outcome of each answer over gRPC; `tests/integration/test_grpc.py` has those of the connection."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from locust_otel.exporter.otlp.grpc import _Stub
from locust_otel.exporter.otlp.outcome import NOT_SENT, Outcome

CODE = grpc.StatusCode
RETRYABLE = {
    CODE.CANCELLED, CODE.DEADLINE_EXCEEDED, CODE.ABORTED, CODE.OUT_OF_RANGE, CODE.UNAVAILABLE, CODE.DATA_LOSS,
}  # fmt: skip
"""As https://opentelemetry.io/docs/specs/otlp/#failures lists them; RESOURCE_EXHAUSTED only with a pause."""


class Failure(grpc.RpcError):  # type: ignore[misc]  # gRPC has no types
    """The error of a call."""

    def __init__(self, code: grpc.StatusCode, details: str | None, *trailers: tuple[str, bytes]) -> None:
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str | None:
        """Return the text."""
        return self._details

    def trailing_metadata(self) -> Any:
        """Return the trailers; None without any."""
        return self._trailers or None


class Calls:
    """The stub of an exporter, whose calls end in this result."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def Export(self, **_: Any) -> Any:  # noqa: N802  # gRPC's name
        """Return or raise the result."""
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


def outcome_of(result: Any) -> Outcome:
    """Return the outcome of a call with this result; the exporter gets a success."""
    success = ExportMetricsServiceResponse()
    stub = _Stub(Calls(result), success)
    assert stub.outcome is NOT_SENT
    assert stub.Export(request=None) is (success if isinstance(result, Exception) else result)
    return stub.outcome


@pytest.mark.parametrize(
    ("response", "rejected", "reason"),
    [
        (ExportMetricsServiceResponse(), 0, ""),
        (
            ExportMetricsServiceResponse(
                partial_success=ExportMetricsPartialSuccess(rejected_data_points=99, error_message="out of\norder")
            ),
            99,
            "out oforder",
        ),
        (
            ExportLogsServiceResponse(
                partial_success=ExportLogsPartialSuccess(rejected_log_records=2, error_message="too old")
            ),
            2,
            "too old",
        ),
    ],
    ids=["complete", "metrics", "logs"],
)
def test_success(response: Any, rejected: int, reason: str) -> None:
    """A partial success has the number of rejected points or records, and a printable reason."""
    assert outcome_of(response) == Outcome(ok=True, rejected=rejected, reason=reason, is_permanent=bool(rejected))


@pytest.mark.parametrize("code", [code for code in CODE if code is not CODE.OK], ids=lambda code: code.name)
def test_errors(code: grpc.StatusCode) -> None:
    """The reason has code and printable details; codes that the specification does not list are permanent."""
    outcome = outcome_of(Failure(code, "no\nway"))
    assert outcome == Outcome(ok=False, reason=f"{code.name} noway", is_permanent=code not in RETRYABLE)
    assert outcome_of(Failure(code, None)).reason == code.name


def retry_info(seconds: int, nanos: int = 0) -> RetryInfo:
    """Return the request for a pause."""
    info = RetryInfo()
    info.retry_delay.seconds, info.retry_delay.nanos = seconds, nanos
    return info


def trailer(info: RetryInfo) -> tuple[str, bytes]:
    """Return the trailer that the official exporter reads."""
    return "google.rpc.retryinfo-bin", info.SerializeToString()


def status_details(*details: Any) -> tuple[str, bytes]:
    """Return the trailer that `status.WithDetails` of Go sends, and so the Collector."""
    status = Status(code=CODE.RESOURCE_EXHAUSTED.value[0], message="busy")
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return "grpc-status-details-bin", status.SerializeToString()


@pytest.mark.parametrize(
    ("trailers", "seconds"),
    [
        ([trailer(retry_info(7, 500_000_000))], 7.5),
        ([trailer(retry_info(10**9))], 3600.0),
        ([trailer(retry_info(-5))], 0.0),
        ([("other-bin", b"x"), status_details(Status(), retry_info(7))], 7.0),
        ([status_details()], None),
        ([("google.rpc.retryinfo-bin", b"\xff\xff")], None),
        ([("grpc-status-details-bin", b"\xff\xff")], None),
        ([], None),
    ],
)
def test_retry_info(trailers: list[tuple[str, bytes]], seconds: float | None) -> None:
    """A pause is at most an hour; RESOURCE_EXHAUSTED is permanent without one, since the push is too large."""
    outcome = outcome_of(Failure(CODE.UNAVAILABLE, "busy", *trailers))
    assert (outcome.ok, outcome.retry_after_s, outcome.is_permanent) == (False, seconds or 0.0, False)
    outcome = outcome_of(Failure(CODE.RESOURCE_EXHAUSTED, "busy", *trailers))
    assert (outcome.retry_after_s, outcome.is_permanent) == (seconds or 0.0, seconds is None)
