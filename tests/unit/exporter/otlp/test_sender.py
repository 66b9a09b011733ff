"""Tests of a push over HTTP: what goes over the wire, and what is made of each answer."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from time import perf_counter, time
from typing import Any

import gevent
import pytest
import trustme
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from urllib3.connection import HTTPConnection

from locust_otel.exporter.otlp.outcome import Outcome
from locust_otel.exporter.otlp.settings import Signal, Target
from tests.unit.exporter.otlp.senders import CA, OK, SERVER, make, metrics, send, usable
from tests.unit.otlp_sinks import SECRET, Answer, HttpSink, decode_request, reply, target

# gevent leaves the socket of a failed TLS handshake to the garbage collector, which tells of it in some later test.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("no_noise"),
]


def answered(answer: Answer, signal: Signal = Signal.METRICS, **changes: Any) -> Outcome:
    """Return what is made of an answer over HTTP."""
    with HttpSink(answer) as sink:
        return send(target(sink.url, **changes), signal)


def tls_context() -> ssl.SSLContext:
    """Return what a server with our certificate needs."""
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
    """A compressed push says so, and unpacked it is the uncompressed one."""
    with HttpSink() as sink:
        send(target(sink.url))
        send(target(sink.url, compression=compression))
    plain, packed = sink.received
    assert packed.headers["content-encoding"] == compression
    assert unpack(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)


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
    """Any 2xx with an answer of OTLP, an empty one, or the few words of some back ends is a success."""
    assert answered(answer) == OK


def test_partial_success_of_metrics() -> None:
    """A partial success tells how many points were refused, and why."""
    partial = ExportMetricsPartialSuccess(rejected_data_points=99, error_message="out of\norder \x1b[31m" + "x" * 500)
    outcome = answered(reply(body=ExportMetricsServiceResponse(partial_success=partial).SerializeToString()))
    assert (outcome.ok, outcome.rejected, outcome.is_permanent) == (True, 99, True)
    assert outcome.reason.startswith("out oforder [31mxxx")
    assert len(outcome.reason) <= 200


def test_partial_success_of_logs() -> None:
    """A partial success tells how many records were refused, and why."""
    partial = ExportLogsPartialSuccess(rejected_log_records=2, error_message="too old")
    answer = reply(body=ExportLogsServiceResponse(partial_success=partial).SerializeToString())
    outcome = answered(answer, Signal.LOGS)
    assert (outcome.ok, outcome.rejected, outcome.reason) == (True, 2, "too old")


def test_a_warning_is_no_rejection() -> None:
    """A partial success that refuses nothing is a success; the specification allows for such warnings."""
    partial = ExportMetricsPartialSuccess(rejected_data_points=0, error_message="deprecated")
    outcome = answered(reply(body=ExportMetricsServiceResponse(partial_success=partial).SerializeToString()))
    assert (outcome.ok, outcome.rejected) == (True, 0)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Moved"])
def test_redirects(status: str) -> None:
    """A redirect is a failure and is not followed: where it points to gets no request, and so no secret."""
    with HttpSink() as elsewhere, HttpSink(reply(status, Location=elsewhere.url)) as sink:
        outcome = send(target(sink.url))
    assert (outcome.ok, outcome.reason[:3]) == (False, status[:3])
    assert "redirect" in outcome.reason
    assert len(sink.received) == 1
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        reply(body=b"<html>Log in</html>", content_type="text/html; charset=utf-8"),
        reply(body=b"<html>Log in</html>", content_type="Text/HTML"),
        reply(body=b"\xff\xff\xff\xff"),
        reply(body=b"not protobuf at all"),
        reply(body=b"\x1f\x8b garbage", Content_Encoding="gzip"),
        reply(body=b"x" * 200_000, content_type="text/plain"),
    ],
)
def test_lies(answer: bytes) -> None:
    """A web page, garbage and an overlong text with status 200 are failures that may pass."""
    outcome = answered(answer)
    assert not outcome.ok
    assert outcome.rejected == 0
    assert outcome.reason
    assert not outcome.is_permanent


@pytest.mark.parametrize("encoding", ["", "Transfer-Encoding: chunked\r\n"])
def test_endless_body(encoding: str) -> None:
    """An answer without end is cut off after a bounded number of bytes."""
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
    """A small answer that unpacks to a gigantic one is cut off too."""
    body = gzip.compress(b"\0" * 50_000_000)
    started = perf_counter()
    assert not answered(reply(body=body, Content_Encoding="gzip")).ok
    assert perf_counter() - started < 2


@pytest.mark.parametrize(
    ("status", "is_permanent"),
    [
        ("400 Bad Request", True),
        ("401 Unauthorized", True),
        ("403 Forbidden", True),
        ("404 Not Found", True),
        ("413 Content Too Large", True),
        ("500 Internal Server Error", True),
        ("429 Too Many Requests", False),
        ("502 Bad Gateway", False),
        ("503 Service Unavailable", False),
        ("504 Gateway Timeout", False),
    ],
)
def test_refusals(status: str, is_permanent: bool) -> None:
    """A refusal is told by its status, once; permanent is what the specification does not list as retryable."""
    with HttpSink(reply(status, b"some text", "text/plain")) as sink:
        outcome = send(target(sink.url))
    assert outcome == Outcome(ok=False, reason=status, is_permanent=is_permanent)
    assert len(sink.received) == 1


def test_reason_phrase_of_a_liar() -> None:
    """What a status line says is bounded and printable before it comes into a log."""
    outcome = answered(reply("503 " + "busy\x1b[2J" + "x" * 5_000))
    assert not outcome.ok
    assert outcome.reason.isprintable()
    assert len(outcome.reason) <= 250


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("nan", 0.0), ("inf", 0.0), ("1e9", 3600.0), ("soon", 0.0), ("", 0.0)],
)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_retry_after(status: str, value: str, seconds: float) -> None:
    """The pause that is asked for is taken up, for at most an hour."""
    outcome = answered(reply(status, Retry_After=value))
    assert (outcome.ok, outcome.retry_after_s, outcome.is_permanent) == (False, seconds, False)


def test_retry_after_a_date() -> None:
    """A pause may be asked for as a date too (RFC 9110, 10.2.3)."""
    outcome = answered(reply("503 Busy", Retry_After=formatdate(time() + 120, usegmt=True)))
    assert outcome.retry_after_s == pytest.approx(120, abs=3)


def test_connection_refused() -> None:
    """Nobody listens there: a failure, at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = perf_counter()
    outcome = send(target(f"http://127.0.0.1:{port}/v1/metrics"))
    assert outcome == Outcome(ok=False, reason="no connection, or it was closed")
    assert perf_counter() - started < 1


def test_unknown_host() -> None:
    """A name that nobody knows is a failure that does not show the URL, in which there may be a password."""
    outcome = send(target(f"http://user:{SECRET}@nowhere.invalid/v1/metrics"))
    assert outcome == Outcome(ok=False, reason="no connection, or it was closed")


def closing(part: bytes = b"") -> Callable[[Any], None]:
    """Return an answer that ends in the middle."""
    return lambda connection: connection.sendall(part)


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"HTTP/1.",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100\r\n\r\n\x0a",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
        b"\x15\x03\x01 I speak something else\r\n\r\n",
    ],
)
def test_closed_half_way(part: bytes) -> None:
    """A connection that is closed before the answer is complete is a failure, tried again once at the most."""
    with HttpSink(closing(part)) as sink:
        outcome = send(target(sink.url))
    assert not outcome.ok
    assert 1 <= len(sink.received) <= 2


def test_stale_connection() -> None:
    """A kept connection that the other side closed meanwhile costs no push: it is made again at once."""
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
    """A kept connection that is closed just as the next push is under way costs no push either."""
    with HttpSink(reply(), closing(), reply()) as sink:
        assert send(target(sink.url), times=2) == OK
    assert (len(sink.received), sink.connections) == (3, 2)


def test_kept_connection() -> None:
    """One connection serves all pushes while the other side keeps it open."""
    with HttpSink() as sink:
        assert send(target(sink.url), times=5) == OK
    assert (len(sink.received), sink.connections) == (5, 1)


def test_connection_after_a_failure() -> None:
    """Answers that were not read to their end leave no connection that the next push would read the rest from."""
    with HttpSink(reply("503 Busy", b"x" * 100_000, "text/plain"), reply(body=b"\xff" * 70_000), reply()) as sink:
        sender = make(Signal.METRICS, target(sink.url))
        assert [sender.send(metrics()).ok for _ in range(4)] == [False, False, True, True]
        sender.cut()
    assert len(sink.received) == 4


def silent(connection: Any) -> None:
    """Say nothing until the other side gives up."""
    connection.settimeout(3)
    connection.recv(1)


def trickling(connection: Any) -> None:
    """Answer one byte after the other, each well within the timeout, for 2 seconds."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(40):
        gevent.sleep(0.05)
        connection.sendall(b"\0")


def trickling_head(connection: Any) -> None:
    """Answer with one header after the other, each well within the timeout, for 2 seconds."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(40):
        gevent.sleep(0.05)
        connection.sendall(b"X-%d: 1\r\n" % number)


def trickling_to_the_end(connection: Any) -> None:
    """Answer drop by drop with a body that ends with the connection."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nConnection: close\r\n\r\n")
    for _ in range(40):
        gevent.sleep(0.05)
        connection.sendall(b"\xff")


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("answer", [silent, trickling, trickling_head, trickling_to_the_end])
def test_slow_answer(tmp_path: Path, answer: Callable[[Any], None], is_tls: bool) -> None:
    """A push whose answer comes too late, or drop by drop, ends within the timeout of the target."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with HttpSink(answer, ssl_context=tls_context() if is_tls else None) as sink:
        started = perf_counter()
        outcome = send(target(sink.url, timeout_s=0.3, certificate=str(tmp_path / "ca.pem") if is_tls else None))
        assert perf_counter() - started < 0.9
    assert outcome == Outcome(ok=False, reason="no answer in time")


def test_a_connection_that_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the time is up before there is a connection, it is not used: its answer would have no deadline."""
    connect = HTTPConnection.connect

    def late(self: HTTPConnection) -> None:
        gevent.sleep(0.3)
        connect(self)

    monkeypatch.setattr(HTTPConnection, "connect", late)
    with HttpSink() as sink:
        assert send(target(sink.url, timeout_s=0.1)) == Outcome(ok=False, reason="no answer in time")
    assert sink.received == []


def test_a_timeout_of_one_push_is_none_of_the_next() -> None:
    """After a push that was ended, the next one arrives."""
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
    """In a process of plain threads, as the exporter is, a trickle ends in time, and at once where it is cut."""
    cases = [(protocol, 0.4, 9), (protocol, 9, 0.4)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THREADS % cases], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    for ok, seconds in json.loads(done.stdout):
        assert not ok
        assert seconds < 2


def test_tls(tmp_path: Path) -> None:
    """A server whose certificate the given authority signed is trusted; without or with another one it is not."""
    for name, authority in (("ca.pem", CA), ("other.pem", trustme.CA())):
        authority.cert_pem.write_to_path(str(tmp_path / name))
    with HttpSink(ssl_context=tls_context()) as sink:
        assert send(target(sink.url, certificate=str(tmp_path / "ca.pem"))) == OK
        for certificate in (None, str(tmp_path / "other.pem")):
            outcome = send(target(sink.url, certificate=certificate))
            assert not outcome.ok
            assert "TLS" in outcome.reason
    assert len(sink.received) == 1


def test_tls_beside_a_bundle_for_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate of our settings wins over the variable with which `requests` is told another one."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    with HttpSink(ssl_context=tls_context()) as sink:
        assert send(target(sink.url, certificate=str(tmp_path / "ca.pem"))) == OK


def test_tls_where_none_is_spoken() -> None:
    """TLS against a server without it is a failure with a reason."""
    with HttpSink() as sink:
        outcome = send(target(sink.url.replace("http://", "https://"), timeout_s=0.3))
    assert not outcome.ok
    assert outcome.reason


def test_headers_that_cannot_be_sent() -> None:
    """A header that HTTP cannot carry is refused, or a failure with a reason that the exporter does not log."""
    where = usable("http://127.0.0.1:9", "http/protobuf", "x-api-key=%E6%97%A5")
    if where is not None:
        outcome = send(where)
        assert not outcome.ok
        assert outcome.reason not in {"", "not sent"}


def test_password_in_a_url() -> None:
    """User and password of a URL are sent as HTTP has it, and shown nowhere, whatever happens."""
    with HttpSink(reply("401 Unauthorized")) as sink:
        url = sink.url.replace("http://", f"http://user:{SECRET}@")
        outcome = send(target(url))
    assert sink.received[0].headers["authorization"].startswith("Basic ")
    assert SECRET not in repr(outcome)


def test_environment_of_the_exporters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What we have settled is not unsettled by the exporters' own reading of the environment, nor logged by it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with HttpSink() as sink:
        assert send(target(sink.url, headers={"x-api-key": "mine"})) == OK
    assert sink.received[0].headers["x-api-key"] == "mine"
    assert "content-encoding" not in sink.received[0].headers


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("value", [f'"{SECRET}"', f"{SECRET};x", f"{SECRET}\\", f"ä{SECRET}"])
def test_header_that_the_exporter_would_log(
    monkeypatch: pytest.MonkeyPatch, grpc_target: Target, protocol: str, value: str
) -> None:
    """A header that the exporters warn about with its whole text as they read the environment is told by nobody."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={value}")
    with HttpSink() as sink:
        base = f"http://127.0.0.1:{sink.port}" if protocol == "http/protobuf" else grpc_target.endpoint
        where = usable(base, protocol, f"x-api-key={value}")
        if where is not None:
            send(where)


@pytest.mark.parametrize(
    ("head", "ok"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Ty", False),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-p", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    ],
)
def test_cut_off_in_the_headers(head: bytes, ok: bool) -> None:
    """An answer that ends in the middle of its headers is none; one whose end is that of the connection is one."""
    with HttpSink(lambda connection: connection.sendall(head)) as sink:
        outcome = send(target(sink.url))
    assert outcome == (Outcome(ok=True) if ok else Outcome(ok=False, reason="200 with an answer that was cut off"))
