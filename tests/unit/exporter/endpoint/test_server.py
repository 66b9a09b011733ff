"""Tests of connections that are slow, idle or no HTTP at all, over sockets of this machine, with short limits."""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import pytest
import trustme

from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.endpoint import server
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.server import MAX_HEAD_BYTES
from tests.unit.endpoints import Served, serving, wait_until
from tests.unit.factories import Load, record, rich_snapshot, snapshot

GET = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
MUCH = 256 * 1024
"""Bytes that come in more than one piece."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set limits that a test can wait for."""
    for name, limit_s in {"HANDSHAKE_S": 0.31, "HEAD_S": 0.3, "ANSWER_S": 0.6, "IDLE_S": 0.9}.items():
        monkeypatch.setattr(server, name, limit_s)


@pytest.fixture
def served(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Served]:
    """Serve a run; whatever clients do, nothing may be printed, nor logged at INFO or above but where it is."""
    caplog.set_level(logging.INFO)
    with serving(rich_snapshot()) as made:
        yield made
    assert [each.getMessage() for each in caplog.get_records("call")] == []
    assert capfd.readouterr() == ("", "")


def lasts(connection: socket.socket) -> float:
    """Return the seconds until the other side has closed a connection."""
    started = perf_counter()
    with contextlib.suppress(ConnectionError):
        while connection.recv(65_536):
            pass
    return perf_counter() - started


def answers(connection: socket.socket, count: int) -> None:
    """Read so many answers to `GET`."""
    received = b""
    while received.count(b"Healthy\n") < count:
        received += connection.recv(1_000) or pytest.fail("it was closed")


def connections(served: Served) -> int:
    """Return how many connections there are."""
    assert served.endpoint._server is not None
    return len(served.endpoint._server._uvicorn.server_state.connections)


def large() -> Load:
    """Return requests of which a scrape is 20 MB."""
    load = Load(slow_s=2.0, max_names=10_000)
    for number in range(1_000):
        record(load, SeriesKey("GET", f"/{number}".ljust(1_000, "x"), "Shopper", "success"), [number])
    return load


@pytest.mark.parametrize(("sent", "limit_s"), [(b"", 0.9), (b"G", 0.3), (GET, 0.3)], ids=["nothing", "a byte", "half"])
def test_a_request_that_does_not_come_whole(served: Served, sent: bytes, limit_s: float) -> None:
    """A connection is closed when the time for its phase is up, and not before."""
    with served.connect(sent) as connection:
        assert limit_s - 0.02 <= lasts(connection) < limit_s + 3


def test_a_header_now_and_then_does_not_extend_the_time(served: Served) -> None:
    """The time for the headers is for all of them, not from one to the next."""
    with served.connect(GET) as connection:
        started = perf_counter()
        with contextlib.suppress(ConnectionError):
            while perf_counter() - started < 2:
                connection.sendall(b"X: 1\r\n")
                time.sleep(0.02)
        assert 0.3 <= perf_counter() - started < 1.9


def test_an_idle_connection_is_kept_for_the_next_scrape(served: Served) -> None:
    """Requests on one connection are answered as long as none is too late after the one before."""
    with served.connect() as connection:
        for _ in range(3):
            connection.sendall(GET + b"\r\n")
            answers(connection, 1)
            time.sleep(0.4)
        assert 0.3 <= lasts(connection) < 4


def test_requests_that_come_at_once_are_answered_in_turn(served: Served) -> None:
    """A client may send the next request before it has the answer; the time for idling starts after the last one."""
    with served.connect(3 * (GET + b"\r\n")) as connection:
        answers(connection, 3)
        assert 0.8 <= lasts(connection) < 4


def test_an_answer_that_is_not_taken(served: Served) -> None:
    """It ends with the time for it, counts as a failure, and others are answered meanwhile."""
    served.session.taken = snapshot(large())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(SCRAPE)
        wait_until(lambda: connections(served) == 1)
        assert served.ask("/-/healthy").status_code == 200
        wait_until(lambda: served.outcomes()["failure"])
        wait_until(lambda: connections(served) == 0)
    assert served.outcomes() == {"success": 0, "failure": 1}


def test_many_slow_readers_cost_no_copy_each(served: Served) -> None:
    """Fifty clients that take nothing of a 20 MB answer do not have 20 MB kept for each of them."""
    served.session.taken = snapshot(large())
    with ExitStack() as exits:
        for _ in range(50):
            connection = exits.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.connect(("127.0.0.1", served.port))
            connection.sendall(SCRAPE)
        before = memory()
        wait_until(lambda: served.outcomes()["failure"] == 50, 20)
        assert memory() - before < 200 * 1024**2


def memory() -> int:
    """Return the resident bytes of this process at their highest."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize("sent", [b"", GET, SCRAPE], ids=["idle", "half", "no reader"])
def test_others_are_answered_beside_many_connections(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A good scraper is answered at once, though three hundred others hold a connection each."""
    for name in ("HEAD_S", "ANSWER_S", "IDLE_S"):
        monkeypatch.setattr(server, name, 60.0)
    with ExitStack() as exits:
        for _ in range(300):
            exits.enter_context(served.connect(sent))
        started = perf_counter()
        assert served.ask().status_code == 200
        assert perf_counter() - started < 4  # 20 ms, and 2 s where 300 scrapes came before


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"a" * MUCH + b"\r\n\r\n",
        GET + b"X: abcdefgh\r\n" * (MUCH // 12) + b"\r\n",
        GET + b"X: " + b"a" * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/9.9\r\nno colon\r\n\r\n",
        b"\x00\xff" * 500 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n",
        b"GET " + b"/" * 2 * MUCH + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["one long header", "long headers", "no end", "no length", "no colon", "bytes", "TLS", "long path"],
)
def test_headers_that_are_refused(served: Served, head: bytes) -> None:
    """Too long or wrong headers are a 400 and a closed connection."""
    with served.connect() as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head)
        with contextlib.suppress(ConnectionError):  # what was not read meanwhile may reset the connection
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
        assert lasts(connection) < 0.8  # before an idle one would be closed
    assert served.ask().status_code == 200


@pytest.mark.parametrize("head", [b"Content-Length: 50000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nff\r\n"])
def test_a_body_is_not_read(served: Served, head: bytes) -> None:
    """A request with a body is answered before the body has come, and the connection is closed."""
    with served.connect(b"POST /metrics HTTP/1.1\r\nHost: x\r\n" + head) as connection:
        assert connection.recv(15) == b"HTTP/1.1 405 Me"
        assert lasts(connection) < 0.5  # before its answer would have to be taken


def test_upgrades_are_not_taken(served: Served) -> None:
    """A client that asks for another protocol is answered in this one."""
    more = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    assert served.send(GET + more).startswith(b"HTTP/1.1 200 OK")


def test_no_tls(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """With TLS, a client that sends nothing or no TLS is cut off without a line in the log; others are served."""
    caplog.set_level(logging.INFO)
    authority = trustme.CA()
    context, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(client)
    with serving(snapshot(large()), web_config=WebConfig(context)) as served:
        assert served.url.startswith("https://127.0.0.1:")
        with served.connect() as connection:
            assert 0.28 <= lasts(connection) < 4
        with served.connect(GET + b"\r\n") as connection:
            lasts(connection)
        with client.wrap_socket(served.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(SCRAPE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
            assert received.startswith(b"HTTP/1.1 200 OK")
            assert received.endswith(b"\r\n0\r\n\r\n")
        with client.wrap_socket(served.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(SCRAPE)  # and does not read it
            wait_until(lambda: served.outcomes()["failure"] == 1)
        wait_until(lambda: connections(served) == 0)
        assert served.outcomes() == {"success": 1, "failure": 1}
    assert [each.levelname for each in caplog.records] == ["INFO"] * 2  # where it is
    assert capfd.readouterr() == ("", "")


def test_no_descriptor_is_left(served: Served) -> None:
    """After a hundred connections as many files are open as before."""

    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    def is_answered() -> bool:
        return served.send(GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 OK")

    assert is_answered()
    wait_until(lambda: connections(served) == 0)
    before = count()
    for _ in range(100):
        assert is_answered()
    wait_until(lambda: connections(served) == 0)
    assert count() <= before + 1


def test_a_stop_lets_answers_finish() -> None:
    """Nothing new is answered after a stop, and what is under way comes whole."""
    with serving(snapshot(large())) as served:
        connection = served.connect(SCRAPE)
        start = connection.recv(1_000)
        served.endpoint.stop(time.monotonic() + 0.001)
        with connection:
            received = start + b"".join(iter(lambda: connection.recv(1 << 20), b""))
        assert received.endswith(b"\r\n0\r\n\r\n")
        wait_until(lambda: is_refused(served.port))


def is_refused(port: int) -> bool:
    """Return whether nothing listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_does_not_wait_for_clients() -> None:
    """Clients that take nothing or send half a request are cut off within half a second or so."""
    with serving(snapshot(large())) as served, served.connect(SCRAPE) as slow, served.connect(GET) as half:
        wait_until(lambda: connections(served) == 2)
        started = perf_counter()
        served.stop()
        assert perf_counter() - started < 0.9
        lasts(slow)
        lasts(half)
