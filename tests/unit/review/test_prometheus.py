"""Tests of asking a Prometheus: what is refused, and that no credentials get anywhere else."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import parse_qs

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.prometheus import AUTHORIZATION, AlertRule, Exporter, Prometheus, exporters_of_requests, of_run
from tests.unit.otlp_sinks import HttpSink, reply

SECRET = "Bearer s3cr3t"
VECTOR = {"status": "success", "data": {"resultType": "vector", "result": []}}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask loopback directly."""
    monkeypatch.setenv("no_proxy", "*")


def answering(value: Any, status: int = 200, **headers: str) -> HttpSink:
    """Return a server that answers everything with bytes, or with a value as JSON."""
    return HttpSink(reply(status, value if isinstance(value, bytes) else json.dumps(value).encode(), **headers))


def base(server: HttpSink) -> str:
    """Return the URL of a server."""
    return f"http://127.0.0.1:{server.port}"


def slug(server: Prometheus, promql: str = "up") -> str:
    """Return the slug of the refusal, which shows no secret."""
    with pytest.raises(ConfigurationError) as raised:
        server.query(promql)
    assert "s3cr3t" not in str(raised.value)
    return raised.value.slug


def test_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query is sent as a form, with the header of the environment, under the prefix of the path."""
    result = [{"metric": {"__name__": "up", "job": "a"}, "value": [1.5, "7"]}, {"metric": {}, "histogram": [1, {}]}]
    answer = {"status": "success", "data": {"resultType": "vector", "result": result}, "warnings": ["some"]}
    monkeypatch.setenv(AUTHORIZATION, SECRET)
    with answering(answer) as server:
        assert Prometheus.of_environment(f"{base(server)}/prefix/").query('up{a="&"}') == [({"job": "a"}, 7.0)]
    (request,) = server.received
    assert request.path == "/prefix/api/v1/query"
    assert request.body == b"query=up%7Ba%3D%22%26%22%7D&partial_response=false"
    assert request.headers["authorization"] == SECRET
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_samples_over_time() -> None:
    """A range query has its steps, one for stored samples none; samples before the time asked for are left out."""
    result = [{"metric": {"__name__": "up", "job": "a"}, "values": [[9.5, "1"], [10, "2"], [11.5, "NaN"]]}]
    with answering({"status": "success", "data": {"resultType": "matrix", "result": result}}) as server:
        ((labels, samples),) = Prometheus(base(server)).range("up", 9.5, 11.5, 0.5)
        ((_, stored),) = Prometheus(base(server)).stored(of_run("up", 'a"b'), 10.0, 11.5)
    assert labels == {"job": "a"}
    assert samples[:2] == [(9.5, 1.0), (10.0, 2.0)]
    assert math.isnan(samples[2][1])
    assert [at for at, _ in stored] == [10.0, 11.5]
    assert [(request.path, parse_qs(request.body.decode())) for request in server.received] == [
        ("/api/v1/query_range", {
            "query": ["up"], "start": ["9.500"], "end": ["11.500"], "step": ["0.5"], "partial_response": ["false"],
        }),
        ("/api/v1/query", {"query": ['up{run_id="a\\"b"}[2s] @ 11.500'], "partial_response": ["false"]}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "answer", "alerts"),
    [
        (200, {"data": {"groups": [
            {"rules": [{"name": "A", "type": "alerting", "labels": {"severity": "critical"}, "query": "up == 0"}]},
            {"rules": [{"name": "a:b", "type": "recording"}, {"name": "B", "type": "alerting"}]},
        ]}}, [AlertRule("A", {"severity": "critical"}, "up == 0"), AlertRule("B", {}, "")]),
        (404, b"", None), (200, b"<html>", None), (200, b"{}", None), (200, b'{"data": {"groups": [{}]}}', None),
    ],
)  # fmt: skip
def test_alert_rules(status: int, answer: Any, alerts: list[AlertRule] | None) -> None:
    """The alerts are those of all groups; where the server does not say, nothing is known."""
    with answering(answer, status) as server:
        assert Prometheus(base(server)).alert_rules() == alerts
    assert server.received[0].path == "/api/v1/rules?type=alert"


@pytest.mark.parametrize(
    ("build", "rules"), [({"version": "3.5.0", "revision": "abc"}, []), ({"version": "2.24.0"}, None)]
)
def test_no_alert_rules(build: dict[str, str], rules: list[AlertRule] | None) -> None:
    """A Prometheus without rules says so; VictoriaMetrics, which has no rules of its own, does not say."""
    answers = [{"status": "success", "data": {"groups": []}}, {"status": "success", "data": build}]
    with HttpSink(*(reply(200, json.dumps(answer).encode()) for answer in answers)) as server:
        assert Prometheus(base(server)).alert_rules() == rules
    assert server.received[1].path == "/api/v1/status/buildinfo"


def test_errors_name_the_url() -> None:
    """The address that was tried is in the error, with the path of the API."""
    with pytest.raises(ConfigurationError) as raised:
        Prometheus("http://127.0.0.1:1/prefix").query("up")
    problem = raised.value
    assert problem.where == "--prometheus"
    assert problem.found == "http://127.0.0.1:1/prefix/api/v1/query cannot be reached: Connection refused."
    for status, content in ((401, b""), (503, b""), (200, b"<html>"), (200, b'{"status": "error"}')):
        with answering(content, status) as server, pytest.raises(ConfigurationError) as raised:
            Prometheus(base(server)).range("up", 0, 1, 1)
        assert f"{base(server)}/api/v1/query_range" in raised.value.found


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
def test_other_answers(monkeypatch: pytest.MonkeyPatch, status: int, content: bytes, expected: str) -> None:
    """What is no answer of a Prometheus is refused."""
    if expected == "too-large":
        monkeypatch.setattr("locust_otel.review.prometheus.MAX_BYTES", 2000)
    with answering(content, status) as server:
        assert slug(Prometheus(base(server), SECRET)) == f"check-prometheus-{expected}"


def test_a_redirect_gets_no_credentials() -> None:
    """It is not followed: the header would go to another host."""
    with answering(b"", 302, Location="/elsewhere") as server:
        assert slug(Prometheus(base(server), SECRET)) == "check-prometheus-answer"
    assert len(server.received) == 1


def test_nobody_there() -> None:
    """A port nobody listens on cannot be reached, nor a server that says nothing in time."""
    assert slug(Prometheus("http://127.0.0.1:1", SECRET)) == "check-prometheus-unreachable"
    with HttpSink(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n") as server:
        assert slug(Prometheus(base(server), SECRET, timeout_s=0.2)) == "check-prometheus-unreachable"


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


def exporter(job: str, instance: str, **more: str) -> Exporter:
    """Return the labels of an exporter."""
    return frozenset({"job": job, "instance": instance, **more}.items())


A, B = exporter("locust", "a"), exporter("locust", "b")
A_AGAIN, B_AGAIN = exporter("again", "a"), exporter("again", "b")
A_REPLICA = exporter("locust", "a", replica="2")
PUSHED = exporter("shop", "c")


@pytest.mark.parametrize(
    ("weights", "of_run", "expected", "is_certain"),
    [
        ({}, {A}, set(), True),
        ({A: 10, PUSHED: 11}, {A, PUSHED}, {PUSHED}, True),
        ({A: 10, B: 5}, {A}, {A}, True),
        ({A: 10, B: 5}, {PUSHED}, {A, B}, True),
        ({A: 10, B: 5, A_REPLICA: 9}, set(), {A, B}, True),
        ({A: 10, B: 5, A_AGAIN: 9, B_AGAIN: 6}, set(), {A, B_AGAIN}, True),
        ({A: 10, B: 5, B_AGAIN: 6}, set(), {A, B_AGAIN}, True),
        ({A: 10, B: 5, PUSHED: 12}, set(), {A, B}, False),
    ],
)
def test_exporters_of_requests(
    weights: dict[Exporter, float], of_run: set[Exporter], expected: set[Exporter], is_certain: bool
) -> None:
    """One that has the whole run is enough; workers add up, each once; other names of the same may be the same."""
    exporters, certain = exporters_of_requests(weights, of_run)
    assert (set(exporters), len(exporters), certain) == (expected, len(expected), is_certain)
