"""Requests carry traces, exemplars name these traces; and an OTLP configuration that cannot be used is refused."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from gevent.pywsgi import WSGIServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.backends.servers import free_port
from tests.e2e.harness import LOCUSTFILES, Outcome, Scenario, Stage, forking, played
from tests.e2e.pages import Metrics, wait_until
from tests.e2e.test_refusals import assert_refused, sentences, short_run
from tests.unit.otlp_sinks import HttpSink

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-(0[0-3])")
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
WANTED = 200
"""Least requests of each run."""

Exemplars = set[tuple[str, str]]
"""Pairs of trace and span."""


class Recorder:
    """A server on loopback that answers every request with 200 and keeps the headers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None, str | None]] = []
        self._server = WSGIServer(("127.0.0.1", 0), self._answer, log=None)
        self._server.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.requests.append((environ["PATH_INFO"], environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_OWN")))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop(timeout=1)


def _get(port: int, accept: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as response:
        assert response.headers["Content-Type"].partition(";")[0] in {accept.partition(";")[0], "text/plain"}
        body: bytes = response.read()
    return body


def _requests(port: int) -> float:
    return Metrics(_get(port, "text/plain").decode()).requests


def _openmetrics_exemplars(page: bytes) -> Exemplars:
    return {
        (sample.exemplar.labels["trace_id"], sample.exemplar.labels["span_id"])
        for family in text_string_to_metric_families(page.decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }


def _protobuf_exemplars(page: bytes) -> Exemplars:
    # A `LabelPair`, which is the name and the value, each with its tag and length; span follows trace.
    pair = rb"\x0a\x08trace_id\x12\x20([0-9a-f]{32})\x0a.\x0a\x07span_id\x12\x10([0-9a-f]{16})"
    return {(m[1].decode(), m[2].decode()) for m in re.finditer(pair, page, re.DOTALL)}


def _run(stage: Stage, *more: str, env: dict[str, str] | None = None) -> Outcome:
    recorder, port = Recorder(), free_port()
    try:
        process = stage.run(
            *("-f", LOCUSTFILES / "traced.py", "--headless", "--host", recorder.url),
            *("-u", "6", "-r", "100", "-t", "60s", "--only-summary", "--prometheus-port", str(port), *more),
            env=env,
        )
        wait_until(lambda: len(recorder.requests) >= WANTED or not process.is_alive, f"{WANTED} requests")
        assert process.is_alive, process.log
        wait_until(lambda: _requests(port) >= WANTED, "reports of the workers")
        pages = {accept: _get(port, accept) for accept in (OPENMETRICS, PROTOBUF, "text/plain")}
        process.send(signal.SIGTERM)
        code = process.wait()
    finally:
        recorder.stop()
    return Outcome(code=code, log=process.log, more={"pages": pages, "requests": recorder.requests})


def all_sampled(stage: Stage) -> Outcome:
    """Every trace is sampled."""
    return _run(stage, "--propagate-traces", "1")


def all_sampled_forked(stage: Stage) -> Outcome:
    """The same with two forked workers; the master is scraped."""
    return _run(stage, *forking(), "--propagate-traces", "1")


def none_sampled(stage: Stage) -> Outcome:
    """Every request has a trace, and none is sampled."""
    return _run(stage, "--propagate-traces", "0")


def half_sampled(stage: Stage) -> Outcome:
    """Half of the traces are sampled."""
    return _run(stage, "--propagate-traces", "0.5")


def not_asked(stage: Stage) -> Outcome:
    """A run without `--propagate-traces`."""
    return _run(stage)


def beside_otel(stage: Stage) -> Outcome:
    """Locust's own `--otel`, which makes traces too if its extra is installed, and has no exporter for them."""
    nowhere = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("METRICS", "LOGS")}
    return _run(stage, "--propagate-traces", "1", "--otel", env=nowhere | {"OTEL_TRACES_EXPORTER": "unknown"})


def _flags(outcome: Outcome) -> list[str]:
    """Return the flags of each request's header, all of which must be valid and unique."""
    headers = [header for _, header, _ in outcome.more["requests"]]
    matches = [TRACEPARENT.fullmatch(header or "") for header in headers]
    assert all(matches), [h for h, m in zip(headers, matches, strict=True) if not m][:5]
    assert len({m[1] for m in matches if m}) == len({m[2] for m in matches if m}) == len(headers) >= WANTED
    return [m[3] for m in matches if m]


def _exemplars(outcome: Outcome) -> tuple[Exemplars, Exemplars]:
    """Return the exemplars of both formats that have them."""
    pages = outcome.more["pages"]
    assert b"trace_id" not in pages["text/plain"]
    return _openmetrics_exemplars(pages[OPENMETRICS]), _protobuf_exemplars(pages[PROTOBUF])


def _sent(outcome: Outcome) -> Exemplars:
    """Return trace and span of each request with the flag "sampled" in its header."""
    headers = (TRACEPARENT.fullmatch(header) for _, header, _ in outcome.more["requests"])
    return {(m[1], m[2]) for m in headers if m and int(m[3], 16) & 1}


@played(all_sampled, all_sampled_forked, none_sampled, half_sampled, not_asked, beside_otel)
def test_requests_are_otherwise_unchanged(outcome: Outcome) -> None:
    """Both clients send both of their requests, with the locustfile's own headers."""
    kinds = {(path, own) for path, _, own in outcome.more["requests"]}
    assert kinds == {("/plain", "1"), ("/plain/posted", None), ("/fast", "1"), ("/fast/posted", None)}
    assert outcome.code == 0, outcome.log
    assert "Traceback" not in outcome.log


@played(all_sampled, all_sampled_forked)
def test_each_request_has_a_sampled_trace_of_its_own(outcome: Outcome) -> None:
    """With ratio 1 every header is valid, unique and sampled."""
    assert set(_flags(outcome)) == {"01"}


@played(all_sampled, all_sampled_forked, half_sampled)
def test_exemplars_name_traces_of_requests(outcome: Outcome) -> None:
    """In OpenMetrics and in protobuf: a trace and its span, sampled, of each kind of request."""
    for exemplars in _exemplars(outcome):
        assert len(exemplars) >= 4
        assert exemplars <= _sent(outcome)


@played(beside_otel)
def test_exemplars_name_traces_of_requests_beside_locusts_own(outcome: Outcome) -> None:
    """Each request has one header, of whichever of the two, and exemplars name its trace."""
    traces = {trace for trace, _ in _sent(outcome)}
    assert len(traces) == len(outcome.more["requests"])
    for exemplars in _exemplars(outcome):
        assert len(exemplars) >= 4
        assert {trace for trace, _ in exemplars} <= traces


@played(half_sampled)
def test_a_share_is_sampled(outcome: Outcome) -> None:
    """With ratio 0.5 between 30 % and 70 % of the requests are sampled."""
    flags = _flags(outcome)
    assert 0.3 < flags.count("01") / len(flags) < 0.7


@played(none_sampled)
def test_ratio_0_samples_nothing(outcome: Outcome) -> None:
    """Every header has the flag "not sampled", and there is no exemplar."""
    assert set(_flags(outcome)) == {"00"}
    assert _exemplars(outcome) == (set(), set())


@played(not_asked)
def test_without_the_flag_no_header_is_sent(outcome: Outcome) -> None:
    """No request has a traceparent, no bucket an exemplar."""
    assert {header for _, header, _ in outcome.more["requests"]} == {None}
    assert _exemplars(outcome) == (set(), set())


# Configurations that cannot be used.

SECRET = "s3cr3t-t0k3n"
HEADERS = {"OTEL_EXPORTER_OTLP_HEADERS": f"api-key={SECRET}"}


def refused(name: str, *more: str, **env: str) -> Scenario:
    """Return a scenario: a run with these arguments, these variables and a secret header."""

    def scenario(stage: Stage) -> Outcome:
        return short_run(stage, *more, env=HEADERS | env)

    scenario.__name__ = name
    return scenario


def otlp(name: str, value: str) -> dict[str, str]:
    """Return one of the standard variables."""
    return {f"OTEL_EXPORTER_OTLP_{name}": value}


_HTTP = ("--otlp-endpoint", "http://127.0.0.1:4318")

REFUSALS: dict[Scenario, str] = {
    refused("protocol_flag", *_HTTP, "--otlp-protocol", "carrier-pigeon"): "otlp-protocol",
    refused("protocol_variable", *_HTTP, **otlp("PROTOCOL", "http/json")): "otlp-protocol",
    refused("grpc_with_path", "--otlp-protocol", "grpc", *_HTTP[:1], "http://127.0.0.1:4317/v1"): "otlp-endpoint-path",
    refused("http_without_scheme", "--otlp-endpoint", "127.0.0.1:4318"): "otlp-endpoint",
    refused("variable_without_scheme", **otlp("ENDPOINT", "localhost:4318")): "otlp-endpoint",
    refused("no_certificate", *_HTTP, **otlp("CERTIFICATE", "/nowhere/ca.pem")): "otlp-file",
    refused("no_client_key", *_HTTP, **otlp("CLIENT_KEY", "/nowhere/key.pem")): "otlp-file",
    refused("headers", *_HTTP, **otlp("HEADERS", f"api-key={SECRET},{SECRET}")): "otlp-headers",
    refused("headers_with_line_break", *_HTTP, **otlp("HEADERS", f"api-key={SECRET}%0A{SECRET}")): "otlp-headers",
    refused("compression", *_HTTP, **otlp("COMPRESSION", "zstd")): "otlp-compression",
    refused("timeout", *_HTTP, **otlp("TIMEOUT", "soon")): "otlp-time",
    refused("interval", *_HTTP, "--otlp-interval", "0"): "otlp-interval",
    refused("ratio", "--propagate-traces", "2"): "propagate-traces",
    refused("forked", *forking(), *_HTTP, **otlp("HEADERS", SECRET)): "otlp-headers",
}


@pytest.mark.parametrize(
    ("outcome", "slug"),
    list(REFUSALS.items()),
    ids=[scenario.__name__ for scenario in REFUSALS],
    indirect=["outcome"],
)
def test_bad_otlp_is_refused_without_its_secrets(outcome: Outcome, slug: str) -> None:
    """Exit code 78 before any user, one line with its slug, and no value of a header in the log."""
    assert_refused(outcome)
    (sentence,) = sentences(outcome)
    assert sentence.endswith(f"({slug})")
    assert SECRET not in outcome.log


def without_grpc(stage: Stage) -> dict[str, str]:
    """Return variables that make the import of gRPC fail, as without the extra."""
    (stage.folder / "sitecustomize.py").write_text("import sys\nsys.modules['grpc'] = None\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(stage.folder), os.environ.get("PYTHONPATH")]))}


def grpc_without_its_extra(stage: Stage) -> Outcome:
    """A push over gRPC, which is not installed."""
    return refused("", *_HTTP, "--otlp-protocol", "grpc", **without_grpc(stage))(stage)


@played(grpc_without_its_extra)
def test_grpc_without_its_extra_is_refused(outcome: Outcome) -> None:
    """The sentence says what to install."""
    assert_refused(outcome)
    (sentence,) = sentences(outcome)
    assert sentence.endswith("needs grpcio, which is not installed. pip install 'locust-otel[grpc]' (grpc-extra)")


def http_without_grpc(stage: Stage) -> Outcome:
    """A push over HTTP, where gRPC is not installed."""
    with HttpSink() as sink:
        endpoint = ("--otlp-endpoint", sink.url.removesuffix("/v1/metrics"), "--otlp-protocol", "http/protobuf")
        outcome = short_run(stage, *endpoint, env=without_grpc(stage))
        outcome.more["paths"] = {request.path for request in sink.received}
        return outcome


@played(http_without_grpc)
def test_http_needs_no_extra(outcome: Outcome) -> None:
    """Metrics and events arrive."""
    assert outcome.code == 0, outcome.log
    assert outcome.more["paths"] == {"/v1/metrics", "/v1/logs"}


def password_in_url(stage: Stage) -> Outcome:
    """A refused endpoint with a password and a token."""
    return refused("", "--otlp-protocol", "grpc", *_HTTP[:1], f"http://u:{SECRET}@127.0.0.1/v1?token={SECRET}")(stage)


@played(password_in_url)
def test_an_endpoint_is_shown_without_its_password(outcome: Outcome) -> None:
    """The message has the URL without password and query."""
    assert_refused(outcome)
    assert SECRET not in outcome.log
    assert sentences(outcome)
