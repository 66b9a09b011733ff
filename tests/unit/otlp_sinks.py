"""What the tests of OTLP share: sinks on loopback that answer as told, snapshots to push, and a decoder of pushes."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import gevent
import grpc
from gevent.server import StreamServer
from grpc.experimental import gevent as grpc_gevent
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.sdk.metrics.export import MetricsData

from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import ExportCount, HealthSnapshot, RunSnapshot, SeriesKey, Snapshot, WorkerSnapshot
from locust_otel.exporter.otlp.settings import Target
from tests.unit.factories import MARKS, Load, judged

PROCESS_START = 1_763_999_900.5
RUN_START = 1_764_000_000.25
NOW = 1_764_000_061.75
SECRET = "open-sesame"

Answer = bytes | Callable[[Any], None]


@dataclass(frozen=True)
class Received:
    """One request that a sink received; header names are in lower case."""

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
    """An HTTP server that gives its answers in turn, the last one for ever.

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
        """The port it listens on."""
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        """Where it is, with a path as OTLP uses it."""
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
            pass  # the other side has gone
        finally:
            stream.close()
            connection.close()


def target(endpoint: str, **changes: Any) -> Target:
    """Return where to push, with a secret among the headers."""
    values: dict[str, Any] = {
        "protocol": "http/protobuf", "headers": {"x-api-key": SECRET}, "timeout_s": 2.0, "compression": "none",
        "certificate": None, "client_certificate": None, "client_key": None, **changes,
    }  # fmt: skip
    return Target(endpoint=endpoint, **values)


@dataclass
class GrpcSink:
    """A gRPC collector; `answer` gets request and context, and returns a response or aborts."""

    url: str
    received: list[tuple[Any, dict[str, str]]] = field(default_factory=list)
    answer: Callable[[Any, Any], Any] | None = None

    def take(self, request: Any, context: Any, response: Any) -> Any:
        """Answer a call."""
        self.received.append((request, dict(context.invocation_metadata())))
        return self.answer(request, context) if self.answer else response


@contextmanager
def grpc_sink(credentials: Any = None) -> Iterator[GrpcSink]:
    """Run a collector in this process; gRPC must wait through gevent for that."""
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


def record(aggregate: Load, key: SeriesKey, times_ms: Iterable[float], length: int = 0) -> None:
    """Put requests into a series."""
    pending = aggregate.of(key).pending
    for time_ms in times_ms:
        pending += (time_ms, length)
    aggregate.tally()


def worker(name: str = "host-0", lags_s: Iterable[float] = (0.001,), **changes: Any) -> WorkerSnapshot:
    """Return how a generating process might be."""
    lags, bounds = list(lags_s), layout().bounds
    counts = Counter(next((i for i, bound in enumerate(bounds) if lag <= bound), len(bounds)) for lag in lags)
    delays: dict[str, Any] = {"schedule_counts": counts, "schedule_sum_s": 0.25}
    values: dict[str, Any] = {"cpu_ratio": 0.25, "memory_bytes": 64_000_000, "users": 7, **delays, **changes}
    return WorkerSnapshot(worker=name, lag_counts=counts, lag_sum_s=sum(lags), **values)


def health(**changes: Any) -> HealthSnapshot:
    """Return how the bridge might be; no value is zero."""
    values: dict[str, Any] = {
        "exports": (ExportCount("otlp_metrics", "success", 5, 0.125), ExportCount("otlp_metrics", "failure", 2, 0.5)),
        "last_exports": {"otlp_metrics": 1_764_000_023.5},
        "rejected_points": {"otlp_metrics": 8},
        "folded_requests": 3,
        "listener_errors": 4,
        "unreconciled": -6,
        "versions": {"version": "0.1.0", "python_version": "3.11.2"},
        **changes,
    }
    return HealthSnapshot(**values)


def snapshot(
    aggregate: Load | None,
    *,
    time: float = NOW,
    run_id: str = "run-1",
    workers: tuple[WorkerSnapshot, ...] = (),
    of_bridge: HealthSnapshot | None = None,
    is_judged: bool = False,
) -> Snapshot:
    """Return what a process with this aggregate knows; with None, before its first run.

    Judged, there is an SLO file, which needs a bound at 0.3 s, and a mark.
    """
    run = None
    if aggregate is not None:
        run = RunSnapshot(
            run_id=run_id,
            info={"host": "http://shop", "locustfile": "shop.py", "profile": "", "version": "2.47.0"},
            state="running",
            active=True,
            start_time=RUN_START,
            elapsed_s=61.5,
            users={"Shopper": 7},
            users_target={"Shopper": 10},
            requests=aggregate.snapshot(),
            slo=judged(aggregate).points() if is_judged else None,
            marks=MARKS if is_judged else {},
        )
    return Snapshot(
        time=time,
        process_start_time=PROCESS_START,
        run=run,
        worker_states={"running": 2, "missing": 1},
        workers_expected=3,
        workers=workers,
        health=of_bridge or health(),
    )


@dataclass(frozen=True)
class Decoded:
    """One point as it was on the wire."""

    metric: Any
    point: Any
    attributes: tuple[tuple[str, str], ...]

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Name and attributes: what makes a series."""
        return self.metric.name, self.attributes

    @property
    def value(self) -> float:
        """Value of a number, count of a histogram."""
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
    """Return the points of what is handed to an exporter, encoded by the official encoder and decoded again."""
    wire = encode_metrics(data).SerializeToString()
    return list(decode_request(metrics_service_pb2.ExportMetricsServiceRequest.FromString(wire)))


def wait_until(claim: Callable[[], object], timeout_s: float = 3.0) -> None:
    """Return as soon as the claim holds.

    Raises:
        AssertionError: It does not within the time.
    """
    until = perf_counter() + timeout_s
    while not claim():
        assert perf_counter() < until, "it did not happen in time"
        gevent.sleep(0.005)
