"""Scrapers that mean no good, in a process of its own with plain threads: `scraping.py PORT FAULT SECONDS`.

Only the standard library is imported.
"""

import itertools
import socket
import sys
import threading
import time
from collections.abc import Callable

MARK = b"POST /-/mark HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: nobody\r\nAccept: text/plain\r\n"


def connect(port: int) -> socket.socket:
    """Return a new connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def drain(connection: socket.socket) -> None:
    """Read until there is nothing more."""
    while connection.recv(65536):
        pass


def fifty(port: int, until: float) -> None:
    """Scrape fifty times at once, once a second, each asking for gzip."""

    def one() -> None:
        with connect(port) as connection:
            connection.sendall(GET + b"Accept-Encoding: gzip\r\nConnection: close\r\n\r\n")
            drain(connection)

    while time.monotonic() < until:
        began = time.monotonic()
        at_once(one, 50)
        time.sleep(max(began + 1 - time.monotonic(), 0.1))


def a_byte_a_second(port: int, until: float) -> None:
    """Ask seventy times at once, and read one byte a second of each answer."""

    def one() -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # nothing is hidden in the kernel
        with connection:
            connection.connect(("127.0.0.1", port))
            connection.sendall(GET + b"\r\n")
            while time.monotonic() < until and connection.recv(1):
                time.sleep(1)

    at_once(one, 70)


def hangs_up(port: int, until: float) -> None:
    """Ask, and go before the answer, fifty times a second."""
    while time.monotonic() < until:
        with connect(port) as connection:
            connection.sendall(GET + b"\r\n")
        time.sleep(0.02)


def garbage(port: int, until: float) -> None:
    """Send what is no HTTP: bytes, TLS, lines without end, wrong lengths, many headers."""
    rubbish = [
        b"\x00\xff" * 500 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"GET /metrics HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
        b"\r\n" * 1000,
    ]
    send(port, until, rubbish)


def huge_headers(port: int, until: float) -> None:
    """Send headers of megabytes, in one line and in many."""
    send(
        port,
        until,
        [
            GET + b"X-Long: " + b"a" * 5_000_000 + b"\r\n\r\n",
            GET + b"".join(b"X-%d: " % n + b"a" * 60_000 + b"\r\n" for n in range(99)) + b"\r\n",
        ],
    )


def path_traversal(port: int, until: float) -> None:
    """Ask for files."""
    paths = (b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"//etc/passwd", b"/metrics/../../etc/passwd", b"*")
    send(port, until, [b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" for path in paths])


def other_methods(port: int, until: float) -> None:
    """Use every method but GET, with bodies of megabytes."""
    body = b"x" * 2_000_000
    send(
        port,
        until,
        [
            method + b" /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE")
        ],
    )


def idle(port: int, until: float) -> None:
    """Open a hundred connections, scrape once on each, and hold them."""
    hold(port, until, [GET + b"\r\n", b""])


def half_requests(port: int, until: float) -> None:
    """Open a hundred connections, and send a header a second that never ends, or a mark that does not."""
    connections = []
    for number in range(100):
        connections.append(connect(port))
        connections[-1].sendall(MARK if number % 2 else GET)
    for number in itertools.count():
        for connection in connections:
            try:
                connection.sendall(b"X-%d: 1\r\n" % number)
            except OSError:
                continue
        if time.monotonic() > until:
            return
        time.sleep(1)


def hold(port: int, until: float, contents: list[bytes]) -> None:
    """Open a hundred connections that send one of these, and hold them."""
    connections = []
    for number in range(100):
        connections.append(connect(port))
        connections[-1].sendall(contents[number % len(contents)])
    time.sleep(max(until - time.monotonic(), 0))


def send(port: int, until: float, contents: list[bytes]) -> None:
    """Send these in turn, twenty a second, and read a little of what comes."""
    for content in itertools.cycle(contents):
        if time.monotonic() > until:
            return
        try:
            with connect(port) as connection:
                connection.settimeout(0.5)
                connection.sendall(content)
                connection.recv(1024)
        except OSError:
            pass
        time.sleep(0.05)


def at_once(action: Callable[[], None], count: int) -> None:
    """Do it in so many threads; one that fails is none of our business."""

    def quietly() -> None:
        try:
            action()
        except OSError:
            return

    threads = [threading.Thread(target=quietly, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


FAULTS: dict[str, Callable[[int, float], None]] = {
    "fifty at once": fifty,
    "a byte a second": a_byte_a_second,
    "hangs up": hangs_up,
    "garbage": garbage,
    "huge headers": huge_headers,
    "path traversal": path_traversal,
    "other methods": other_methods,
    "idle connections": idle,
    "half requests": half_requests,
}

if __name__ == "__main__":
    FAULTS[sys.argv[2]](int(sys.argv[1]), time.monotonic() + float(sys.argv[3]))
