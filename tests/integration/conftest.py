"""The real servers, one of each for the whole session; without a server its tests are skipped, and fail in CI."""

import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TypeVar

import pytest

from tests.backends.needed import missing, need
from tests.backends.servers import (
    Alertmanager,
    BackendMissing,
    Collector,
    Prometheus,
    Server,
    VictoriaMetrics,
)
from tests.e2e.conftest import outcome  # noqa: F401  # a fixture; each module has its own `stages`
from tests.unit.otlp_sinks import SECRET

S = TypeVar("S", bound=Server)


def _running(start: Callable[[], S]) -> Iterator[S]:
    try:
        server = start()
    except BackendMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Prometheus]:
    """Give the Prometheus of the session, with native histograms, remote write and 32 slots."""
    flags = ["--web.enable-remote-write-receiver"]
    yield from _running(lambda: Prometheus(native_histograms=True, slots=32, flags=flags))


@pytest.fixture(scope="session")
def alertmanager() -> Iterator[Alertmanager]:
    """Give the Alertmanager of the session, which has no webhook."""
    yield from _running(Alertmanager)


@pytest.fixture(scope="session")
def victoria_metrics() -> Iterator[VictoriaMetrics]:
    """Give the VictoriaMetrics of the session."""
    yield from _running(VictoriaMetrics)


@pytest.fixture(scope="session")
def collector(prometheus: Prometheus) -> Iterator[Collector]:
    """Give the OpenTelemetry Collector of the session, which writes its metrics into `prometheus`."""
    yield from _running(lambda: Collector(remote_write=f"{prometheus.url}/api/v1/write"))


@pytest.fixture
def no_noise(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check that neither we nor OpenTelemetry log anything above DEBUG, and that no line has the secret."""
    caplog.set_level(logging.DEBUG)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    yield
    records = caplog.get_records("call")
    ours = ("locust_otel", "opentelemetry", "grpc")
    assert [r.getMessage() for r in records if r.levelno > logging.DEBUG and r.name.startswith(ours)] == []
    assert not [r for r in records if SECRET in r.getMessage()]


@pytest.fixture(scope="session")
def grpc_gevent() -> None:
    """Let other greenlets run while gRPC waits; a test must request this before it makes a channel."""
    import_module("grpc.experimental.gevent").init_gevent()  # it has no types


@pytest.fixture(scope="session")
def backend() -> Callable[[str], None]:
    """Give a function that skips, or in CI fails, without a binary of that name."""
    return need
