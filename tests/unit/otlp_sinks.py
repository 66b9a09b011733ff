"""Servers on loopback, snapshots to push, and a decoder of pushes, for the tests of OTLP."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from gevent.server import StreamServer
from grpc.experimental import gevent as grpc_gevent
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.sdk.metrics.export import MetricsData

from locust_otel.core.snapshot import ExportCount, HealthSnapshot, Snapshot, WorkerSnapshot
from locust_otel.exporter.otlp.settings import Target
from tests.unit import factories
from tests.unit.factories import Load

PROCESS_START = 1_763_999_990.5
RUN_START = 1_764_000_000.25
NOW = 1_764_000_061.75
SECRET = "open-sesame"

Answer = bytes | Callable[[Any], None]


@dataclass(frozen=True)
class Received:
    """Request that a receiver got; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


def reply(
    status: int | str = 200, body: bytes = b"", content_type: str = "application/x-protobuf", **headers: str
) -> bytes:
    """Return an HTTP answer; `Retry_After="1"` is a header."""
    lines = [f"HTTP/1.1 {status} OK" if status == 200 else f"HTTP/1.1 {status}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


class HttpSink:
    """An HTTP server that gives its answers in order, and then repeats the last one.

    An answer is bytes, after which the connection stays open, or a function of the socket, after which it is closed.
    """

    def __init__(self, *answers: Answer, ssl_context: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self._answers = list(answers) or [reply()]
        tls = {"ssl_context": ssl_context} if ssl_context else {}
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **tls)
        self._scheme = "https" if ssl_context else "http"

    def __enter__(self) -> HttpSink:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(timeout=0.1)

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        """The URL, with the path of metrics over OTLP."""
        return f"{self._scheme}://127.0.0.1:{self.port}/v1/metrics"

    def _serve(self, connection: Any, _address: object) -> None:
        self.connections += 1
        stream = connection.makefile("rb")
        try:
            while (line := stream.readline().decode("latin-1")).strip():
                headers: dict[str, str] = {}
                while header := stream.readline().decode("latin-1").strip():
                    name, _, value = header.partition(":")
                    assert name.lower() not in headers, header
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                self.received.append(Received(line.split()[1], headers, body))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if not isinstance(answer, bytes):
                    answer(connection)
                    return
                connection.sendall(answer)
        except OSError:
            pass  # the client has closed
        finally:
            stream.close()
            connection.close()


def target(endpoint: str, **changes: Any) -> Target:
    """Return a target with a secret among its headers."""
    values: dict[str, Any] = {
        "protocol": "http/protobuf", "headers": {"x-api-key": SECRET}, "timeout_s": 2.0, "compression": "none",
        "certificate": None, "client_certificate": None, "client_key": None, **changes,
    }  # fmt: skip
    return Target(endpoint=endpoint, **values)


@dataclass
class GrpcSink:
    """gRPC receiver; `answer` gets request and context, and returns a response or aborts."""

    url: str
    received: list[tuple[Any, dict[str, str]]] = field(default_factory=list)
    answer: Callable[[Any, Any], Any] | None = None

    def take(self, request: Any, context: Any, response: Any) -> Any:
        """Answer a call."""
        self.received.append((request, dict(context.invocation_metadata())))
        return self.answer(request, context) if self.answer else response


@contextmanager
def grpc_sink(credentials: Any = None) -> Iterator[GrpcSink]:
    """Run a collector in this process; for that gRPC waits through gevent."""
    grpc_gevent.init_gevent()
    sink = GrpcSink("")

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
            return sink.take(request, context, metrics_service_pb2.ExportMetricsServiceResponse())

    class Logs(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
            return sink.take(request, context, logs_service_pb2.ExportLogsServiceResponse())

    server = grpc.server(ThreadPoolExecutor(4))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)  # type: ignore[no-untyped-call]
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)  # type: ignore[no-untyped-call]
    if credentials is None:
        sink.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        sink.url = f"https://127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    server.start()
    try:
        yield sink
    finally:
        server.stop(0)


def health(**changes: Any) -> HealthSnapshot:
    """Return a bridge's health with exports over OTLP."""
    values: dict[str, Any] = {
        "exports": (ExportCount("otlp_metrics", "success", 5, 0.125), ExportCount("otlp_metrics", "failure", 2, 0.5)),
        "last_exports": {"otlp_metrics": 1_764_000_023.5},
        "rejected_points": {"otlp_metrics": 8},
    }
    return factories.health(**values | changes)


def snapshot(
    aggregate: Load | None,
    *,
    time: float = NOW,
    run_id: str = "run-1",
    workers: tuple[WorkerSnapshot, ...] = (),
    of_bridge: HealthSnapshot | None = None,
    is_judged: bool = False,
) -> Snapshot:
    """Return a snapshot of a process with this load; with None, before its first run.

    If it is judged, it has objectives, which need a bound at 0.3 s, and a mark.
    """
    base = factories.snapshot(
        aggregate,
        run_id=run_id,
        info={"host": "http://shop", "locustfile": "shop.py", "profile": "", "version": "2.47.0"},
        workers=workers,
        worker_states={"running": 2, "missing": 1},
        workers_expected=3,
        slo=factories.judged(aggregate).points() if is_judged and aggregate is not None else None,
        marks=factories.MARKS if is_judged else {},
    )
    return replace(base, time=time, health=of_bridge or health())


@dataclass(frozen=True)
class Decoded:
    """One point as it was sent."""

    metric: Any
    point: Any
    attributes: tuple[tuple[str, str], ...]

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Name and attributes: the identity of a series."""
        return self.metric.name, self.attributes

    @property
    def value(self) -> float:
        """Value of a number, or count of a histogram."""
        kind = self.point.DESCRIPTOR.name
        return float(
            getattr(self.point, self.point.WhichOneof("value")) if kind == "NumberDataPoint" else self.point.count
        )


def decode_request(request: Any) -> Iterator[Decoded]:
    """Yield the points of an `ExportMetricsServiceRequest`."""
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    labels = ((pair.key, pair.value.string_value) for pair in point.attributes)
                    yield Decoded(metric, point, tuple(sorted(labels)))


def decode(data: MetricsData) -> list[Decoded]:
    """Return the points of metrics, encoded by the official encoder and decoded again."""
    wire = encode_metrics(data).SerializeToString()
    return list(decode_request(metrics_service_pb2.ExportMetricsServiceRequest.FromString(wire)))
