"""Tests of a push over gRPC: what goes over the wire, and what is made of each answer."""

from __future__ import annotations

import logging
import socket
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
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.settings import Signal, Target
from tests.unit.exporter.otlp.senders import CA, OK, SERVER, send, usable
from tests.unit.otlp_sinks import SECRET, GrpcSink, decode_request, grpc_sink, target

# gevent leaves the socket of a failed TLS handshake to the garbage collector, which tells of it in some later test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("no_noise"),
]


def test_grpc_on_the_wire(collector: GrpcSink, grpc_target: Target) -> None:
    """Over gRPC the same points arrive, with our headers as metadata."""
    assert send(grpc_target) == OK
    ((request, metadata),) = collector.received
    assert metadata["x-api-key"] == SECRET
    (count,) = (p.value for p in decode_request(request) if p.metric.name == "locust.request.duration")
    assert count == 100


def test_grpc_logs_on_the_wire(collector: GrpcSink, grpc_target: Target) -> None:
    """Over gRPC the same events arrive."""
    assert send(grpc_target, Signal.LOGS) == OK
    ((request, _),) = collector.received
    (resource,) = request.resource_logs
    assert [r.body.string_value for r in resource.scope_logs[0].log_records] == ["text 0", "text 1", "text 2"]


def test_grpc_compressed(collector: GrpcSink) -> None:
    """Compressed pushes over gRPC arrive too."""
    collector.received.clear()
    collector.answer = None
    assert send(target(collector.url, protocol="grpc", compression="gzip")) == OK
    assert len(collector.received) == 1


def test_grpc_partial_success(collector: GrpcSink, grpc_target: Target) -> None:
    """Over gRPC too a partial success tells how many were refused, and why."""
    collector.answer = lambda *_: ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(rejected_data_points=99, error_message="out of order")
    )
    outcome = send(grpc_target)
    assert (outcome.ok, outcome.rejected, outcome.reason) == (True, 99, "out of order")
    collector.answer = lambda *_: ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(rejected_log_records=2, error_message="too old")
    )
    outcome = send(grpc_target, Signal.LOGS)
    assert (outcome.ok, outcome.rejected, outcome.reason) == (True, 2, "too old")


def failing(code: grpc.StatusCode, details: str = "no", trailer: tuple[str, bytes] | None = None) -> Any:
    """Return an answer that is an error."""

    def answer(_: Any, context: Any) -> None:
        if trailer is not None:
            context.set_trailing_metadata((trailer,))
        context.abort(code, details)

    return answer


@pytest.mark.parametrize(
    ("code", "is_permanent"),
    [
        (grpc.StatusCode.UNAVAILABLE, False),
        (grpc.StatusCode.ABORTED, False),
        (grpc.StatusCode.DATA_LOSS, False),
        (grpc.StatusCode.INVALID_ARGUMENT, True),
        (grpc.StatusCode.UNAUTHENTICATED, True),
        (grpc.StatusCode.UNIMPLEMENTED, True),
        (grpc.StatusCode.INTERNAL, True),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_grpc_errors(collector: GrpcSink, grpc_target: Target, code: grpc.StatusCode, is_permanent: bool) -> None:
    """An error is told by its code and details, once; permanent is what the specification does not list."""
    collector.answer = failing(code, "no\nway")
    with silenced_server():
        outcome = send(grpc_target)
    assert outcome == Outcome(ok=False, reason=f"{code.name} noway", is_permanent=is_permanent)
    assert len(collector.received) == 1


class silenced_server:  # noqa: N801  # a context manager
    """gRPC's server logs what a handler aborts with as if it were a fault; that is none of the client's noise."""

    def __enter__(self) -> None:
        logging.getLogger("grpc._server").disabled = True

    def __exit__(self, *_: object) -> None:
        logging.getLogger("grpc._server").disabled = False


def retry_info(seconds: int, nanos: int) -> tuple[str, bytes]:
    """Return the trailer the Python exporter reads."""
    info = RetryInfo()
    info.retry_delay.seconds, info.retry_delay.nanos = seconds, nanos
    return "google.rpc.retryinfo-bin", info.SerializeToString()


def status_details(seconds: int) -> tuple[str, bytes]:
    """Return the trailer that `status.WithDetails` of Go sends, and so the Collector."""
    info, packed = RetryInfo(), AnyMessage()
    info.retry_delay.seconds = seconds
    packed.Pack(info)
    status = Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="busy", details=[packed])
    return "grpc-status-details-bin", status.SerializeToString()


@pytest.mark.parametrize(
    ("trailer", "seconds"),
    [
        (retry_info(7, 500_000_000), 7.5),
        (retry_info(10**9, 0), 3600.0),
        (retry_info(-5, 0), 0.0),
        (("google.rpc.retryinfo-bin", b"\xff\xff"), 0.0),
        (("other-bin", b"x"), 0.0),
        (None, 0.0),
    ],
)
def test_grpc_retry_info(
    collector: GrpcSink, grpc_target: Target, trailer: tuple[str, bytes] | None, seconds: float
) -> None:
    """The pause that RetryInfo asks for is taken up, for at most an hour; garbage is none."""
    collector.answer = failing(grpc.StatusCode.UNAVAILABLE, "busy", trailer)
    with silenced_server():
        outcome = send(grpc_target)
    assert (outcome.ok, outcome.retry_after_s, outcome.is_permanent) == (False, seconds, False)


def test_grpc_retry_info_as_the_collector_sends_it(collector: GrpcSink, grpc_target: Target) -> None:
    """RetryInfo comes in the status details, as in the example of the OTLP specification."""
    collector.answer = failing(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", status_details(7))
    with silenced_server():
        outcome = send(grpc_target)
    assert (outcome.ok, outcome.retry_after_s, outcome.is_permanent) == (False, 7.0, False)


def test_grpc_resource_exhausted_for_good(collector: GrpcSink, grpc_target: Target) -> None:
    """RESOURCE_EXHAUSTED without RetryInfo is permanent (OTLP specification): too large a message stays too large."""
    collector.answer = failing(grpc.StatusCode.RESOURCE_EXHAUSTED, "received message larger than max")
    with silenced_server():
        outcome = send(grpc_target, Signal.LOGS)
    assert (outcome.ok, outcome.is_permanent) == (False, True)


def test_grpc_deadline(collector: GrpcSink) -> None:
    """A collector that takes too long ends a push within the timeout, and other greenlets run on meanwhile."""

    def late(*_: object) -> ExportMetricsServiceResponse:
        gevent.sleep(0.8)
        return ExportMetricsServiceResponse()

    collector.answer = late
    beats = 0

    def beat() -> None:
        nonlocal beats
        while True:
            gevent.sleep(0.01)
            beats += 1

    heart = gevent.spawn(beat)
    started = perf_counter()
    with silenced_server():
        outcome = send(target(collector.url, protocol="grpc", timeout_s=0.3))
    taken = perf_counter() - started
    heart.kill()
    assert taken < 0.7
    assert (outcome.ok, outcome.reason.split()[0], outcome.is_permanent) == (False, "DEADLINE_EXCEEDED", False)
    assert beats > 10
    with silenced_server():
        gevent.sleep(0.5)  # the handler ends


def test_grpc_connection_refused() -> None:
    """Nobody listens there: a failure, at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = perf_counter()
    outcome = send(target(f"http://127.0.0.1:{port}", protocol="grpc"))
    assert (outcome.ok, outcome.reason.split()[0], outcome.is_permanent) == (False, "UNAVAILABLE", False)
    assert perf_counter() - started < 1.5


def test_grpc_password_in_an_endpoint() -> None:
    """A password in an endpoint, which gRPC takes for a part of the host, is refused or not in the reason."""
    where = usable(f"http://user:{SECRET}@127.0.0.1:9", "grpc")
    if where is not None:
        outcome = send(where)
        assert not outcome.ok
        assert SECRET not in repr(outcome)


@pytest.mark.parametrize("header", [f"x-api-key=%C3%A4{SECRET}", f"x-bin={SECRET}", f"x!y={SECRET}"])
def test_grpc_header_that_cannot_be_sent(collector: GrpcSink, header: str) -> None:
    """A header gRPC cannot carry is refused, or a failure without its value, and no exception out of `send`."""
    where = usable(collector.url, "grpc", header)
    if where is not None:
        outcome = send(where)
        assert not outcome.ok
        assert SECRET not in repr(outcome)


def test_grpc_insecure_variable(monkeypatch: pytest.MonkeyPatch, collector: GrpcSink, grpc_target: Target) -> None:
    """The scheme decides about TLS; the variable is for endpoints without one (OTLP exporter specification)."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "false")
    assert send(grpc_target) == OK
    assert len(collector.received) == 1


def test_grpc_tls(tmp_path: Path) -> None:
    """Over gRPC too a server is trusted with the right authority only."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    chain = b"".join(pem.bytes() for pem in SERVER.cert_chain_pems)
    with grpc_sink(grpc.ssl_server_credentials([(SERVER.private_key_pem.bytes(), chain)])) as sink:
        assert send(target(sink.url, protocol="grpc", certificate=str(tmp_path / "ca.pem"))) == OK
        outcome = send(target(sink.url, protocol="grpc", certificate=str(tmp_path / "other.pem"), timeout_s=0.8))
        assert not outcome.ok
        assert outcome.reason.split()[0] in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert len(sink.received) == 1
