"""Pushing over gRPC, with the official exporters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from locust_otel.exporter.otlp.outcome import NOT_SENT, Outcome, partial_outcome, printable
from locust_otel.exporter.otlp.settings import Signal, Target

_COMPRESSIONS = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
_CHANNEL_OPTIONS = (
    ("grpc.max_reconnect_backoff_ms", 5000),
)  # the default retries up to two minutes after a collector has recovered
_RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)  # as the OTLP specification lists them


class _Stub:
    """Wraps the stub of an exporter: keeps the outcome, and always reports a success to the exporter."""

    def __init__(self, stub: Any, response: Any) -> None:
        self.outcome = NOT_SENT
        self._stub = stub
        self._response = response

    def Export(self, **call: Any) -> Any:  # noqa: N802  # gRPC's name
        """Call; see `grpc.UnaryUnaryMultiCallable`."""
        try:
            response = self._stub.Export(**call)
        except grpc.RpcError as error:
            code = error.code()
            retry_after_s = _retry_after(error)
            # RESOURCE_EXHAUSTED without a pause is permanent: the push is too large.
            is_retryable = code in _RETRYABLE or (
                code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after_s is not None
            )
            self.outcome = Outcome(
                ok=False,
                reason=printable(f"{code.name} {error.details() or ''}"),
                retry_after_s=retry_after_s or 0.0,
                is_permanent=not is_retryable,
            )
            return self._response
        self.outcome = partial_outcome(response.partial_success)
        return response


class GrpcSender:
    """Pushes one signal over gRPC, for one thread at a time."""

    def __init__(self, signal: Signal, target: Target) -> None:
        self._signal = signal
        self._target = target
        self._is_cut = False
        self._connect()

    def _connect(self) -> None:
        target = self._target
        is_metrics = self._signal is Signal.METRICS
        exporter_type: Any = OTLPMetricExporter if is_metrics else OTLPLogExporter
        self._exporter = exporter_type(
            endpoint=target.endpoint,
            insecure=target.endpoint.startswith("http://"),
            credentials=_credentials(target),
            headers=tuple(target.headers.items()),
            timeout=target.timeout_s,
            compression=_COMPRESSIONS[target.compression],
            channel_options=_CHANNEL_OPTIONS,
        )
        response = ExportMetricsServiceResponse() if is_metrics else ExportLogsServiceResponse()
        # The exporter drops the response, and with it a partial success.
        self._stub = self._exporter._client = _Stub(self._exporter._client, response)

    def send(self, data: Any) -> Outcome:
        """Push metrics (a `MetricsData`) or events (a sequence of log records)."""
        if self._is_cut:
            self._is_cut = False
            self._connect()
        self._stub.outcome = NOT_SENT
        self._exporter.export(data)
        return self._stub.outcome

    def cut(self) -> None:
        """Close the channel, which ends the current push; called from another thread."""
        self._is_cut = True
        self._exporter.shutdown()


def _credentials(target: Target) -> grpc.ChannelCredentials | None:
    if not target.endpoint.startswith("https://"):
        return None
    root, chain, key = (
        Path(path).read_bytes() if path else None
        for path in (target.certificate, target.client_certificate, target.client_key)
    )
    return grpc.ssl_channel_credentials(root_certificates=root, private_key=key, certificate_chain=chain)


def _retry_after(error: Any) -> float | None:
    """Return the pause that the collector asks for, in seconds; None if it asks for none."""
    for name, value in error.trailing_metadata() or ():
        try:
            if name == "google.rpc.retryinfo-bin":
                return _seconds(RetryInfo.FromString(value))
            if name == "grpc-status-details-bin":
                for detail in Status.FromString(value).details:
                    info = RetryInfo()
                    if detail.Unpack(info):
                        return _seconds(info)
        except DecodeError:
            return None
    return None


def _seconds(info: RetryInfo) -> float:
    return float(min(max(info.retry_delay.seconds + info.retry_delay.nanos / 1e9, 0.0), 3600.0))
