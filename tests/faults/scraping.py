"""Scrapers that misbehave, in a process of its own with plain threads: `scraping.py PORT FAULT SECONDS`.

It imports the standard library only.
"""

import contextlib
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
    """Read to the end."""
    while connection.recv(65536):
        pass


def fifty(port: int, until: float) -> None:
    """Scrape fifty times at once, once a second, with gzip."""

    def scrape() -> None:
        with connect(port) as connection:
            connection.sendall(GET + b"Accept-Encoding: gzip\r\nConnection: close\r\n\r\n")
            drain(connection)

    while time.monotonic() < until:
        began = time.monotonic()
        at_once(scrape, 50)
        time.sleep(max(began + 1 - time.monotonic(), 0.1))


def a_byte_a_second(port: int, until: float) -> None:
    """Scrape seventy times at once, and read one byte a second of each answer."""

    def scrape() -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # the kernel buffers little
        with connection:
            connection.connect(("127.0.0.1", port))
            connection.sendall(GET + b"\r\n")
            while time.monotonic() < until and connection.recv(1):
                time.sleep(1)

    at_once(scrape, 70)


def hangs_up(port: int, until: float) -> None:
    """Send a request and hang up before the answer, fifty times a second."""
    while time.monotonic() < until:
        with connect(port) as connection:
            connection.sendall(GET + b"\r\n")
        time.sleep(0.02)


def garbage(port: int, until: float) -> None:
    """Send data that is no HTTP: bytes, TLS, lines without end, wrong lengths, many headers."""
    contents = [
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
    send(port, until, contents)


def huge_headers(port: int, until: float) -> None:
    """Send headers of megabytes, in one line and in many."""
    one_line = GET + b"X-Long: " + b"a" * 5_000_000 + b"\r\n\r\n"
    many = GET + b"".join(b"X-%d: " % n + b"a" * 60_000 + b"\r\n" for n in range(99)) + b"\r\n"
    send(port, until, [one_line, many])


def path_traversal(port: int, until: float) -> None:
    """Request files outside of the site."""
    paths = (b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"//etc/passwd", b"/metrics/../../etc/passwd", b"*")
    send(port, until, [b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" for path in paths])


def other_methods(port: int, until: float) -> None:
    """Use every method but GET, with bodies of megabytes."""
    methods, body = (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE"), b"x" * 2_000_000
    rest = b" /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    send(port, until, [method + rest for method in methods])


def idle(port: int, until: float) -> None:
    """Open a hundred connections, scrape once on every other one, and hold them."""
    hundred(port, [GET + b"\r\n", b""])
    time.sleep(max(until - time.monotonic(), 0))


def half_requests(port: int, until: float) -> None:
    """Open a hundred connections, and send a scrape or a mark on each, one header a second, without an end."""
    connections = hundred(port, [GET, MARK])
    for number in itertools.count():
        for connection in connections:
            try:
                connection.sendall(b"X-%d: 1\r\n" % number)
            except OSError:
                continue
        if time.monotonic() > until:
            return
        time.sleep(1)


def hundred(port: int, contents: list[bytes]) -> list[socket.socket]:
    """Open a hundred connections, and send these contents on them in turn."""
    connections = []
    for number in range(100):
        connections.append(connect(port))
        connections[-1].sendall(contents[number % len(contents)])
    return connections


def send(port: int, until: float, contents: list[bytes]) -> None:
    """Send these contents in turn, twenty a second, and read the begin of each answer."""
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
    """Call a function in so many threads, and ignore failed connections."""

    def quietly() -> None:
        with contextlib.suppress(OSError):
            action()

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
