"""Tests of pushes over gRPC to a collector on loopback: the requests, and connections that fail.

`tests/unit/exporter/otlp/test_grpc.py` has those of the outcome of each answer.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import gevent
import grpc
import pytest
import trustme
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from locust_otel.exporter.otlp.settings import Signal, Target
from tests.integration.senders import CA, OK, SERVER, send
from tests.unit.otlp_sinks import SECRET, GrpcSink, decode_request, grpc_sink, target

# gevent leaves the socket of a failed TLS handshake to the garbage collector, which warns in a later test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("no_noise"),
]


@pytest.fixture(scope="module")
def sink() -> Iterator[GrpcSink]:
    """Run one collector for the module."""
    with grpc_sink() as running:
        yield running


@pytest.fixture
def where(sink: GrpcSink) -> Target:
    """Return the collector, without earlier requests and answers."""
    sink.received.clear()
    sink.answer = None
    return target(sink.url, protocol="grpc")


def test_metrics_on_the_wire(sink: GrpcSink, where: Target) -> None:
    """All points arrive, with our headers as metadata."""
    assert send(where) == OK
    ((request, metadata),) = sink.received
    assert metadata["x-api-key"] == SECRET
    (count,) = (p.value for p in decode_request(request) if p.metric.name == "locust.request.duration")
    assert count == 100


def test_logs_on_the_wire(sink: GrpcSink, where: Target) -> None:
    """Events arrive as log records."""
    assert send(where, Signal.LOGS) == OK
    ((request, _),) = sink.received
    (resource,) = request.resource_logs
    assert [r.body.string_value for r in resource.scope_logs[0].log_records] == ["text 0", "text 1", "text 2"]


def test_compressed(sink: GrpcSink) -> None:
    """A compressed push arrives."""
    sink.received.clear()
    sink.answer = None
    assert send(target(sink.url, protocol="grpc", compression="gzip")) == OK
    assert len(sink.received) == 1


def failing(code: grpc.StatusCode, details: str = "no", trailer: tuple[str, bytes] | None = None) -> Any:
    """Return an answer that is an error."""

    def answer(_: Any, context: Any) -> None:
        if trailer is not None:
            context.set_trailing_metadata((trailer,))
        context.abort(code, details)

    return answer


class silenced_server:  # noqa: N801  # a context manager
    """Disables the log of gRPC's server, which reports an abort of a handler as an error."""

    def __enter__(self) -> None:
        logging.getLogger("grpc._server").disabled = True

    def __exit__(self, *_: object) -> None:
        logging.getLogger("grpc._server").disabled = False


def status_details(seconds: int) -> tuple[str, bytes]:
    """Return the trailer that `status.WithDetails` of Go sends, and so the Collector."""
    info, packed = RetryInfo(), AnyMessage()
    info.retry_delay.seconds = seconds
    packed.Pack(info)
    status = Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="busy", details=[packed])
    return "grpc-status-details-bin", status.SerializeToString()


def test_retry_info_as_the_collector_sends_it(sink: GrpcSink, where: Target) -> None:
    """RetryInfo arrives in the status details, as in the example of the OTLP specification."""
    sink.answer = failing(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", status_details(7))
    with silenced_server():
        outcome = send(where)
    assert (outcome.ok, outcome.retry_after_s, outcome.is_permanent) == (False, 7.0, False)


def test_deadline(sink: GrpcSink) -> None:
    """A push to a slow collector ends within the timeout, and other greenlets run meanwhile."""

    def late(*_: object) -> ExportMetricsServiceResponse:
        gevent.sleep(0.8)
        return ExportMetricsServiceResponse()

    sink.answer = late
    beats = 0

    def beat() -> None:
        nonlocal beats
        while True:
            gevent.sleep(0.01)
            beats += 1

    heart = gevent.spawn(beat)
    started = perf_counter()
    with silenced_server():
        outcome = send(target(sink.url, protocol="grpc", timeout_s=0.3))
    taken = perf_counter() - started
    heart.kill()
    assert taken < 0.7
    assert (outcome.ok, outcome.reason.split()[0], outcome.is_permanent) == (False, "DEADLINE_EXCEEDED", False)
    assert beats > 10
    with silenced_server():
        gevent.sleep(0.5)  # the handler ends


def test_connection_refused() -> None:
    """A closed port is a failure at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = perf_counter()
    outcome = send(target(f"http://127.0.0.1:{port}", protocol="grpc"))
    assert (outcome.ok, outcome.reason.split()[0], outcome.is_permanent) == (False, "UNAVAILABLE", False)
    assert perf_counter() - started < 1.5


def test_header_that_cannot_be_sent(sink: GrpcSink) -> None:
    """A header name that gRPC does not allow is a failure without the value, and not an exception."""
    outcome = send(target(sink.url, protocol="grpc", headers={"x!y": SECRET}))
    assert not outcome.ok
    assert outcome.reason
    assert SECRET not in repr(outcome)


def test_insecure_variable(monkeypatch: pytest.MonkeyPatch, sink: GrpcSink, where: Target) -> None:
    """The scheme decides about TLS; the variable is for endpoints without a scheme (OTLP exporter specification)."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "false")
    assert send(where) == OK
    assert len(sink.received) == 1


def test_tls(tmp_path: Path) -> None:
    """A server is trusted with the right authority only."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    chain = b"".join(pem.bytes() for pem in SERVER.cert_chain_pems)
    credentials = grpc.ssl_server_credentials([(SERVER.private_key_pem.bytes(), chain)])
    with grpc_sink(credentials) as sink:
        assert send(target(sink.url, protocol="grpc", certificate=str(tmp_path / "ca.pem"))) == OK
        outcome = send(target(sink.url, protocol="grpc", certificate=str(tmp_path / "other.pem"), timeout_s=0.8))
        assert not outcome.ok
        assert outcome.reason.split()[0] in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert len(sink.received) == 1
