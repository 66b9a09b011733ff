"""Tests of the `/metrics` server, over sockets of this machine."""

from __future__ import annotations

import base64
import gzip
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import bcrypt
import gevent
import pytest
import requests

from locust_otel.core.catalogue import Scope
from locust_otel.core.families import ALL_SCOPES
from locust_otel.core.snapshot import SeriesKey, Snapshot
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.server import MetricsServer, Scrape
from locust_otel.plugin.series import Aggregate
from tests.unit.factories import expected_samples, parsed_samples, record, rich_aggregate, rich_snapshot, snapshot

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}
PLAIN = {"Accept-Encoding": "identity"}


class Endpoint:
    """A server on a free port, and what it was told and asked."""

    def __init__(self) -> None:
        self.taken: Snapshot = rich_snapshot()
        self.collect: Callable[[], Snapshot] = lambda: self.taken
        self.scrapes: list[Scrape] = []
        self.server: MetricsServer | None = None

    def _collect(self) -> Snapshot:
        return self.collect()

    def start(self, web_config: WebConfig | None = None, scopes: frozenset[Scope] = ALL_SCOPES) -> Endpoint:
        """Listen."""
        self.server = MetricsServer(self._collect, self.scrapes.append, scopes, web_config)
        self.server.start("127.0.0.1", 0)
        return self

    @property
    def url(self) -> str:
        """The URL without a path."""
        assert self.server is not None
        return self.server.url.removesuffix("/metrics")

    def ask(self, path: str = "/metrics", method: str = "GET", **headers: str) -> requests.Response:
        """Send a request and return the answer, once the server has noted it."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.request(method, self.url + path, headers={**PLAIN, **names}, timeout=5)
        gevent.sleep(0.005)
        return answer

    def connect(self) -> socket.socket:
        """Open a connection."""
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=5)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Make an endpoint that a test starts, and stop it."""
    made = Endpoint()
    yield made
    if made.server is not None:
        made.server.stop()


def large(series: int, label_length: int = 1) -> Snapshot:
    """Return a snapshot with this many series."""
    aggregate = Aggregate(slow_s=2.0, max_names=10_000)
    for number in range(series):
        record(aggregate, SeriesKey("GET", f"/{number}".ljust(label_length, "x"), "Shopper", "success"), [number])
    return snapshot(aggregate)


def test_text(endpoint: Endpoint) -> None:
    """Without an `Accept` of ours the answer is text 0.0.4, sample by sample what the snapshot holds."""
    answer = endpoint.start().ask()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert parsed_samples(answer.text, openmetrics=False) == expected_samples(endpoint.taken)


def test_openmetrics(endpoint: Endpoint) -> None:
    """Who asks for OpenMetrics gets it, with the same numbers, and caches are told why it differs."""
    answer = endpoint.start().ask(**OPENMETRICS)
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert {name.strip() for name in answer.headers["Vary"].split(",")} == {"Accept", "Accept-Encoding"}
    assert parsed_samples(answer.text, openmetrics=True) == expected_samples(endpoint.taken)


@pytest.mark.parametrize("accept", [{}, OPENMETRICS], ids=["text", "openmetrics"])
def test_gzip_is_the_same_body(endpoint: Endpoint, accept: dict[str, str]) -> None:
    """The compressed body is the plain one, and smaller on the wire."""
    endpoint.taken = large(200)
    plain = endpoint.start().ask(**accept)
    with requests.get(
        f"{endpoint.url}/metrics", headers={**accept, "Accept-Encoding": "gzip"}, timeout=5, stream=True
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        raw = answer.raw.read(decode_content=False)
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 5
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize(
    ("header", "compressed"),
    [
        ("gzip", True), ("GZIP", True), ("deflate, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False),
        ("gzip; q=0.000, *", False), ("br", False), ("identity", False), ("", False), ("gzip;q=1.0", True),
    ],
)  # fmt: skip
def test_who_gets_gzip(endpoint: Endpoint, header: str, compressed: bool) -> None:
    """Only who accepts gzip gets it."""
    answer = endpoint.start().ask(Accept_Encoding=header)
    assert (answer.headers.get("Content-Encoding") == "gzip") == compressed
    assert parsed_samples(answer.text, openmetrics=False) == expected_samples(endpoint.taken)


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nothing"])
def test_head_has_the_headers_and_no_body(endpoint: Endpoint, path: str) -> None:
    """HEAD answers as GET without a body, and the connection serves the next request."""
    with endpoint.start().connect() as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404" if path == "/nothing" else b"HTTP/1.1 200")
    assert b"Content-Type: text/" in head
    assert rest.startswith(b"HTTP/1.1 200 OK")
    assert rest.endswith(b"\r\n\r\nHealthy\n")
    assert endpoint.scrapes == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/metrics", "/"])
def test_other_methods(endpoint: Endpoint, method: str, path: str) -> None:
    """Only GET and HEAD are answered, and the answer to others says so."""
    answer = endpoint.start().ask(path, method)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert endpoint.scrapes == []


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/Metrics", "/-/ready", "//metrics"])
def test_other_paths(endpoint: Endpoint, path: str) -> None:
    """Any other path is not found, and the answer names the right one."""
    answer = endpoint.start().ask(path)
    assert answer.status_code == 404
    assert "/metrics" in answer.text


def test_healthy(endpoint: Endpoint) -> None:
    """The health check answers without a snapshot."""
    endpoint.collect = lambda: pytest.fail("no snapshot is needed")
    answer = endpoint.start().ask("/-/healthy")
    assert (answer.status_code, answer.text) == (200, "Healthy\n")


def test_index(endpoint: Endpoint) -> None:
    """The front page links to the metrics and names the run, whose id is text and no markup."""
    endpoint.taken = snapshot(rich_aggregate(), run_id="<b>run</b>")
    answer = endpoint.start().ask("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<a href=/metrics>" in answer.text
    assert "Run &lt;b&gt;run&lt;/b&gt; is running." in answer.text
    endpoint.taken = snapshot(None)
    assert "No run has started yet." in endpoint.ask("/").text


def test_query_strings_are_ignored(endpoint: Endpoint) -> None:
    """Prometheus may add parameters; they change nothing."""
    assert endpoint.start().ask("/metrics?x=1").status_code == 200


def test_scopes_may_change_while_it_runs(endpoint: Endpoint) -> None:
    """A process exports the metrics of its scopes, and others from the moment these change."""
    endpoint.start(scopes=frozenset({Scope.HEALTH}))
    assert parsed_samples(endpoint.ask().text, openmetrics=False) == expected_samples(
        endpoint.taken, frozenset({Scope.HEALTH})
    )
    assert endpoint.server is not None
    endpoint.server.scopes = ALL_SCOPES
    assert parsed_samples(endpoint.ask().text, openmetrics=False) == expected_samples(endpoint.taken)


# --------------------------------------------------------------------------------------------------------- scrapes


def test_a_scrape_is_told_of(endpoint: Endpoint) -> None:
    """After each answer it is known who came, with which timeout, what was sent, and that all was taken."""
    endpoint.start().ask(User_Agent="Prometheus/3.5.3", X_Prometheus_Scrape_Timeout_Seconds="10.5")
    endpoint.ask(User_Agent="curl", X_Prometheus_Scrape_Timeout_Seconds="soon")
    first, second = endpoint.scrapes
    assert (first.client, first.timeout_s, first.delivered) == (("127.0.0.1", "Prometheus/3.5.3"), 10.5, True)
    assert (second.client, second.timeout_s, second.delivered) == (("127.0.0.1", "curl"), None, True)
    assert first.snapshot is endpoint.taken
    assert 0 < first.seconds < 5


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_client_that_hangs_up_is_a_failure(endpoint: Endpoint, encoding: str) -> None:
    """A client that resets the connection in the middle was not delivered to, and the next one is served."""
    endpoint.taken = large(2_000, 1_000)
    with endpoint.start().connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\n\r\n".encode())
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for _ in range(400):
        if endpoint.scrapes:
            break
        gevent.sleep(0.005)
    assert [scrape.delivered for scrape in endpoint.scrapes] == [False]
    endpoint.taken = rich_snapshot()
    assert endpoint.ask().status_code == 200
    assert [scrape.delivered for scrape in endpoint.scrapes] == [False, True]


def test_a_half_request_holds_nobody_up(endpoint: Endpoint) -> None:
    """While one client dawdles over its request, another one is served."""
    with endpoint.start().connect() as connection:
        connection.sendall(b"GET /metrics HT")
        assert endpoint.ask().status_code == 200


def test_the_load_goes_on_while_a_thousand_series_are_scraped(endpoint: Endpoint) -> None:
    """Another greenlet gets its turn again and again during one scrape, not only before and after."""
    endpoint.taken = large(1_000)
    endpoint.start()
    ticks = 0
    started: list[int] = []

    def collect() -> Snapshot:
        started.append(ticks)
        return endpoint.taken

    def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            gevent.sleep(0)

    ended: list[int] = []
    endpoint.collect = collect
    endpoint.scrapes = Ended(lambda: ended.append(ticks))
    assert endpoint.server is not None
    endpoint.server._scraped = endpoint.scrapes.append
    ticker = gevent.spawn(tick)
    try:
        endpoint.ask(Accept_Encoding="gzip")
    finally:
        ticker.kill()
    # 4,000 points, counted one by one, in pieces of 40.
    assert ended[0] - started[0] >= 100


class Ended(list[Scrape]):
    """A list that tells when something is appended."""

    def __init__(self, told: Callable[[], Any]) -> None:
        super().__init__()
        self._told = told

    def append(self, scrape: Scrape) -> None:
        """Append and tell."""
        self._told()
        super().append(scrape)


def test_numbers_stand_still_while_they_are_rendered(endpoint: Endpoint) -> None:
    """Requests recorded between two pieces of an answer are not in it: its parts add up."""
    aggregate = Aggregate(slow_s=2.0, max_names=10_000)
    keys = [SeriesKey("GET", f"/{number}", "Shopper", "success") for number in range(100)]
    for key in keys:
        record(aggregate, key, [1, 2])
    endpoint.start()
    taken: list[Snapshot] = []

    def collect() -> Snapshot:
        taken.append(snapshot(aggregate))
        return taken[-1]

    def load() -> None:
        while True:
            for key in keys:
                record(aggregate, key, [3], 9)
            aggregate.count_error("GET", "/1", "500")
            gevent.sleep(0)

    endpoint.collect = collect
    loader = gevent.spawn(load)
    try:
        text = endpoint.ask().text
    finally:
        loader.kill()
    found = parsed_samples(text, openmetrics=False)
    assert found == expected_samples(taken[0])
    assert len({v for (name, _), v in found.items() if name == "locust_request_duration_seconds_count"}) == 1
    assert aggregate.total() > taken[0].run.requests.total  # type: ignore[union-attr]  # the load did go on


@pytest.mark.parametrize("path", ["/metrics", "/"])
def test_text_that_is_no_utf8_does_not_stop_scrapes(endpoint: Endpoint, path: str) -> None:
    """A file name or an environment variable with odd bytes reaches us as lone surrogates: the scrape goes on."""
    odd = b"shop-\xe9.py".decode("utf-8", "surrogateescape")
    endpoint.taken = snapshot(rich_aggregate(), info={"host": odd, "locustfile": odd}, run_id="run-1")
    answer = endpoint.start().ask(path)
    assert answer.status_code == 200
    if path == "/metrics":
        (labels,) = (
            dict(labels)
            for name, labels in parsed_samples(answer.text, openmetrics=False)
            if "_info" in name and "otel" not in name
        )
        assert labels["locustfile"] == "shop-?.py"


# ------------------------------------------------------------------------------------------------- web configuration


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _web_config() -> WebConfig:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    return WebConfig(headers={"X-Frame-Options": "deny"}, users={"prometheus": hashed})


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("header", [None, "Basic !", _basic("prometheus", "wrong"), _basic("nobody", "secret")])
def test_strangers_get_nothing(endpoint: Endpoint, path: str, method: str, header: str | None) -> None:
    """With users, nothing is answered without the right password, whatever is asked and however."""
    answer = endpoint.start(_web_config()).ask(path, method, **({"Authorization": header} if header else {}))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.headers["X-Frame-Options"] == "deny"
    assert answer.text in {"", "Unauthorized\n"}
    assert endpoint.scrapes == []


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy"])
def test_users_get_in(endpoint: Endpoint, path: str) -> None:
    """With the right password all is answered, with the headers of the file."""
    answer = endpoint.start(_web_config()).ask(path, Authorization=_basic("prometheus", "secret"))
    assert answer.status_code == 200
    assert answer.headers["X-Frame-Options"] == "deny"


# ------------------------------------------------------------------------------------------------------- the address


def test_url(endpoint: Endpoint) -> None:
    """The URL names the port that was really taken."""
    endpoint.start()
    assert endpoint.url.startswith("http://127.0.0.1:")
    assert not endpoint.url.endswith(":0")


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("localhost", "localhost")]
)
def test_url_of_other_hosts(host: str, shown: str) -> None:
    """The URL is one a person can open: every address is shown as this machine's."""
    server = MetricsServer(rich_snapshot, lambda _: None, ALL_SCOPES, None)
    server.start(host, 0)
    try:
        assert server.url.split("//")[1].split(":")[0] in {shown, "127.0.0.1"}
        assert requests.get(server.url, timeout=5).status_code == 200
    finally:
        server.stop()


# gevent leaves the socket it could not bind to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_port_that_is_taken(endpoint: Endpoint) -> None:
    """A port that somebody has is an error at the start, not later."""
    port = int(endpoint.start().url.rpartition(":")[2])
    second = MetricsServer(rich_snapshot, lambda _: None, ALL_SCOPES, None)
    with pytest.raises(OSError, match="in use"):
        second.start("127.0.0.1", port)
    second.stop()  # harmless


def test_stopped_means_gone(endpoint: Endpoint) -> None:
    """After a stop the port is free again."""
    endpoint.start()
    assert endpoint.server is not None
    endpoint.server.stop()
    with pytest.raises(requests.ConnectionError):
        endpoint.ask()
