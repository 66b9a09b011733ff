"""Tests of what is at each path, over sockets of this machine."""

from __future__ import annotations

import base64
import gzip
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import bcrypt
import pytest
import requests

from locust_otel.core.catalogue import Scope
from locust_otel.core.exposition import Exposition, Format
from locust_otel.core.families import MASTER_SCOPES, WORKER_SCOPES
from locust_otel.core.snapshot import SeriesKey, Snapshot
from locust_otel.exporter.endpoint import app
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.session import Origin
from tests.unit.endpoints import Live, Served, serving, settings, wait_until
from tests.unit.factories import Load, expected_samples, parsed_samples, record, rich_load, rich_snapshot, snapshot

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve a run in which nothing is zero."""
    with serving(rich_snapshot()) as made:
        yield made


def taken_of(served: Served) -> Snapshot:
    """Return what is served."""
    assert served.session.taken is not None
    return served.session.taken


def large(series: int, label_bytes: int = 0) -> Snapshot:
    """Return a snapshot with this many series, and labels that cannot be compressed much."""
    random = Random(7)
    aggregate = Load(slow_s=2.0, max_names=10_000)
    for number in range(series):
        record(
            aggregate,
            SeriesKey("GET", f"/{number}{random.randbytes(label_bytes).hex()}", "Shopper", "success"),
            [number],
        )
    return snapshot(aggregate)


def test_text(served: Served) -> None:
    """Without an `Accept` of ours the answer is text 0.0.4, sample by sample what the snapshot holds."""
    answer = served.ask()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert parsed_samples(answer.text, openmetrics=False) == expected_samples(taken_of(served))


def test_openmetrics(served: Served) -> None:
    """Who asks for OpenMetrics gets it, with the same numbers, and caches are told why it differs."""
    answer = served.ask(**OPENMETRICS)
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert {name.strip() for name in answer.headers["Vary"].split(",")} == {"Accept", "Accept-Encoding"}
    assert parsed_samples(answer.text, openmetrics=True) == expected_samples(taken_of(served))


@pytest.mark.parametrize("accept", [{}, OPENMETRICS], ids=["text", "openmetrics"])
def test_gzip_is_the_same_body(served: Served, accept: dict[str, str]) -> None:
    """The compressed body is the plain one, and smaller on the wire."""
    served.session.taken = large(200)
    plain = served.ask(**accept)
    with requests.get(
        f"{served.url}/metrics", headers={**accept, "Accept-Encoding": "gzip"}, timeout=5, stream=True
    ) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        raw = answer.raw.read(decode_content=False)
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 5
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nothing"])
def test_head_has_the_headers_and_no_body(served: Served, path: str) -> None:
    """HEAD answers as GET without a body, and the connection serves the next request."""
    with served.connect() as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404" if path == "/nothing" else b"HTTP/1.1 200")
    assert b"content-type: text/" in head
    assert rest.startswith(b"HTTP/1.1 200 OK")
    assert rest.endswith(b"\r\n\r\nHealthy\n")
    assert served.outcomes() == {"success": 0, "failure": 0}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/metrics", "/"])
def test_other_methods(served: Served, method: str, path: str) -> None:
    """Only GET and HEAD are answered, and the answer to others says so."""
    answer = served.ask(path, method)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert served.outcomes() == {"success": 0, "failure": 0}


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/Metrics", "/-/ready", "//metrics"])
def test_other_paths(served: Served, path: str) -> None:
    """Any other path is not found, and the answer names the right one."""
    answer = served.ask(path)
    assert answer.status_code == 404
    assert "/metrics" in answer.text


def test_query_strings_are_ignored(served: Served) -> None:
    """Prometheus may add parameters; they change nothing."""
    assert served.ask("/metrics?x=1").status_code == 200


def test_healthy(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The health check answers without a snapshot."""
    monkeypatch.setattr(served.session, "snapshot", lambda: pytest.fail("no snapshot is needed"))
    answer = served.ask("/-/healthy")
    assert (answer.status_code, answer.text) == (200, "Healthy\n")


def test_the_live_page(served: Served) -> None:
    """The page comes with its policy, and its numbers beside it; neither is cached."""
    page, data = served.ask("/"), served.ask("/-/page")
    assert (page.text, page.headers["Content-Type"]) == (Live.html, "text/html; charset=utf-8")
    assert page.headers["Content-Security-Policy"] == Live.policy
    assert data.json() == {"sentence": "It goes well."}
    assert data.headers["Content-Type"] == "application/json; charset=utf-8"
    assert {page.headers["Cache-Control"], data.headers["Cache-Control"]} == {"no-store"}


def test_the_numbers_of_the_live_page_are_compressed(served: Served) -> None:
    """Clients that accept gzip get it, with the same numbers; they come each second."""
    plain, compressed = served.ask("/-/page"), served.ask("/-/page", Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert compressed.content == plain.content
    assert {answer.headers["Vary"] for answer in (plain, compressed)} == {"Accept-Encoding"}


@pytest.mark.parametrize(
    ("origin", "scopes"),
    [
        (Origin(name="host-0", is_master=True), MASTER_SCOPES),
        (Origin(name="host-1", is_worker=True), WORKER_SCOPES),
    ],
    ids=["master", "worker"],
)
def test_scopes(origin: Origin, scopes: frozenset[Scope]) -> None:
    """Where workers serve their own numbers, each process shows its part."""
    served = Served(settings(export_from="workers"), origin)
    try:
        served.session.taken = rich_snapshot()
        found = parsed_samples(served.ask().text, openmetrics=False)
        assert found == expected_samples(served.session.taken, scopes)
    finally:
        served.stop()


# --------------------------------------------------------------------------------------------------------- scrapes


def test_a_scrape_is_noted(served: Served) -> None:
    """After each answer it is known who came, with which timeout, how many requests it got, and how long it took."""
    served.ask(User_Agent="Prometheus/3.5.3", X_Prometheus_Scrape_Timeout_Seconds="10.5")
    served.ask(User_Agent="curl", X_Prometheus_Scrape_Timeout_Seconds="soon")
    scrapers, run = served.endpoint._scrapers, taken_of(served).run
    assert run is not None
    assert scrapers.last_total(run.run_id) == run.requests.total == 13
    assert {client: s.intervals_s for client, s in scrapers._scrapers.items()} == {
        ("127.0.0.1", "Prometheus/3.5.3"): (10.5,),
        ("127.0.0.1", "curl"): (),
    }
    assert served.outcomes() == {"success": 2, "failure": 0}
    assert all(0 <= export.seconds < 5 for export in served.session.exports.counts())


@pytest.mark.parametrize("is_final", [False, True])
def test_final_values_are_noted(served: Served, is_final: bool) -> None:
    """Whether a scraper is awaited depends on whether it got the final values."""
    served.session.taken = replace(rich_snapshot(), is_final=is_final)
    served.ask(User_Agent="Prometheus/3.5.3", X_Prometheus_Scrape_Timeout_Seconds="10")
    assert list(served.endpoint._scrapers.awaited("run-1")) == ([] if is_final else ["127.0.0.1"])


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_client_that_hangs_up_is_a_failure(served: Served, encoding: str) -> None:
    """A client that resets the connection in the middle was not delivered to, and the next one is served."""
    served.session.taken = large(2_000, 2_000)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\n\r\n".encode())
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: sum(served.outcomes().values()))
    assert served.outcomes() == {"success": 0, "failure": 1}
    assert served.endpoint._scrapers.last_total("run-1") is None
    served.session.taken = rich_snapshot()
    assert served.ask().status_code == 200
    assert served.outcomes() == {"success": 1, "failure": 1}


def test_scrapes_that_come_at_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rendering is under way at a time; scrapes that wait for the next one share it, and each is noted."""
    taken, under_way, snapshot_of = 0, 0, served.session.snapshot

    def counted() -> Snapshot:
        nonlocal taken, under_way
        assert under_way == 0
        taken, under_way = taken + 1, 1
        time.sleep(0.2)
        under_way = 0
        return snapshot_of()

    monkeypatch.setattr(served.session, "snapshot", counted)
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(served.ask().text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = expected_samples(taken_of(served))
    assert [parsed_samples(text, openmetrics=False) == expected for text in texts] == [True] * 8
    assert taken in {1, 2, 3}  # 2, unless a thread starts late
    wait_until(lambda: served.outcomes()["success"] == 8)


def test_no_scrape_gets_values_from_before_it_came(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape that comes while another one is rendered gets newer values."""
    snapshot_of, texts, has_begun = served.session.snapshot, [], threading.Event()

    def slow() -> Snapshot:
        before = snapshot_of()
        has_begun.set()
        time.sleep(0.1)
        return before

    monkeypatch.setattr(served.session, "snapshot", slow)
    first = threading.Thread(target=lambda: texts.append(served.ask().text))
    first.start()
    has_begun.wait(3)
    later = served.session.taken = snapshot(rich_load(), run_id="run-2")
    assert parsed_samples(served.ask().text, openmetrics=False) == expected_samples(later)
    first.join()
    assert "run-1" in texts[0]


def test_what_nobody_asks_for_any_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rendered series of a format are kept for a while after its last scrape, and then go."""
    monkeypatch.setattr(app, "KEPT_S", 0.5)
    with serving(rich_snapshot()) as served:
        expected = expected_samples(taken_of(served))
        expositions = expositions_of(served)
        served.ask(**OPENMETRICS)
        for _ in range(4):
            time.sleep(0.2)
            assert parsed_samples(served.ask().text, openmetrics=False) == expected
        assert list(expositions) == [Format.TEXT]
        wait_until(lambda: not expositions)
        assert parsed_samples(served.ask().text, openmetrics=False) == expected


def expositions_of(served: Served) -> dict[Format, Exposition]:
    """Return what is kept of each format."""
    wait_until(lambda: served.endpoint._server is not None)
    assert served.endpoint._server is not None
    application: Any = served.endpoint._server._uvicorn.config.app
    expositions: dict[Format, Exposition] = application._expositions
    return expositions


def test_a_fault_of_ours_is_a_500_and_logged(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in an answer is a failed scrape and a line in the log, and the next request is answered."""
    monkeypatch.setattr(served.session, "snapshot", lambda: 1 / 0)
    assert served.ask().status_code == 500
    assert served.outcomes() == {"success": 0, "failure": 1}
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["A request for /metrics failed"]
    assert served.ask("/-/healthy").status_code == 200


def test_a_half_request_holds_nobody_up(served: Served) -> None:
    """While one client dawdles over its request, another one is served."""
    with served.connect() as connection:
        connection.sendall(b"GET /metrics HT")
        assert served.ask().status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/"])
def test_text_that_is_no_utf8_does_not_stop_scrapes(served: Served, path: str) -> None:
    """A file name or an environment variable with odd bytes reaches us as lone surrogates: the scrape goes on."""
    odd = b"shop-\xe9.py".decode("utf-8", "surrogateescape")
    served.session.taken = snapshot(rich_load(), info={"host": odd, "locustfile": odd}, run_id="run-1")
    answer = served.ask(path)
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


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    """Serve with a user and a header."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": "default-src 'self'"}
    with serving(rich_snapshot(), web_config=WebConfig(headers=headers, users={"prometheus": hashed})) as made:
        yield made


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/page", "/-/healthy", "/-/mark", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("header", [None, "Basic !", _basic("prometheus", "wrong"), _basic("nobody", "secret")])
def test_strangers_get_nothing(guarded: Served, path: str, method: str, header: str | None) -> None:
    """With users, nothing is answered without the right password, whatever is asked and however."""
    before = guarded.outcomes()
    answer = guarded.ask(path, method, **({"Authorization": header} if header else {}))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert answer.headers["X-Frame-Options"] == "deny"
    assert answer.text in {"", "Unauthorized\n"}
    assert guarded.outcomes() == before


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/page", "/-/healthy"])
def test_users_get_in(guarded: Served, path: str) -> None:
    """With the right password all is answered, with the headers of the file in the place of our own."""
    answer = guarded.ask(path, Authorization=_basic("prometheus", "secret"))
    assert answer.status_code == 200
    assert answer.headers["X-Frame-Options"] == "deny"
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
