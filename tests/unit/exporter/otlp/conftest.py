"""Fixtures for both senders."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from locust_otel.exporter.otlp.settings import Target
from tests.unit.otlp_sinks import SECRET, GrpcSink, grpc_sink, target


@pytest.fixture
def no_noise(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither we nor the exporters log anything, and no log line has a secret."""
    caplog.set_level(logging.DEBUG)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    yield
    lines = [(r.name, r.levelname, r.getMessage()) for r in caplog.get_records("call")]
    ours = ("locust_otel", "opentelemetry", "grpc")
    assert [line for line in lines if line[1] != "DEBUG" and line[0].startswith(ours)] == []
    assert not [line for line in lines if SECRET in line[2]]


@pytest.fixture(scope="module")
def collector() -> Iterator[GrpcSink]:
    """Run one gRPC collector for the module."""
    with grpc_sink() as sink:
        yield sink


@pytest.fixture
def grpc_target(collector: GrpcSink) -> Target:
    """Return the collector as it is before anyone has told it anything."""
    collector.received.clear()
    collector.answer = None
    return target(collector.url, protocol="grpc")
