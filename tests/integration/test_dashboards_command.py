"""`locust-otel dashboards` over HTTP, into a server that responds like Grafana."""

from __future__ import annotations

import json

import pytest

from locust_otel import cli
from locust_otel.slo.rules.dashboards_command import files
from tests.unit.otlp_sinks import HttpSink, reply


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the token of Grafana, and no proxy for the server."""
    monkeypatch.setenv("GRAFANA_TOKEN", "glsa_abc123")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_imports(capsys: pytest.CaptureFixture[str]) -> None:
    """Each dashboard arrives whole, with the token, and its address is printed."""
    with HttpSink(*(reply(200, json.dumps({"url": f"/d/{file.stem}/x"}).encode()) for file in files())) as grafana:
        base = f"http://127.0.0.1:{grafana.port}"
        assert cli.main(["dashboards", "--grafana", base]) == 0
        assert capsys.readouterr().out.splitlines() == [f"{base}/d/{file.stem}/x" for file in files()]
    requests = [(request.path, request.headers["authorization"]) for request in grafana.received]
    assert requests == [("/api/dashboards/db", "Bearer glsa_abc123")] * 6
    sent = [json.loads(request.body)["dashboard"] for request in grafana.received]
    assert sent == [json.loads(file.read_text("utf-8")) for file in files()]


def test_a_redirect_is_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """The token goes to the given address only."""
    with HttpSink(reply(302, Location="/login")) as grafana:
        assert cli.main(["dashboards", "--grafana", f"http://127.0.0.1:{grafana.port}"]) == 1
    assert "answers 302" in capsys.readouterr().err
    assert len(grafana.received) == 1
