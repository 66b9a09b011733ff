"""Tests of the client of a Prometheus: requests and responses, errors without credentials, and exporters of a run."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import parse_qs

import pytest

from locust_otel.core import web
from locust_otel.core.catalogue import REQUESTS
from locust_otel.core.errors import ConfigurationError
from locust_otel.review import prometheus
from locust_otel.review.prometheus import (
    AUTHORIZATION,
    AlertRule,
    Exporter,
    Prometheus,
    Sample,
    by_exporter,
    exporters_of_requests,
    of_run,
)

SECRET = "Bearer s3cr3t"
VECTOR = '{"status": "success", "data": {"resultType": "vector", "result": []}}'


class Server:
    """Server that gives each response in turn, and the last one again, with the requests that it got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *bodies: Any, status: int = 200) -> None:
        self.requests: list[tuple[str, bytes | None, str]] = []
        self._replies = [
            web.Reply(status, body if isinstance(body, bytes) else json.dumps(body).encode()) for body in bodies
        ]
        monkeypatch.setattr("locust_otel.core.web.send", self._send)

    def _send(self, url: str, body: bytes | None, **options: Any) -> web.Reply:
        assert options["content_type"] == "application/x-www-form-urlencoded"
        self.requests.append((url, body, options["authorization"]))
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


def test_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query is a POST of a form below the path of the URL, with the header of the environment."""
    result = [{"metric": {"__name__": "up", "job": "a"}, "value": [1.5, "7"]}, {"metric": {}, "histogram": [1, {}]}]
    data = {"resultType": "vector", "result": result}
    server = Server(monkeypatch, {"status": "success", "data": data, "warnings": ["some"]})
    monkeypatch.setenv(AUTHORIZATION, SECRET)
    assert Prometheus.of_environment("http://a/prefix/").query('up{a="&"}') == [({"job": "a"}, 7.0)]
    body = b"query=up%7Ba%3D%22%26%22%7D&partial_response=false"
    assert server.requests == [("http://a/prefix/api/v1/query", body, SECRET)]


def test_samples_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range query has steps, one for stored samples has none and leaves out samples before its begin."""
    result = [{"metric": {"__name__": "up", "job": "a"}, "values": [[9.5, "1"], [10, "2"], [11.5, "NaN"]]}]
    server = Server(monkeypatch, {"status": "success", "data": {"resultType": "matrix", "result": result}})
    ((labels, samples),) = Prometheus("http://a").range("up", 9.5, 11.5, 0.5)
    ((_, stored),) = Prometheus("http://a").stored(of_run("up", 'a"b'), 10.0, 11.5)
    assert labels == {"job": "a"}
    assert samples[:2] == [(9.5, 1.0), (10.0, 2.0)]
    assert math.isnan(samples[2][1])
    assert [time for time, _ in stored] == [10.0, 11.5]
    assert [(url, parse_qs((body or b"").decode())) for url, body, _ in server.requests] == [
        ("http://a/api/v1/query_range", {
            "query": ["up"], "start": ["9.500"], "end": ["11.500"], "step": ["0.5"], "partial_response": ["false"],
        }),
        ("http://a/api/v1/query", {"query": ['up{run_id="a\\"b"}[2s] @ 11.500'], "partial_response": ["false"]}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bodies", "alerts"),
    [
        ([{"data": {"groups": [
            {"rules": [{"name": "A", "type": "alerting", "labels": {"severity": "critical"}, "query": "up == 0"}]},
            {"rules": [{"name": "a:b", "type": "recording"}, {"name": "B", "type": "alerting"}]},
        ]}}], [AlertRule("A", {"severity": "critical"}, "up == 0"), AlertRule("B", {}, "")]),
        ([{"data": {"groups": []}}, {"data": {"version": "3.5.0", "revision": "abc"}}], []),
        ([{"data": {"groups": []}}, {"data": {"version": "2.24.0"}}], None),  # VictoriaMetrics
        ([b"<html>"], None), ([{}], None), ([{"data": {"groups": [{}]}}], None),
    ],
)  # fmt: skip
def test_alert_rules(monkeypatch: pytest.MonkeyPatch, bodies: list[Any], alerts: list[AlertRule] | None) -> None:
    """The rules are those of all groups, and None if the server has no rules of its own."""
    server = Server(monkeypatch, *bodies)
    assert Prometheus("http://a").alert_rules() == alerts
    paths = ["rules?type=alert", "status/buildinfo"][: len(server.requests)]
    assert server.requests == [(f"http://a/api/v1/{path}", None, "") for path in paths]


def refusal(server: Prometheus) -> ConfigurationError:
    """Return the error of a query, without the secret."""
    with pytest.raises(ConfigurationError) as raised:
        server.query("up")
    assert raised.value.where == "--prometheus"
    assert "http://a/api/v1/query" in raised.value.found
    assert "s3cr3t" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("status", "body", "slug"),
    [
        (401, b"", "refused"), (403, b"", "refused"), (302, b"", "answer"), (404, b"", "answer"),
        (503, b"", "answer"), (200, b"<html>", "answer"), (200, b"[]", "answer"), (200, b"[" * 100_000, "answer"),
        (200, b'{"status": "error"}', "answer"), (200, VECTOR.replace("vector", "scalar").encode(), "answer"),
        (200, VECTOR.replace("[]", '[{"metric": {}, "value": [1, "NaN"]}]').encode(), "answer"),
        (200, VECTOR.replace("[]", '[{"metric": 1, "value": [1, "1"]}]').encode(), "answer"),
        (200, b" " * 3000, "too-large"),
    ],
)  # fmt: skip
def test_responses_of_other_servers(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, slug: str) -> None:
    """A response that is not that of a Prometheus is an error."""
    monkeypatch.setattr(prometheus, "MAX_BYTES", 2000 if slug == "too-large" else 10**6)
    Server(monkeypatch, body, status=status)
    assert refusal(Prometheus("http://a", SECRET)).slug == f"check-prometheus-{slug}"


def test_an_unreachable_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the URL and the reason of the system."""

    def send(*_: Any, **options: Any) -> None:
        assert options["timeout_s"] == 0.2
        raise web.UnreachableError(ConnectionRefusedError(111, "Connection refused"))

    monkeypatch.setattr("locust_otel.core.web.send", send)
    error = refusal(Prometheus("http://a", SECRET, timeout_s=0.2))
    assert error.slug == "check-prometheus-unreachable"
    assert error.found == "http://a/api/v1/query cannot be reached: Connection refused."


@pytest.mark.parametrize(
    ("url", "value", "slug"),
    [
        ("prometheus:9090", "", "url"), ("http://user:s3cr3t@prometheus:9090", "", "url"),
        ("http://a", "Bearer s3cr3t\nX-Other: 1", "authorization"),
    ],
)  # fmt: skip
def test_bad_settings(url: str, value: str, slug: str) -> None:
    """A URL that is not that of a server, and a header of two lines, are errors without the secret."""
    with pytest.raises(ConfigurationError) as raised:
        Prometheus(url, value)
    assert raised.value.slug == f"check-prometheus-{slug}"
    assert "s3cr3t" not in str(raised.value)


def test_series_by_exporter() -> None:
    """The exporter is what is left of the labels without those of the metric and of buckets."""
    labels = {"run_id": "r1", "method": "GET", "name": "/", "user_class": "U", "outcome": "success"}
    a = [Sample({**labels, "job": "j", "instance": "a", "le": le}, 1.0) for le in ("1", "2")]
    b = Sample({**labels, "job": "j", "instance": "b"}, 1.0)
    groups = by_exporter(REQUESTS, [*a, b])
    assert [(dict(exporter).get("instance"), series) for exporter, series in groups.items()] == [("a", a), ("b", [b])]
    assert all("le" not in dict(exporter) and "method" not in dict(exporter) for exporter in groups)


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
    """An exporter with the whole run is enough. Workers add up, each instance once; several jobs may have the same."""
    exporters, certain = exporters_of_requests(weights, of_run)
    assert (set(exporters), len(exporters), certain) == (expected, len(expected), is_certain)
