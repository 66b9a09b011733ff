"""Tests of the answer at each path, in this process."""

from __future__ import annotations

import asyncio
import base64
import gzip
import threading
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import bcrypt
import pytest

from locust_otel.core.catalogue import Scope
from locust_otel.core.exposition import Format
from locust_otel.core.families import MASTER_SCOPES, WORKER_SCOPES
from locust_otel.core.snapshot import SeriesKey, Snapshot
from locust_otel.exporter.endpoint import app
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.request import PIECE_BYTES
from locust_otel.exporter.session import Origin
from tests.unit.endpoints import LIVE_PAGE, Response, Served, serving
from tests.unit.factories import Load, expected_samples, parsed_samples, record, rich_load, rich_snapshot, snapshot

OPENMETRICS: dict[str, Any] = {"Accept": "application/openmetrics-text;version=1.0.0"}
PATHS = ("/metrics", "/", "/-/page", "/-/healthy")


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve a run in which nothing is zero."""
    with serving(rich_snapshot()) as made:
        yield made


def served_samples(served: Served, scopes: frozenset[Scope] | None = None) -> object:
    """Return the samples of the snapshot that is served."""
    assert served.session.taken is not None
    return expected_samples(served.session.taken, *([scopes] if scopes else []))


def large(series: int, label_bytes: int = 0) -> Snapshot:
    """Return a snapshot with this many series, and labels that cannot be compressed much."""
    random, load = Random(7), Load(slow_s=2.0, max_names=10_000)
    for number in range(series):
        name = f"/{number}{random.randbytes(label_bytes).hex()}"
        record(load, SeriesKey("GET", name, "Shopper", "success"), [number])
    return snapshot(load)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ({}, "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
    ids=["text", "openmetrics"],
)
def test_formats(served: Served, accept: dict[str, str], content_type: str) -> None:
    """The answer has the format that the client prefers, and each sample of the snapshot."""
    response = served.ask(**accept)
    assert (response.status, response.headers["content-type"]) == (200, content_type)
    assert response.headers["vary"] == "Accept, Accept-Encoding"
    assert parsed_samples(response.text, openmetrics=bool(accept)) == served_samples(served)


@pytest.mark.parametrize("accept", [{}, OPENMETRICS], ids=["text", "openmetrics"])
def test_gzip(served: Served, accept: dict[str, str]) -> None:
    """The compressed body is the plain one, and smaller."""
    served.session.taken = large(200)
    plain, compressed = served.ask(**accept), served.ask(**accept, Accept_Encoding="gzip")
    assert compressed.headers == {**plain.headers, "content-encoding": "gzip"}
    assert gzip.decompress(compressed.content) == plain.content
    assert len(compressed.content) < len(plain.content) / 5


def test_head(served: Served) -> None:
    """A HEAD of the metrics has the headers of a GET and no body, and is no scrape."""
    plain, head = served.ask(Accept_Encoding="gzip"), served.ask(method="HEAD", Accept_Encoding="gzip")
    assert (head.status, head.headers, head.content) == (200, plain.headers, b"")
    assert served.outcomes == {"success": 1, "failure": 0}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/metrics", "/"])
def test_other_methods(served: Served, method: str, path: str) -> None:
    """Other methods than GET and HEAD are refused; their bodies are not read, so the connection is closed."""
    response = served.ask(path, method, b"x" * 10)
    assert (response.status, response.headers["allow"], response.headers["connection"]) == (405, "GET, HEAD", "close")
    assert served.outcomes == {"success": 0, "failure": 0}


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/Metrics", "/-/ready", "//metrics"])
def test_other_paths(served: Served, path: str) -> None:
    """No other path exists, and the answer names the right one."""
    response = served.ask(path)
    assert (response.status, response.text) == (404, "Not found. The metrics are at /metrics.\n")


def test_healthy(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The health check needs no snapshot."""
    monkeypatch.setattr(served.session, "snapshot", lambda: pytest.fail("it took a snapshot"))
    response = served.ask("/-/healthy")
    assert (response.status, response.text, "connection" in response.headers) == (200, "Healthy\n", False)


def test_the_live_page(served: Served) -> None:
    """The page comes with its policy, and its values apart from it; neither is cached."""
    page, data = served.ask("/"), served.ask("/-/page")
    assert (page.text, page.headers["content-type"]) == (LIVE_PAGE.html, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"] == LIVE_PAGE.policy
    assert (data.json, data.headers["content-type"]) == (LIVE_PAGE.data(), "application/json; charset=utf-8")
    assert {page.headers["cache-control"], data.headers["cache-control"]} == {"no-store"}
    compressed = served.ask("/-/page", Accept_Encoding="gzip")
    assert (compressed.headers["content-encoding"], gzip.decompress(compressed.content)) == ("gzip", data.content)
    assert {data.headers["vary"], compressed.headers["vary"]} == {"Accept-Encoding"}


@pytest.mark.parametrize(
    ("origin", "scopes"),
    [
        (Origin(name="host-0", is_master=True), MASTER_SCOPES),
        (Origin(name="host-1", is_worker=True), WORKER_SCOPES),
    ],
    ids=["master", "worker"],
)
def test_scopes(origin: Origin, scopes: frozenset[Scope]) -> None:
    """Where workers export their own numbers, each process serves its part."""
    with serving(rich_snapshot(), origin, export_from="workers") as served:
        assert parsed_samples(served.ask().text, openmetrics=False) == served_samples(served, scopes)


# --------------------------------------------------------------------------------------------------------- scrapes


def test_a_scrape_is_noted(served: Served) -> None:
    """After each answer the client, its timeout, the number of requests and the time of the answer are known."""
    served.ask(User_Agent="Prometheus/3.5.3", X_Prometheus_Scrape_Timeout_Seconds="10.5")
    served.ask(User_Agent="curl", X_Prometheus_Scrape_Timeout_Seconds="soon")
    scrapers = served.endpoint._scrapers
    assert scrapers.last_total("run-1") == 13
    assert {client: scraper.intervals_s for client, scraper in scrapers._scrapers.items()} == {
        ("127.0.0.1", "Prometheus/3.5.3"): (10.5,),
        ("127.0.0.1", "curl"): (),
    }
    assert served.outcomes == {"success": 2, "failure": 0}
    assert all(0 < export.seconds < 5 for export in served.session.exports.counts() if export.outcome == "success")


@pytest.mark.parametrize("is_final", [False, True])
def test_final_values_are_noted(served: Served, is_final: bool) -> None:
    """The endpoint waits for a scraper that does not have the final values."""
    served.session.taken = replace(rich_snapshot(), is_final=is_final)
    served.ask(User_Agent="Prometheus/3.5.3", X_Prometheus_Scrape_Timeout_Seconds="10")
    assert list(served.endpoint._scrapers.awaited("run-1")) == ([] if is_final else ["127.0.0.1"])


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("taken", [2, 3])
def test_a_client_that_disconnects_is_a_failure(served: Served, encoding: str, taken: int) -> None:
    """An answer that was not taken whole is not delivered, and no further piece is sent."""
    served.session.taken = large(20, 2_000)
    response = served.ask(taken=taken, Accept_Encoding=encoding)
    assert PIECE_BYTES <= len(response.content) < (taken - 1) * (PIECE_BYTES + 2**20)
    assert len(response.content) < len(served.ask(Accept_Encoding=encoding).content)
    assert served.outcomes == {"success": 1, "failure": 1}


def test_a_client_that_disconnects_at_the_end_is_a_failure(served: Served) -> None:
    """If the last bytes do not leave this process, the scrape counts as failed, and the scraper has no values."""
    served.ask(taken=3)  # headers, one piece, the end
    assert served.outcomes == {"success": 0, "failure": 1}
    assert served.endpoint._scrapers.last_total("run-1") is None


def test_scrapes_at_once_share_a_rendering(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes of one format that wait at the same time get the same rendering, and each is noted."""
    renderings, snapshot_of = 0, served.session.snapshot

    def counted() -> Snapshot:
        nonlocal renderings
        renderings += 1
        return snapshot_of()

    async def scrapes() -> list[Response]:
        return await asyncio.gather(*(served.answer() for _ in range(8)), served.answer(**OPENMETRICS))

    monkeypatch.setattr(served.session, "snapshot", counted)
    *texts, openmetrics = asyncio.run(scrapes())
    assert renderings == 2
    assert len({response.content for response in texts}) == 1
    assert parsed_samples(texts[0].text, openmetrics=False) == served_samples(served)
    assert parsed_samples(openmetrics.text, openmetrics=True) == served_samples(served)
    assert served.outcomes["success"] == 9


def test_a_scrape_gets_no_values_from_before_it_came(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape that comes during a rendering waits for the next one, which has newer values."""
    renderings, snapshot_of = 0, served.session.snapshot
    has_begun, may_end = threading.Event(), threading.Event()

    def held() -> Snapshot:
        nonlocal renderings
        renderings += 1
        taken = snapshot_of()
        has_begun.set()
        assert may_end.wait(5)
        return taken

    async def scrapes() -> tuple[Response, Response]:
        first = asyncio.create_task(served.answer())
        assert await asyncio.to_thread(has_begun.wait, 5)
        served.session.taken = snapshot(rich_load(), run_id="run-2")
        second = asyncio.create_task(served.answer())
        for _ in range(5):
            await asyncio.sleep(0)
        assert renderings == 1
        may_end.set()
        return await first, await second

    monkeypatch.setattr(served.session, "snapshot", held)
    first, second = asyncio.run(scrapes())
    assert 'run_id="run-1"' in first.text
    assert parsed_samples(second.text, openmetrics=False) == served_samples(served)


def test_renderings_of_unused_formats_are_dropped(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rendered series of a format are kept for some time after its last scrape, which each scrape extends."""

    async def scrapes() -> None:
        first, timer = await served.answer(), expiries[Format.TEXT]
        kept = expositions[Format.TEXT]
        assert (await served.answer()).content == first.content
        assert (timer.cancelled(), expositions[Format.TEXT]) == (True, kept)
        assert 100 < expiries[Format.TEXT].when() - asyncio.get_running_loop().time() <= 180
        monkeypatch.setattr(app, "KEPT_S", 0.0)
        await served.answer(**OPENMETRICS)
        assert list(expositions) == [Format.TEXT]
        await served.answer()
        assert expositions == {}
        assert (await served.answer()).content == first.content

    expositions, expiries = served.application._expositions, served.application._expiries
    asyncio.run(scrapes())


def test_an_error_is_logged(served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An error in an answer is a failed scrape and a line in the log; the next request is answered."""
    with monkeypatch.context() as patch:
        patch.setattr(served.session, "snapshot", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            served.ask()
    assert served.outcomes == {"success": 0, "failure": 1}
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["A request for /metrics failed"]
    assert served.ask().status == 200


def test_text_that_is_not_utf8(served: Served) -> None:
    """Bytes of a file name that are not UTF-8 arrive as lone surrogates, and do not stop scrapes."""
    odd = b"shop-\xe9.py".decode("utf-8", "surrogateescape")
    served.session.taken = snapshot(rich_load(), info={"host": odd, "locustfile": odd}, run_id="run-1")
    samples = parsed_samples(served.ask().text, openmetrics=False)
    (labels,) = (dict(labels) for name, labels in samples if name == "locust_run_info")
    assert labels["locustfile"] == "shop-?.py"


# ------------------------------------------------------------------------------------------------- web configuration


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    """Serve with a user and headers."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": "default-src 'self'"}
    with serving(rich_snapshot(), web_config=WebConfig(headers=headers, users={"prometheus": hashed})) as made:
        yield made


@pytest.mark.parametrize("path", [*PATHS, "/-/mark", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("header", [{}, {"Authorization": _basic("prometheus", "wrong")}], ids=["none", "wrong"])
def test_strangers_get_nothing(guarded: Served, path: str, method: str, header: dict[str, str]) -> None:
    """With users, every request without a right password is refused."""
    before = guarded.outcomes
    response = guarded.ask(path, method, **header)
    assert (response.status, response.text) == (401, "Unauthorized\n")
    assert response.headers["www-authenticate"].startswith("Basic ")
    assert response.headers["x-frame-options"] == "deny"
    assert guarded.outcomes == before


@pytest.mark.parametrize("path", PATHS)
def test_users_are_answered(guarded: Served, path: str) -> None:
    """With the right password each path is answered, and the headers of the file replace our own."""
    response = guarded.ask(path, Authorization=_basic("prometheus", "secret"))
    assert (response.status, response.headers["x-frame-options"]) == (200, "deny")
    assert response.headers["content-security-policy"] == "default-src 'self'"
