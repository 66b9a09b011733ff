"""Tests of `/metrics` over sockets of this machine: slow, idle and hostile clients, TLS, and the stop."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import bcrypt
import pytest
import requests
import trustme
import yaml

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.marks import MAX_BODY_BYTES
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.endpoint import server
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.web_config import load
from tests.integration.endpoints import Served, rest, serving, wait_until
from tests.unit.factories import Load, record, rich_snapshot, snapshot

CLOSE = b"Connection: close\r\n\r\n"
GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /-/mark HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MARK = json.dumps({"mark": "db primary killed", "kind": "fault"}).encode()
COUNTED = {("db primary killed", "fault"): 1}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set limits that a test can wait for."""
    for name, limit_s in {"HANDSHAKE_S": 0.31, "HEAD_S": 0.3, "ANSWER_S": 0.6, "IDLE_S": 0.9}.items():
        monkeypatch.setattr(server, name, limit_s)


@pytest.fixture
def served(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Served]:
    """Serve a run; clients may cause no output, and no line in the log at INFO or above."""
    with serving(rich_snapshot()) as made:
        caplog.set_level(logging.INFO)
        yield made
    assert [line.getMessage() for line in caplog.get_records("call") if "Marked" not in line.getMessage()] == []
    assert capfd.readouterr() == ("", "")


def lasts(connection: socket.socket) -> float:
    """Return the seconds until the other side has closed a connection."""
    started = perf_counter()
    with contextlib.suppress(ConnectionError):
        rest(connection)
    return perf_counter() - started


def large() -> Load:
    """Return requests with a scrape of 20 MB."""
    load = Load(slow_s=2.0, max_names=10_000)
    for number in range(1_000):
        record(load, SeriesKey("GET", f"/{number}".ljust(1_000, "x"), "Shopper", "success"), [number])
    return load


# ------------------------------------------------------------------------------------------------------- the address


def _has_ipv6() -> bool:
    """Return whether this machine has the address `::1`, which many containers do not have."""
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.2", "localhost", "::1", "::"])
def test_it_answers_at_once(host: str) -> None:
    """The URL answers as soon as `start` has returned; after a stop the port is free again."""
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no address of version 6")
    with serving(rich_snapshot(), prometheus_host=host) as served:
        assert served.get().status_code == 200
    with pytest.raises(requests.ConnectionError):
        served.get()
    with serving(prometheus_host=host, prometheus_port=str(served.port)):
        pass


@pytest.mark.parametrize(("host", "slug"), [("127.0.0.1", "prometheus-port-taken"), ("192.0.2.1", "prometheus-host")])
def test_addresses_that_are_refused(host: str, slug: str) -> None:
    """A port of another process and an address of another machine are refused."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ConfigurationError) as caught:
        Served(prometheus_host=host, prometheus_port=str(other.getsockname()[1]))
    assert caught.value.slug == slug


# ------------------------------------------------------------------------------------------------------ slow clients


@pytest.mark.parametrize(("sent", "limit_s"), [(b"", 0.9), (GET, 0.3)], ids=["nothing", "half"])
def test_a_request_that_does_not_come_whole(served: Served, sent: bytes, limit_s: float) -> None:
    """A connection is closed after the time of its phase, and not before."""
    with served.connect(sent) as connection:
        assert limit_s - 0.02 <= lasts(connection) < limit_s + 3


def test_an_answer_that_is_not_taken(served: Served) -> None:
    """Such an answer ends after its time and counts as a failure; others are answered meanwhile."""
    served.session.taken = snapshot(large())
    with served.connect(SCRAPE, receive_bytes=4_096):
        wait_until(lambda: served.connections == 1)
        assert served.get("/-/healthy").status_code == 200
        wait_until(lambda: served.outcomes["failure"])
        wait_until(lambda: served.connections == 0)
    assert served.outcomes == {"success": 0, "failure": 1}


def test_many_slow_readers_cost_no_copy_each(served: Served) -> None:
    """For fifty clients that take nothing of a 20 MB answer, the answer is in memory once."""
    served.session.taken = snapshot(large())
    with ExitStack() as exits:
        for _ in range(50):
            exits.enter_context(served.connect(SCRAPE, receive_bytes=4_096))
        before = memory()
        wait_until(lambda: served.outcomes["failure"] == 50, 20)
        assert memory() - before < 200 * 1024**2


def memory() -> int:
    """Return the highest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize("sent", [b"", GET, SCRAPE], ids=["idle", "half", "no reader"])
def test_others_are_answered_beside_many_connections(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A scraper is answered at once beside three hundred connections of other clients."""
    for name in ("HEAD_S", "ANSWER_S", "IDLE_S"):
        monkeypatch.setattr(server, name, 60.0)
    with ExitStack() as exits:
        for _ in range(300):
            exits.enter_context(served.connect(sent))
        started = perf_counter()
        assert served.get().status_code == 200
        assert perf_counter() - started < 4  # 20 ms, and 2 s behind 300 scrapes


def test_no_descriptor_is_left(served: Served) -> None:
    """After a hundred connections as many files are open as before."""

    def opened() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    def is_answered() -> bool:
        return served.send(GET + CLOSE).startswith(b"HTTP/1.1 200 OK")

    assert is_answered()
    wait_until(lambda: served.connections == 0)
    before = opened()
    assert all(is_answered() for _ in range(100))
    wait_until(lambda: served.connections == 0)
    assert opened() <= before + 1


# ----------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nothing"])
def test_head_has_no_body(served: Served, path: str) -> None:
    """A HEAD has the headers of a GET without a body, and the connection serves the next request."""
    received = served.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), GET + CLOSE)
    head, _, answer = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404" if path == "/nothing" else b"HTTP/1.1 200")
    assert b"content-type: text/" in head
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\nHealthy\n")


def test_an_error_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in an answer is a 500, and the next request is answered."""
    with serving(rich_snapshot()) as served:
        monkeypatch.setattr(served.session, "snapshot", lambda: 1 / 0)
        assert served.get().status_code == 500
        assert served.get("/-/healthy").status_code == 200


@pytest.mark.parametrize("path", ["/-/mark?x=1", "/%2D/mark"])
def test_paths(served: Served, path: str) -> None:
    """A query changes nothing, and an escaped path is the same path."""
    head = POST.replace(b"/-/mark", path.encode()) + b"Content-Length: %d\r\n\r\n" % len(MARK)
    assert served.send(head, MARK[:10], MARK[10:], pause_s=0.02).startswith(b"HTTP/1.1 200")
    assert served.run.marks == COUNTED


def test_a_client_that_asks_before_it_sends_a_body(served: Served) -> None:
    """A client with `Expect: 100-continue` is told to send a valid body; a body that is too long is refused before."""
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    assert served.send(head % (MAX_BODY_BYTES + 1)).startswith(b"HTTP/1.1 400 ")
    answer = served.send(head % len(MARK), MARK, pause_s=0.05)
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b"\r\n\r\nHTTP/1.1 200 OK" in answer
    assert served.run.marks == COUNTED


def test_a_body_that_does_not_come_whole(served: Served) -> None:
    """A client that stops during its body is cut off after the time of an answer, and marks nothing."""
    assert served.send(POST + b"Content-Length: 100\r\n\r\n" + MARK) == b""
    for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):  # closed, reset
        with served.connect(POST + b"Content-Length: 100\r\n\r\n" + MARK) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            wait_until(lambda: served.connections == 1)
        wait_until(lambda: served.connections == 0)
    assert served.run.marks == {}


# ---------------------------------------------------------------------------------------------------------------- TLS


def test_clients_without_tls(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """With TLS, clients that send nothing or no TLS are cut off without a line in the log; others are answered."""
    authority = trustme.CA()
    context, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(client)
    with serving(snapshot(large()), web_config=WebConfig(context)) as served:
        caplog.set_level(logging.INFO)
        with served.connect() as connection:
            assert 0.28 <= lasts(connection) < 4
        with served.connect(GET + CLOSE) as connection:
            lasts(connection)
        with client.wrap_socket(served.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(SCRAPE[:-2] + CLOSE)
            received = rest(connection)
            assert received.startswith(b"HTTP/1.1 200 OK")
            assert received.endswith(b"\r\n0\r\n\r\n")
        with client.wrap_socket(served.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(SCRAPE)  # and does not read
            wait_until(lambda: served.outcomes["failure"] == 1)
        wait_until(lambda: served.connections == 0)
        assert served.outcomes == {"success": 1, "failure": 1}
    assert caplog.messages == []
    assert capfd.readouterr() == ("", "")


def test_a_web_configuration(tmp_path: Path) -> None:
    """With inline PEMs, users and verified clients, only a client with all of them is answered; no file is left."""
    authority = trustme.CA()
    certificate, ca = authority.issue_cert("127.0.0.1"), str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca)
    tls = {
        "cert": b"".join(pem.bytes() for pem in certificate.cert_chain_pems).decode(),
        "key": certificate.private_key_pem.bytes().decode(),
        "client_ca": authority.cert_pem.bytes().decode(),
        "client_auth_type": "RequireAndVerifyClientCert",
        "max_version": "TLS12",  # in TLS 1.3 a client learns of its refusal only when it reads
    }
    sections = {
        "tls_server_config": tls,
        "http_server_config": {"headers": {"X-Content-Type-Options": "nosniff"}},
        "basic_auth_users": {"p": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()},
    }
    (tmp_path / "web.yml").write_text(yaml.safe_dump(sections))
    web_config = load(str(tmp_path / "web.yml"))
    clients = {}
    for name, issuer in (("good", authority), ("stranger", trustme.CA())):
        clients[name] = str(tmp_path / f"{name}.pem")
        issuer.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(clients[name])
    with serving(rich_snapshot(), web_config=web_config) as served:

        def get(cert: str | None, verify: str | bool = ca, user: str = "p") -> requests.Response:
            with requests.Session() as session:
                session.trust_env = False
                url = f"{served.url}/metrics"
                return session.get(url, timeout=10, cert=cert, verify=verify, auth=(user, "secret"))

        answer = get(clients["good"])
        assert (answer.status_code, "locust_requests_total" in answer.text) == (200, True)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert get(clients["good"], user="q").status_code == 401
        with pytest.raises(requests.exceptions.SSLError):
            get(clients["good"], verify=True)
        for stranger in (clients["stranger"], None):
            with pytest.raises(requests.ConnectionError):
                get(stranger)


# ----------------------------------------------------------------------------------------------------------- the stop


def test_a_stop_lets_answers_finish() -> None:
    """After a stop no request is accepted, and answers under way are sent whole."""
    with serving(snapshot(large())) as served, served.connect(SCRAPE) as connection:
        start = connection.recv(1_000)
        served.endpoint.stop(time.monotonic() + 0.001)
        assert (start + rest(connection)).endswith(b"\r\n0\r\n\r\n")
        wait_until(lambda: is_refused(served.port))


def is_refused(port: int) -> bool:
    """Return whether nothing listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_does_not_wait_for_clients() -> None:
    """Clients that take nothing or send half a request are cut off after half a second."""
    with serving(snapshot(large())) as served, served.connect(SCRAPE) as slow, served.connect(GET) as half:
        wait_until(lambda: served.connections == 2)
        started = perf_counter()
        served.stop()
        assert perf_counter() - started < 0.9
        lasts(slow)
        lasts(half)
