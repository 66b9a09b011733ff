"""Tests of pushes over HTTP to servers on loopback: the requests, and connections that fail.

`tests/unit/exporter/otlp/test_sender.py` has those of the outcome of each answer.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import gevent
import pytest
import trustme
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from urllib3.connection import HTTPConnection

from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.settings import Signal
from tests.integration.senders import CA, OK, SERVER, make, metrics, send
from tests.unit.otlp_sinks import SECRET, Answer, HttpSink, decode_request, reply, target

# gevent leaves the socket of a failed TLS handshake to the garbage collector, which warns in a later test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("no_noise"),
]


def answered(answer: Answer, signal: Signal = Signal.METRICS, **changes: Any) -> Outcome:
    """Return the outcome of an answer over HTTP."""
    with HttpSink(answer) as sink:
        return send(target(sink.url, **changes), signal)


def tls_context() -> ssl.SSLContext:
    """Return the TLS context of a server with our certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    SERVER.configure_cert(context)
    return context


def test_metrics_on_the_wire() -> None:
    """A push is a POST to the path of the target with all points, our headers and the right content type."""
    with HttpSink() as sink:
        assert send(target(sink.url)) == OK
    (received,) = sink.received
    assert received.path == "/v1/metrics"
    assert received.headers["content-type"] == "application/x-protobuf"
    assert received.headers["x-api-key"] == SECRET
    assert "content-encoding" not in received.headers
    points = list(decode_request(ExportMetricsServiceRequest.FromString(received.body)))
    (count,) = (p.value for p in points if p.metric.name == "locust.request.duration")
    assert count == 100


def test_logs_on_the_wire() -> None:
    """Events are pushed as log records."""
    with HttpSink() as sink:
        assert send(target(sink.url.replace("metrics", "logs")), Signal.LOGS) == OK
    (received,) = sink.received
    assert received.path == "/v1/logs"
    (resource,) = ExportLogsServiceRequest.FromString(received.body).resource_logs
    assert [r.body.string_value for r in resource.scope_logs[0].log_records] == ["text 0", "text 1", "text 2"]


@pytest.mark.parametrize(("compression", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_compression_on_the_wire(compression: str, unpack: Callable[[bytes], bytes]) -> None:
    """A compressed push has its header, and unpacked it equals the uncompressed one."""
    with HttpSink() as sink:
        send(target(sink.url))
        send(target(sink.url, compression=compression))
    plain, packed = sink.received
    assert packed.headers["content-encoding"] == compression
    assert unpack(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Moved"])
def test_redirects(status: str) -> None:
    """A redirect is a failure and is not followed, so its target gets no secret."""
    with HttpSink() as elsewhere, HttpSink(reply(status, Location=elsewhere.url)) as sink:
        outcome = send(target(sink.url))
    assert (outcome.ok, outcome.reason[:3]) == (False, status[:3])
    assert "redirect" in outcome.reason
    assert len(sink.received) == 1
    assert elsewhere.connections == 0


@pytest.mark.parametrize("encoding", ["", "Transfer-Encoding: chunked\r\n"])
def test_endless_body(encoding: str) -> None:
    """Only a bounded part of an endless answer is read."""
    sent = 0

    def endless(connection: Any) -> None:
        nonlocal sent
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n{encoding}\r\n"
        connection.sendall(head.encode())
        block = b"2000\r\n" + b"x" * 0x2000 + b"\r\n" if encoding else b"x" * 0x2000
        while sent < 100_000_000:
            connection.sendall(block)
            sent += len(block)

    outcome = answered(endless)
    assert not outcome.ok
    assert sent < 20_000_000  # what the buffers of both sockets hold


def test_gzip_bomb() -> None:
    """Only a bounded part of an answer is unpacked."""
    body = gzip.compress(b"\0" * 50_000_000)
    started = perf_counter()
    assert not answered(reply(body=body, Content_Encoding="gzip")).ok
    assert perf_counter() - started < 2


def test_connection_refused() -> None:
    """A closed port is a failure at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = perf_counter()
    outcome = send(target(f"http://127.0.0.1:{port}/v1/metrics"))
    assert outcome == Outcome(ok=False, reason="no connection, or it was closed")
    assert perf_counter() - started < 1


def test_unknown_host() -> None:
    """An unknown host is a failure, whose reason does not show the URL, which may hold a password."""
    outcome = send(target(f"http://user:{SECRET}@nowhere.invalid/v1/metrics"))
    assert outcome == Outcome(ok=False, reason="no connection, or it was closed")


def closing(part: bytes = b"") -> Callable[[Any], None]:
    """Return an answer that is only this part."""
    return lambda connection: connection.sendall(part)


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"HTTP/1.",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100\r\n\r\n\x0a",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
        b"\x15\x03\x01 another protocol\r\n\r\n",
    ],
)
def test_closed_early(part: bytes) -> None:
    """A connection that is closed before the end of the answer is a failure; it is tried again once at most."""
    with HttpSink(closing(part)) as sink:
        outcome = send(target(sink.url))
    assert not outcome.ok
    assert 1 <= len(sink.received) <= 2


def test_stale_connection() -> None:
    """If the server has closed a kept connection, the push opens a new one and succeeds."""
    closed = gevent.event.Event()

    def once(connection: Any) -> None:
        connection.sendall(reply())
        closed.set()

    with HttpSink(once, reply()) as sink:
        sender = make(Signal.METRICS, target(sink.url))
        assert sender.send(metrics()) == OK
        assert closed.wait(1)
        assert sender.send(metrics()) == OK
        assert sender.send(metrics()) == OK
        sender.cut()
    assert len(sink.received) == 3
    assert sink.connections == 2


def test_stale_connection_that_looks_alive() -> None:
    """If the server closes a kept connection during a push, the push is sent again and succeeds."""
    with HttpSink(reply(), closing(), reply()) as sink:
        assert send(target(sink.url), times=2) == OK
    assert (len(sink.received), sink.connections) == (3, 2)


def test_kept_connection() -> None:
    """All pushes use one connection while the server keeps it open."""
    with HttpSink() as sink:
        assert send(target(sink.url), times=5) == OK
    assert (len(sink.received), sink.connections) == (5, 1)


def test_connection_after_a_failure() -> None:
    """A connection whose answer was not read to its end is not used again."""
    with HttpSink(reply("503 Busy", b"x" * 100_000, "text/plain"), reply(body=b"\xff" * 70_000), reply()) as sink:
        sender = make(Signal.METRICS, target(sink.url))
        assert [sender.send(metrics()).ok for _ in range(4)] == [False, False, True, True]
        sender.cut()
    assert len(sink.received) == 4


def silent(connection: Any) -> None:
    """Send nothing until the client closes."""
    connection.settimeout(3)
    connection.recv(1)


def slow(head: bytes, piece: bytes) -> Callable[[Any], None]:
    """Return an answer that continues piece by piece, each within the timeout, for 2 seconds."""

    def answer(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        for _ in range(40):
            gevent.sleep(0.05)
            connection.sendall(piece)

    return answer


PROTOBUF = b"Content-Type: application/x-protobuf\r\n"
SLOW = {
    "silent": silent,
    "slow body": slow(PROTOBUF + b"Content-Length: 1000\r\n\r\n", b"\0"),
    "slow head": slow(b"", b"X-Y: 1\r\n"),
    "slow body without a length": slow(PROTOBUF + b"Connection: close\r\n\r\n", b"\xff"),
}


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_slow_answer(tmp_path: Path, answer: Callable[[Any], None], is_tls: bool) -> None:
    """A push with a late or slow answer ends within the timeout of the target."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with HttpSink(answer, ssl_context=tls_context() if is_tls else None) as sink:
        started = perf_counter()
        outcome = send(target(sink.url, timeout_s=0.3, certificate=str(tmp_path / "ca.pem") if is_tls else None))
        assert perf_counter() - started < 0.9
    assert outcome == Outcome(ok=False, reason="no answer in time")


def test_a_late_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that opens after the timeout is not used."""
    connect = HTTPConnection.connect

    def late(self: HTTPConnection) -> None:
        gevent.sleep(0.3)
        connect(self)

    monkeypatch.setattr(HTTPConnection, "connect", late)
    with HttpSink() as sink:
        assert send(target(sink.url, timeout_s=0.1)) == Outcome(ok=False, reason="no answer in time")
    assert sink.received == []


def test_a_push_after_a_timeout() -> None:
    """After a push that timed out, the next one arrives."""
    with HttpSink(silent, reply()) as sink:
        sender = make(Signal.METRICS, target(sink.url, timeout_s=0.3))
        assert [sender.send(metrics()).ok for _ in range(2)] == [False, True]


THREADS = """
import json, socket, threading, time
from opentelemetry.sdk.metrics.export import MetricsData
from locust_otel.exporter.otlp.push import sender_of
from locust_otel.exporter.otlp.settings import Signal, Target

hole = socket.create_server(("127.0.0.1", 0))

def trickle():
    connection = hole.accept()[0]
    try:
        for _ in range(100):
            connection.sendall(b"H")
            time.sleep(0.05)
    except OSError:
        pass

def ended(protocol, timeout_s, cut_after_s):
    where = Target(f"http://127.0.0.1:{hole.getsockname()[1]}", protocol, {}, timeout_s, "none", None, None, None)
    sender = sender_of(Signal.METRICS, where)
    threading.Thread(target=trickle, daemon=True).start()
    timer = threading.Timer(cut_after_s, sender.cut)
    timer.daemon = True
    timer.start()
    started = time.monotonic()
    outcome = sender.send(MetricsData([]))
    return outcome.ok, time.monotonic() - started

print(json.dumps([ended(*case) for case in %s]))
"""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_in_threads(protocol: str) -> None:
    """In plain threads, as in the exporter, a slow answer ends at the timeout, or at once after `cut`."""
    cases = [(protocol, 0.4, 9), (protocol, 9, 0.4)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THREADS % cases], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    for ok, seconds in json.loads(done.stdout):
        assert not ok
        assert seconds < 2


def test_tls(tmp_path: Path) -> None:
    """A server is trusted with the right authority only."""
    for name, authority in (("ca.pem", CA), ("other.pem", trustme.CA())):
        authority.cert_pem.write_to_path(str(tmp_path / name))
    with HttpSink(ssl_context=tls_context()) as sink:
        assert send(target(sink.url, certificate=str(tmp_path / "ca.pem"))) == OK
        for certificate in (None, str(tmp_path / "other.pem")):
            outcome = send(target(sink.url, certificate=certificate))
            assert not outcome.ok
            assert "TLS" in outcome.reason
    assert len(sink.received) == 1


def test_tls_with_a_bundle_for_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate in our settings wins over REQUESTS_CA_BUNDLE."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    with HttpSink(ssl_context=tls_context()) as sink:
        assert send(target(sink.url, certificate=str(tmp_path / "ca.pem"))) == OK


def test_a_server_without_tls() -> None:
    """A push over TLS to a server without TLS is a failure with a reason."""
    with HttpSink() as sink:
        outcome = send(target(sink.url.replace("http://", "https://"), timeout_s=0.3))
    assert not outcome.ok
    assert outcome.reason


def test_password_in_a_url() -> None:
    """User and password in a URL are sent as basic authentication, and not shown."""
    with HttpSink(reply("401 Unauthorized")) as sink:
        url = sink.url.replace("http://", f"http://user:{SECRET}@")
        outcome = send(target(url))
    assert sink.received[0].headers["authorization"].startswith("Basic ")
    assert SECRET not in repr(outcome)


def test_environment_of_the_exporters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our settings win over the variables that the exporters read, and no variable is logged."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with HttpSink() as sink:
        assert send(target(sink.url, headers={"x-api-key": "mine"})) == OK
    assert sink.received[0].headers["x-api-key"] == "mine"
    assert "content-encoding" not in sink.received[0].headers
