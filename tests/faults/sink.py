"""A collector that misbehaves, in a process of its own with plain threads: `sink.py FOLDER JSON`.

The JSON has `port`, `fault` (a key of `HTTP` or `GRPC`), `is_grpc`, and `certificate` (a PEM file, or empty). The file
`taken.json` in the folder has its counts: requests, by the last value of each series, pushes and events.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc

REJECTED = 7


class Taken:
    """The data that arrived, in a file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "taken.json"
        self._lock = threading.Lock()
        known = json.loads(self._file.read_text()) if self._file.exists() else {}  # of an earlier process of this sink
        self._series: dict[str, int] = known.get("series", {})
        self._events: dict[str, int] = known.get("events", {})
        self._pushes: int = known.get("pushes", 0)
        self._refused: int = known.get("refused", 0)

    def refuse(self) -> None:
        """Count a refused push."""
        with self._lock:
            self._refused += 1
            self._write()

    def take(self, request: Any) -> None:
        """Store a push."""
        with self._lock:
            self._pushes += 1
            for resource in getattr(request, "resource_metrics", ()):
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    if metric.name == "locust.requests":
                        for point in metric.sum.data_points:
                            key = ",".join(sorted(f"{pair.key}={pair.value.string_value}" for pair in point.attributes))
                            self._series[key] = point.as_int
            for resource in getattr(request, "resource_logs", ()):
                for record in (record for scope in resource.scope_logs for record in scope.log_records):
                    self._events[record.event_name] = self._events.get(record.event_name, 0) + 1
            self._write()

    def _write(self) -> None:
        values = {
            "requests": sum(self._series.values()),
            "pushes": self._pushes,
            "refused": self._refused,
            "events": self._events,
            "series": self._series,
        }
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(values))
        part.rename(self._file)


def answer(status: str, body: bytes = b"", kind: str = "application/x-protobuf", more: str = "") -> bytes:
    """Return a complete HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


OK = answer("200 OK")
PARTIAL = metrics.ExportMetricsServiceResponse(
    partial_success=metrics.ExportMetricsPartialSuccess(rejected_data_points=REJECTED, error_message="too many")
).SerializeToString()

Fault = Callable[[socket.socket], bool]
"""Answers a request on a connection; returns whether the push was accepted."""


def says(content: bytes, *, taken: bool = False, after_s: float = 0.0) -> Fault:
    """Return a fault that answers with this content."""

    def fault(connection: socket.socket) -> bool:
        time.sleep(after_s)
        connection.sendall(content)
        return taken

    return fault


def silent(_: socket.socket) -> bool:
    """Never answer."""
    time.sleep(3600)
    return False


def half(connection: socket.socket) -> bool:
    """Close half-way in the answer."""
    connection.sendall(OK[: len(OK) // 2])
    raise ConnectionAbortedError


def endless(connection: socket.socket) -> bool:
    """Answer without an end, as fast as possible."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n")
    while True:
        connection.sendall(b"\x00" * 65536)


def drip(connection: socket.socket) -> bool:
    """Answer one byte a second."""
    for byte in OK:
        connection.sendall(bytes([byte]))
        time.sleep(1)
    return False


HTTP: dict[str, Fault] = {
    "well": says(OK, taken=True),
    "silent": silent,
    "after 0.5 s": says(OK, taken=True, after_s=0.5),
    "after 1.5 s": says(OK, taken=True, after_s=1.5),
    "after 30 s": says(OK, after_s=30),
    "closes half-way": half,
    "400": says(answer("400 Bad Request")),
    "401": says(answer("401 Unauthorized", more='WWW-Authenticate: Basic realm="x"\r\n')),
    "404": says(answer("404 Not Found")),
    "413": says(answer("413 Payload Too Large")),
    "429, Retry-After: 2": says(answer("429 Too Many Requests", more="Retry-After: 2\r\n")),
    "500": says(answer("500 Internal Server Error")),
    "503": says(answer("503 Service Unavailable")),
    "302": says(answer("302 Found", more="Location: /elsewhere\r\n")),
    "200 with HTML": says(answer("200 OK", b"<html>Sign in</html>", "text/html")),
    "partial success": says(answer("200 OK", PARTIAL), taken=True),
    "garbage protobuf": says(answer("200 OK", b"\xff\x00garbage\xff" * 9)),
    "endless body": endless,
    "a byte a second": drip,
}


def serve_http(how: dict[str, Any], taken: Taken) -> None:
    """Serve, with a thread for each connection."""
    fault = HTTP[how["fault"]]
    context = None
    if how["certificate"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(how["certificate"])
    with socket.create_server(("127.0.0.1", how["port"]), backlog=100) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_connection, args=(connection, context, fault, taken), daemon=True).start()


def _connection(plain: socket.socket, context: ssl.SSLContext | None, fault: Fault, taken: Taken) -> None:
    try:
        with plain, context.wrap_socket(plain, server_side=True) if context else plain as connection:
            stream = connection.makefile("rb")
            while line := stream.readline().decode("latin-1"):
                headers: dict[str, str] = {}
                while header := stream.readline().decode("latin-1").strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if fault(connection):
                    is_metrics = "/metrics" in line
                    kind: Any = metrics.ExportMetricsServiceRequest if is_metrics else logs.ExportLogsServiceRequest
                    taken.take(kind.FromString(body))
                else:
                    taken.refuse()
    except OSError:
        taken.refuse()  # the client is gone, or TLS has failed


RETRY = (("google.rpc.retryinfo-bin", RetryInfo(retry_delay=Duration(seconds=2)).SerializeToString()),)
GRPC: dict[str, tuple[grpc.StatusCode | None, float]] = {
    "well": (None, 0.0),
    "after 1.5 s": (None, 1.5),
    "after 30 s": (None, 30.0),
    "partial success": (None, 0.0),
    "UNAVAILABLE": (grpc.StatusCode.UNAVAILABLE, 0.0),
    "UNAUTHENTICATED": (grpc.StatusCode.UNAUTHENTICATED, 0.0),
    "RESOURCE_EXHAUSTED, retry in 2 s": (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.0),
    "INTERNAL": (grpc.StatusCode.INTERNAL, 0.0),
    "UNIMPLEMENTED": (grpc.StatusCode.UNIMPLEMENTED, 0.0),
}


def serve_grpc(how: dict[str, Any], taken: Taken) -> None:
    """Serve; for `silent` and `garbage` on a plain socket."""
    if how["fault"] in {"silent", "garbage"}:
        with socket.create_server(("127.0.0.1", how["port"]), backlog=100) as listener:
            kept = []
            while True:
                connection, _ = listener.accept()
                kept.append(connection)
                if how["fault"] == "garbage":
                    connection.sendall(b"\xff\x00garbage\r\n" * 100)
    code, after_s = GRPC[how["fault"]]

    def export(request: Any, context: Any) -> Any:
        time.sleep(after_s)
        if code is not None:
            taken.refuse()
            if "retry" in how["fault"]:
                context.set_trailing_metadata(RETRY)
            context.abort(code, "as told")
        taken.take(request)
        if isinstance(request, logs.ExportLogsServiceRequest):
            return logs.ExportLogsServiceResponse()
        return metrics.ExportMetricsServiceResponse.FromString(PARTIAL if how["fault"] == "partial success" else b"")

    class Metrics(metrics_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
            return export(request, context)

    class Logs(logs_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
            return export(request, context)

    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)  # type: ignore[no-untyped-call]
    logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)  # type: ignore[no-untyped-call]
    if how["certificate"]:
        pem = Path(how["certificate"]).read_bytes()
        credentials = grpc.ssl_server_credentials([(pem, pem)])
        server.add_secure_port(f"127.0.0.1:{how['port']}", credentials)
    else:
        server.add_insecure_port(f"127.0.0.1:{how['port']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    order = json.loads(sys.argv[2])
    (serve_grpc if order["is_grpc"] else serve_http)(order, Taken(Path(sys.argv[1])))
