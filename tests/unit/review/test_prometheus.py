"""Tests of asking a Prometheus: what is refused, and that no credentials get anywhere else."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.prometheus import AUTHORIZATION, Prometheus, of_run

SECRET = "Bearer s3cr3t"
VECTOR = {"status": "success", "data": {"resultType": "vector", "result": []}}


class Server(HTTPServer):
    """Answers everything the same way, and keeps what it was asked."""

    answer: tuple[int, bytes, dict[str, str]] = (200, json.dumps(VECTOR).encode(), {})
    asked: list[tuple[str, str, str]]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        server.asked.append((self.path, body, self.headers.get("Authorization", "")))
        status, content, headers = server.answer
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815  # a redirect that is followed is a GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class has it
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Give a server on loopback."""
    monkeypatch.setenv("no_proxy", "*")
    server = Server(("127.0.0.1", 0), _Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def slug(server: Prometheus, promql: str = "up") -> str:
    """Return the slug of the refusal, which shows no secret."""
    with pytest.raises(ConfigurationError) as raised:
        server.query(promql)
    assert "s3cr3t" not in str(raised.value)
    return raised.value.slug


def test_samples(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query is sent as a form, with the header of the environment, under the prefix of the path."""
    result = [{"metric": {"__name__": "up", "job": "a"}, "value": [1.5, "7"]}, {"metric": {}, "histogram": [1, {}]}]
    answer = {"status": "success", "data": {"resultType": "vector", "result": result}, "warnings": ["some"]}
    server.answer = (200, json.dumps(answer).encode(), {})
    monkeypatch.setenv(AUTHORIZATION, SECRET)
    assert Prometheus.of_environment(f"{server.url}/prefix/").query('up{a="&"}') == [({"job": "a"}, 7.0)]
    assert server.asked == [("/prefix/api/v1/query", "query=up%7Ba%3D%22%26%22%7D&partial_response=false", SECRET)]


def test_samples_over_time(server: Server) -> None:
    """A range query has its steps, one for stored samples none; samples before the time asked for are left out."""
    result = [{"metric": {"__name__": "up", "job": "a"}, "values": [[9.5, "1"], [10, "2"], [11.5, "NaN"]]}]
    answer = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    server.answer = (200, json.dumps(answer).encode(), {})
    ((labels, samples),) = Prometheus(server.url).range("up", 9.5, 11.5, 0.5)
    assert labels == {"job": "a"}
    assert samples[:2] == [(9.5, 1.0), (10.0, 2.0)]
    assert math.isnan(samples[2][1])
    ((_, samples),) = Prometheus(server.url).stored(of_run("up", 'a"b'), 10.0, 11.5)
    assert [at for at, _ in samples] == [10.0, 11.5]
    assert [(path, parse_qs(body)) for path, body, _ in server.asked] == [
        ("/api/v1/query_range", {
            "query": ["up"], "start": ["9.500"], "end": ["11.500"], "step": ["0.5"], "partial_response": ["false"],
        }),
        ("/api/v1/query", {"query": ['up{run_id="a\\"b"}[2s] @ 11.500'], "partial_response": ["false"]}),
    ]  # fmt: skip


def test_alert_rules(server: Server) -> None:
    """The alerts are those of all groups; where the server does not say, nothing is known."""
    rules = [{"name": "A", "type": "alerting"}, {"name": "a:b", "type": "recording"}, {"name": "B", "type": "alerting"}]
    server.answer = (200, json.dumps({"data": {"groups": [{"rules": rules[:1]}, {"rules": rules[1:]}]}}).encode(), {})
    assert Prometheus(server.url).alert_rules() == {"A", "B"}
    for answer in ((404, b""), (200, b"<html>"), (200, b"{}"), (200, b'{"data": {"groups": [{}]}}')):
        server.answer = (*answer, {})
        assert Prometheus(server.url).alert_rules() is None
    assert {path for path, _, _ in server.asked} == {"/api/v1/rules?type=alert"}


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (401, b"", "refused"), (403, b"", "refused"), (404, b"", "answer"), (400, b"{}", "answer"),
        (503, b"", "answer"), (200, b"<html>", "answer"),
        (200, b"[]", "answer"), (200, b'{"status": "error"}', "answer"),
        (200, b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}', "answer"),
        (200, json.dumps(VECTOR).replace("[]", '[{"metric": {}, "value": [1, "NaN"]}]').encode(), "answer"),
        (200, json.dumps(VECTOR).replace("[]", '[{"metric": 1, "value": [1, "1"]}]').encode(), "answer"),
        (200, b"[" * 100_000, "answer"), (200, b" " * 3000, "too-large"),
    ],
)  # fmt: skip
def test_other_answers(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, content: bytes, expected: str
) -> None:
    """What is no answer of a Prometheus is refused."""
    if expected == "too-large":
        monkeypatch.setattr("locust_otel.review.prometheus.MAX_BYTES", 2000)
    server.answer = (status, content, {})
    assert slug(Prometheus(server.url, SECRET)) == f"check-prometheus-{expected}"


def test_a_redirect_gets_no_credentials(server: Server) -> None:
    """It is not followed: the header would go to another host."""
    server.answer = (302, b"", {"Location": f"{server.url}/elsewhere"})
    assert slug(Prometheus(server.url, SECRET)) == "check-prometheus-answer"
    assert len(server.asked) == 1


def test_nobody_there(server: Server) -> None:
    """A port nobody listens on, and a server that says nothing in time, cannot be reached."""
    assert slug(Prometheus("http://127.0.0.1:1", SECRET)) == "check-prometheus-unreachable"
    server.answer = (200, b"", {"Content-Length": "10"})
    assert slug(Prometheus(server.url, SECRET, timeout_s=0.2)) in {
        "check-prometheus-unreachable", "check-prometheus-answer",
    }  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "", "prometheus:9090", "ftp://prometheus", "file:///etc/passwd", "http://", "http://a:port", "http://a:99999",
        "http://a:0", "http://a/?x=1", "http://a/#x", "http://a b", "http://ä", "http://a\n",
        "http://user:s3cr3t@prometheus:9090",
    ],
)  # fmt: skip
def test_urls(url: str) -> None:
    """What is not the URL of a server is refused, and a password in it is not shown."""
    with pytest.raises(ConfigurationError) as raised:
        Prometheus(url)
    assert raised.value.slug == "check-prometheus-url"
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize("value", ["Bearer s3cr3t\nX-Other: 1", "Bearer s3cr3t ü"])
def test_a_header_of_two_lines(value: str) -> None:
    """It is refused, and not shown."""
    with pytest.raises(ConfigurationError) as raised:
        Prometheus("http://a", value)
    assert raised.value.slug == "check-prometheus-authorization"
    assert "s3cr3t" not in str(raised.value)
