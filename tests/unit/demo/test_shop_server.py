"""Tests of the demo shop as a WSGI application, called without a server: its counts, controls and faults."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from locust_otel.demo.shop_server import Shop

KEY: dict[str, Any] = {"HTTP_X_API_KEY": "demo-key"}


class Client:
    """A shop without service times, and the client of its WSGI interface."""

    def __init__(self) -> None:
        self.shop = Shop(time_scale=0)

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        """Return status and JSON of an answer."""
        status: list[str] = []
        path, _, query = path.partition("?")
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO(body)}
        answer = b"".join(self.shop(environ | headers, lambda line, _: status.append(line)))
        return int(status[0].split()[0]), json.loads(answer or b"null")

    def counts(self) -> dict[tuple[str, str, int], int]:
        """Return the shop's own count by method, route and status."""
        rows = self.call("GET", "/_stats")[1]["requests"]
        return {(row["method"], row["route"], row["status"]): row["count"] for row in rows}


@pytest.fixture
def client() -> Client:
    """Make a shop and its client."""
    return Client()


@pytest.mark.parametrize(
    ("method", "path", "status", "row"),
    [
        ("GET", "/api/v1/data", 200, ("GET", "/api/v1/data")),
        ("GET", "/api/products/1", 401, ("GET", "/api/products/[id]")),
        ("GET", "/nowhere/else", 404, ("GET", "(unknown)")),
        ("GET", "/api/orders", 405, ("GET", "/api/orders")),
        ("DELETE", "/api/products/1", 405, ("DELETE", "/api/products/[id]")),
        ("HEAD", "/api/v1/data", 405, ("HEAD", "/api/v1/data")),
        ("BREW", "/api/v1/data", 405, ("(other)", "/api/v1/data")),
    ],
)
def test_each_answer_is_counted(client: Client, method: str, path: str, status: int, row: tuple[str, str]) -> None:
    """Status and route template are the expected ones, in the answer and in the count."""
    for number in (1, 2):
        answer = client.call(method, path, **KEY)
        assert answer[0] == status
        assert client.counts() == {(*row, status): number}
    assert client.call("DELETE", "/_stats") == (
        200, {"requests": [], "total": 0, "in_flight": 0, "refused": 0, "routes": []}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/_stats", 200),
        ("GET", "/_faults", 200),
        ("GET", "/_nope", 404),
        ("GET", "/_stats/x", 404),
        ("PUT", "/_stats", 405),
    ],
)
def test_control_routes_are_not_counted(client: Client, method: str, path: str, status: int) -> None:
    """Health, counts, faults and unknown control paths leave the count at 0."""
    assert client.call(method, path)[0] == status
    assert client.counts() == {}


def test_faults_are_active_from_post_to_delete(client: Client) -> None:
    """A fault is active on its route only, and is listed meanwhile."""
    fault = b'{"name": "errors", "ratio": 1, "status": 502, "route": "/api/v1/data"}'
    assert client.call("POST", "/_faults", fault)[0] == 200
    assert client.call("POST", "/_faults", b'{"name": "latency", "added_s": 0}')[0] == 200
    assert client.call("GET", "/api/v1/data", **KEY) == (502, {"error": "injected fault"})
    assert client.call("GET", "/api/mobile/feed?since=2026-01-31")[0] == 200
    first, second = client.call("GET", "/_faults")[1]["active"]
    assert first.pop("age_s") >= 0
    assert first == {"name": "errors", "ratio": 1.0, "status": 502, "route": "/api/v1/data"}
    assert second["name"] == "latency"
    assert [client.call("DELETE", "/_faults/errors")[0] for _ in range(2)] == [200, 404]
    assert client.call("GET", "/api/v1/data", **KEY)[0] == 200
    assert client.call("DELETE", "/_faults")[1]["active"] == []


@pytest.mark.parametrize(
    ("body", "slug", "listed"),
    [
        (b'{"name": "nope"}', "fault-name", "pool-cliff"),
        (b'{"name": "stall", "every": 3}', "fault-parameter", "period_s, duration_s"),
        (b'{"name": "errors", "ratio": 2}', "fault-value", "from 0 to 1"),
        (b"nope", "fault-body", "JSON object"),
    ],
)
def test_a_wrong_fault_changes_nothing(client: Client, body: bytes, slug: str, listed: str) -> None:
    """The answer is 400, with the slug, the problem and the right values."""
    status, answer = client.call("POST", "/_faults", body)
    assert (status, answer["slug"]) == (400, slug)
    assert listed in answer["error"]
    assert client.call("GET", "/_faults")[1]["active"] == []


def test_refused_requests_are_counted_apart(client: Client) -> None:
    """Each path but the control routes is refused, until the fault ends."""
    client.call("POST", "/_faults", b'{"name": "refuse"}')
    assert [client.shop.refuse(path) for path in ("/api/v1/data", "/healthz", "/_stats")] == [True, True, False]
    assert client.call("GET", "/_stats")[1]["refused"] == 2
    client.call("DELETE", "/_faults")
    assert not client.shop.refuse("/api/v1/data")
