"""Tests of where OTLP goes: the standard variables, our flags before them, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.otlp.settings import OtlpSettings, Target, resolve

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
SECRET = "open-sesame"


def settings(
    variables: dict[str, str],
    endpoint: str | None = None,
    protocol: str | None = None,
    interval_s: float | None = None,
) -> OtlpSettings:
    """Return the settings, which must not be None."""
    resolved = resolve(endpoint, protocol, interval_s, variables)
    assert resolved is not None
    return resolved


def both(variables: dict[str, str], endpoint: str | None = None, protocol: str | None = None) -> tuple[Target, Target]:
    """Return the targets of metrics and logs."""
    resolved = settings(variables, endpoint, protocol)
    assert resolved.metrics is not None
    assert resolved.logs is not None
    return resolved.metrics, resolved.logs


def metrics(variables: dict[str, str]) -> Target:
    """Return the target of metrics."""
    return both(BASE | variables)[0]


def refusal(variables: dict[str, str], endpoint: str | None = None, protocol: str | None = None) -> ConfigurationError:
    """Return the error that these settings end in."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(endpoint, protocol, None, variables)
    return caught.value


def slugs(variables: dict[str, str], endpoint: str | None = None, protocol: str | None = None) -> list[str]:
    """Return the slugs of what is refused."""
    return [problem.slug for problem in refusal(variables, endpoint, protocol).problems]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_LOGS_EXPORTER": "console"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"},
    ],
)
def test_nothing_asked_for(variables: dict[str, str]) -> None:
    """Where no variable asks for metrics or logs, nothing is pushed."""
    assert resolve(None, None, None, variables) is None


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
def test_sdk_disabled(value: str) -> None:
    """OTEL_SDK_DISABLED switches all off, even what the flag asks for and what would be refused."""
    assert resolve("ftp://nonsense", "soap", 1.0, BASE | {"OTEL_SDK_DISABLED": value}) is None


@pytest.mark.parametrize("value", ["false", "", "1", "yes"])
def test_sdk_not_disabled(value: str) -> None:
    """Only `true` disables, as the specification has it of booleans."""
    assert both(BASE | {"OTEL_SDK_DISABLED": value})


@pytest.mark.parametrize(
    ("variables", "of_metrics", "of_logs"),
    [
        (BASE, "http://collector:4318/v1/metrics", "http://collector:4318/v1/logs"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"},
            "http://collector:4318/v1/metrics",
            "http://collector:4318/v1/logs",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://vendor.example/otlp/"},
            "https://vendor.example/otlp/v1/metrics",
            "https://vendor.example/otlp/v1/logs",
        ),
        (
            BASE | {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:1/api/metrics"},
            "http://m:1/api/metrics",
            "http://collector:4318/v1/logs",
        ),
        (
            BASE | {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l:1/"},
            "http://collector:4318/v1/metrics",
            "http://l:1/",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1]:4318"},
            "http://[::1]:4318/v1/metrics",
            "http://[::1]:4318/v1/logs",
        ),
    ],
)
def test_endpoints(variables: dict[str, str], of_metrics: str, of_logs: str) -> None:
    """The base gets the path of each signal; a signal's own endpoint is taken as it is."""
    assert [t.endpoint for t in both(variables)] == [of_metrics, of_logs]


def test_one_signal_alone() -> None:
    """An endpoint of one signal asks for that signal only."""
    resolved = settings({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:1/x"})
    assert resolved.metrics is not None
    assert resolved.metrics.endpoint == "http://m:1/x"
    assert resolved.logs is None


def test_flag_beats_environment() -> None:
    """The flag is the base of both signals, whatever the variables say of endpoint and protocol."""
    variables = {
        **BASE,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m:1/x",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://l:1/x",
    }
    assert [t.endpoint for t in both(variables, "http://flag:9/")] == [
        "http://flag:9/v1/metrics",
        "http://flag:9/v1/logs",
    ]
    variables = BASE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}
    assert [t.protocol for t in both(variables, protocol="http/protobuf")] == ["http/protobuf"] * 2
    variables = BASE | {"OTEL_METRIC_EXPORT_INTERVAL": "9000"}
    assert settings(variables, interval_s=1.5).interval_s == 1.5


@pytest.mark.parametrize(
    ("variables", "of_metrics", "of_logs"),
    [
        (BASE, "http/protobuf", "http/protobuf"),
        (BASE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc", "grpc"),
        (BASE | {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}, "grpc", "http/protobuf"),
        (
            BASE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf"},
            "grpc",
            "http/protobuf",
        ),
        (BASE | {"OTEL_EXPORTER_OTLP_PROTOCOL": " GRPC "}, "grpc", "grpc"),
    ],
)
def test_protocols(variables: dict[str, str], of_metrics: str, of_logs: str) -> None:
    """A signal's own protocol goes before the common one."""
    assert [t.protocol for t in both(variables)] == [of_metrics, of_logs]


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("http://collector:4317", "http://collector:4317"),
        ("https://collector:4317/", "https://collector:4317"),
        ("collector:4317", "http://collector:4317"),
        ("http://[::1]:4317", "http://[::1]:4317"),
    ],
)
def test_endpoints_of_grpc(given: str, endpoint: str) -> None:
    """Over gRPC both signals have one endpoint, without a path, whose scheme says whether TLS is spoken."""
    assert [t.endpoint for t in both({}, given, "grpc")] == [endpoint, endpoint]


@pytest.mark.parametrize(
    ("variables", "of_metrics", "of_logs"),
    [
        ({"OTEL_METRICS_EXPORTER": "otlp"}, "http://localhost:4318/v1/metrics", None),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, None, "http://localhost:4318/v1/logs"),
        ({"OTEL_METRICS_EXPORTER": "console, otlp"}, "http://localhost:4318/v1/metrics", None),
        (
            {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "http://localhost:4317",
            None,
        ),
        (BASE | {"OTEL_METRICS_EXPORTER": "none"}, None, "http://collector:4318/v1/logs"),
        (BASE | {"OTEL_LOGS_EXPORTER": "none"}, "http://collector:4318/v1/metrics", None),
        (BASE | {"OTEL_LOGS_EXPORTER": "None"}, "http://collector:4318/v1/metrics", None),
    ],
)
def test_exporters(variables: dict[str, str], of_metrics: str | None, of_logs: str | None) -> None:
    """`otlp` asks for one signal at the default endpoint of its protocol, `none` switches it off."""
    resolved = settings(variables)
    assert [t and t.endpoint for t in (resolved.metrics, resolved.logs)] == [of_metrics, of_logs]


def test_protocol_of_a_signal_that_is_off() -> None:
    """What a signal that is switched off would be refused for is no problem."""
    resolved = settings(BASE | {"OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json"})
    assert resolved.logs is None


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("api-key=abc", {"api-key": "abc"}),
        ("A=1, b = 2 ,", {"a": "1", "b": "2"}),
        ("authorization=Basic%20dXNlcjpwYXNz", {"authorization": "Basic dXNlcjpwYXNz"}),
        ("authorization=Bearer abc", {"authorization": "Bearer abc"}),
        ("token=a==", {"token": "a=="}),
        ("list=a%2Cb%3D", {"list": "a,b="}),
        ("empty=", {"empty": ""}),
        ("", {}),
    ],
)
def test_headers(text: str, headers: dict[str, str]) -> None:
    """Headers are pairs with commas between them, percent-encoded, with names in lower case."""
    assert metrics({"OTEL_EXPORTER_OTLP_HEADERS": text}).headers == headers


def test_headers_of_a_signal() -> None:
    """A signal's own headers go in place of the common ones."""
    of_metrics, of_logs = both(
        BASE | {"OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "b=2"}
    )
    assert (of_metrics.headers, of_logs.headers) == ({"b": "2"}, {"a": "1"})


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"ok=1,{SECRET}",
        f"={SECRET}",
        f"bad name={SECRET}",
        f"na:me={SECRET}",
        f"name={SECRET}%0d%0aevil: 1",
        f"name={SECRET}%00",
        f"{SECRET}%0a=x",
    ],
)
def test_malformed_headers(text: str) -> None:
    """A malformed header is refused without any of its text: what stands before a forgotten = may be the secret."""
    error = refusal(BASE | {"OTEL_EXPORTER_OTLP_HEADERS": text})
    assert [problem.slug for problem in error.problems] == ["otlp-headers"]
    shown = f"{error}{error!r}{error.found}{error.remedy}{error.__cause__}{error.__context__}"
    assert SECRET not in shown
    assert "OTEL_EXPORTER_OTLP_HEADERS" in shown


@pytest.mark.parametrize(
    ("protocol", "value"),
    [("grpc", "b%C3%A4ttery"), ("grpc", "bättery"), ("grpc", "%E6%97%A5"), ("http/protobuf", "%E6%97%A5")],
)
def test_headers_that_cannot_be_sent(protocol: str, value: str) -> None:
    """A value that the protocol cannot carry (HTTP has Latin-1, gRPC ASCII only) is refused before the run."""
    assert slugs({"OTEL_EXPORTER_OTLP_HEADERS": f"name={value}"}, "http://c:1", protocol) == ["otlp-headers"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10.0), ("0.5", 0.5), ("999", 999.0), ("1000", 1.0), ("10000", 10.0), ("1500", 1.5), ("", 10.0)],
)
def test_timeouts(text: str, seconds: float) -> None:
    """Below 1000 a timeout is seconds, from there on milliseconds."""
    assert metrics({"OTEL_EXPORTER_OTLP_TIMEOUT": text}).timeout_s == seconds


def test_timeout_of_a_signal() -> None:
    """A signal's own timeout goes before the common one."""
    variables = BASE | {"OTEL_EXPORTER_OTLP_TIMEOUT": "3", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "4"}
    assert [t.timeout_s for t in both(variables)] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("protocol", "text", "compression"),
    [
        ("http/protobuf", "", "none"),
        ("http/protobuf", "none", "none"),
        ("http/protobuf", "GZIP", "gzip"),
        ("http/protobuf", "deflate", "deflate"),
        ("grpc", "gzip", "gzip"),
        ("grpc", "none", "none"),
    ],
)
def test_compressions(protocol: str, text: str, compression: str) -> None:
    """Each protocol has its compressions."""
    targets = both({"OTEL_EXPORTER_OTLP_COMPRESSION": text}, "http://c:1", protocol)
    assert [t.compression for t in targets] == [compression] * 2


def test_certificates(tmp_path: Path) -> None:
    """Certificates are files of the user's; a signal's own go before the common ones."""
    paths = {name: str(tmp_path / name) for name in ("ca", "cert", "key", "other")}
    for path in paths.values():
        Path(path).write_text("PEM", encoding="utf-8")
    of_metrics, of_logs = both(
        BASE
        | {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": paths["ca"],
            "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": paths["other"],
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": paths["cert"],
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": paths["key"],
        }
    )
    assert (of_metrics.certificate, of_metrics.client_certificate, of_metrics.client_key) == (
        paths["ca"],
        paths["cert"],
        paths["key"],
    )
    assert of_logs.certificate == paths["other"]


@pytest.mark.parametrize("name", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    """A file that cannot be read is refused once for both signals, with its name and the variable."""
    missing = str(tmp_path / "no.pem")
    error = refusal(BASE | {f"OTEL_EXPORTER_OTLP_{name}": missing})
    assert [(p.slug, p.where) for p in error.problems] == [("otlp-file", f"OTEL_EXPORTER_OTLP_{name}")]
    assert missing in str(error)


@pytest.mark.parametrize(("text", "seconds"), [("", 5.0), ("1000", 1.0), ("60000", 60.0), ("2500.5", 2.5005)])
def test_intervals(text: str, seconds: float) -> None:
    """The interval of the environment is in milliseconds, ours is 5 s."""
    assert settings(BASE | {"OTEL_METRIC_EXPORT_INTERVAL": text}).interval_s == seconds


@pytest.mark.parametrize(
    ("text", "is_delta"),
    [("", False), ("cumulative", False), ("delta", True), ("DELTA", True), ("LowMemory", True)],
)
def test_temporalities(text: str, is_delta: bool) -> None:
    """Delta and lowmemory tell what came since the last push."""
    variables = BASE | {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": text}
    assert settings(variables).is_delta is is_delta


@pytest.mark.parametrize(
    ("text", "is_exponential"),
    [("", False), ("explicit_bucket_histogram", False), ("BASE2_EXPONENTIAL_BUCKET_HISTOGRAM", True)],
)
def test_aggregations(text: str, is_exponential: bool) -> None:
    """Buckets are explicit by default."""
    variables = BASE | {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": text}
    assert settings(variables).is_exponential is is_exponential


@pytest.mark.parametrize(
    ("variables", "endpoint", "protocol", "slug"),
    [
        ({}, "http://c:1", "http/json", "otlp-protocol"),
        ({}, "http://c:1", "soap", "otlp-protocol"),
        (BASE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, None, None, "otlp-protocol"),
        ({}, "localhost:4318", None, "otlp-endpoint"),
        ({}, "localhost", None, "otlp-endpoint"),
        ({}, "ftp://c:1", None, "otlp-endpoint"),
        ({}, "http://", None, "otlp-endpoint"),
        ({}, "http://c:port", None, "otlp-endpoint"),
        ({}, "http://c:99999", None, "otlp-endpoint"),
        ({}, "http://[::1", None, "otlp-endpoint"),
        ({}, "%%% garbage %%%", None, "otlp-endpoint"),
        ({}, "ftp://c:1", "grpc", "otlp-endpoint"),
        ({}, "unix:///tmp/socket", "grpc", "otlp-endpoint"),
        ({}, "http://c:port", "grpc", "otlp-endpoint"),
        ({}, "http://c:4317/v1/metrics", "grpc", "otlp-endpoint-path"),
        ({}, "c:4317/v1", "grpc", "otlp-endpoint-path"),
        ({}, "http://c:4317/?token=x", "grpc", "otlp-endpoint-path"),
        (BASE | {"OTEL_EXPORTER_OTLP_COMPRESSION": "brotli"}, None, None, "otlp-compression"),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}, "http://c:1", "grpc", "otlp-compression"),
        (BASE | {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, None, None, "otlp-time"),
        (BASE | {"OTEL_EXPORTER_OTLP_TIMEOUT": "0"}, None, None, "otlp-time"),
        (BASE | {"OTEL_EXPORTER_OTLP_TIMEOUT": "nan"}, None, None, "otlp-time"),
        (BASE | {"OTEL_EXPORTER_OTLP_TIMEOUT": "-1"}, None, None, "otlp-time"),
        (BASE | {"OTEL_METRIC_EXPORT_INTERVAL": "inf"}, None, None, "otlp-time"),
        (BASE | {"OTEL_METRIC_EXPORT_INTERVAL": "5s"}, None, None, "otlp-time"),
        (BASE | {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "gamma"}, None, None, "otlp-choice"),
        (BASE | {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "x"}, None, None, "otlp-choice"),
    ],
)
def test_refusals(variables: dict[str, str], endpoint: str | None, protocol: str | None, slug: str) -> None:
    """What cannot be used is refused, and a problem that both signals have is told once."""
    assert slugs(variables, endpoint, protocol) == [slug]


def test_refusals_name_the_place() -> None:
    """A refusal names the flag or the variable that it is about, a signal's own where that is set."""
    assert refusal({}, "localhost:4318").where == "--otlp-endpoint"
    assert refusal({}, "http://c:1", "soap").where == "--otlp-protocol"
    own = "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"
    assert refusal(BASE | {own: "soon"}).where == own


GRPC = {"grpcio": "grpc", "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter.otlp.proto.grpc"}


@pytest.mark.parametrize("missing", [[*GRPC], [*GRPC][1:], [*GRPC][:1]], ids=["both", "exporter", "grpcio"])
def test_grpc_without_its_extra(monkeypatch: pytest.MonkeyPatch, missing: list[str]) -> None:
    """OTLP over gRPC is refused where a package is missing; a load test of a gRPC service may have brought grpcio."""
    for package in missing:
        monkeypatch.setitem(sys.modules, GRPC[package], None)
    are = "are" if len(missing) > 1 else "is"
    (problem,) = refusal({}, "http://c:1", "grpc").problems
    assert str(problem) == (
        f"--otlp-protocol: 'grpc' needs {' and '.join(missing)}, which {are} not installed. "
        "pip install 'locust-otel[grpc]' (grpc-extra)"
    )
    assert settings({}, "http://c:1", "http/protobuf")


def test_grpc_without_its_extra_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the variable, that of one signal too, and comes with all other problems."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"):
        assert refusal(BASE | {name: "grpc"}).where == name
        found = slugs(BASE | {name: "grpc", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"})
        assert sorted(found) == ["grpc-extra", "otlp-time"]
    assert resolve(None, None, None, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None


def test_different_problems_of_signals() -> None:
    """Problems that differ between the signals are all told."""
    error = refusal(
        BASE | {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "soap", "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "brotli"}
    )
    assert [problem.slug for problem in error.problems] == ["otlp-protocol", "otlp-compression"]


def test_all_problems_at_once() -> None:
    """Several problems of one signal are told together, each once, as `resolve` promises."""
    found = slugs(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318",
            "OTEL_EXPORTER_OTLP_HEADERS": "nonsense",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
            "OTEL_METRIC_EXPORT_INTERVAL": "often",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "gamma",
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "x",
        }
    )
    assert sorted(found) == sorted(
        ["otlp-endpoint", "otlp-headers", "otlp-compression", "otlp-time", "otlp-time", "otlp-choice", "otlp-choice"]
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    "url",
    [
        f"ftp://user:{SECRET}@collector:4318",
        f"http://user:{SECRET}@collector:port",
        f"http://user:{SECRET}@collector:99999",
        f"ftp://user:a@b{SECRET}@collector:4318",
        f"ftp://user:a/{SECRET}@collector:4318",
        f"http://user:a/{SECRET}@collector:4318",
        f"user:{SECRET}@collector:4318/path",
        f"user:{SECRET}@:port",
        f"ftp://collector:4318/?token={SECRET}",
        f"ftp://collector:4318/#{SECRET}",
    ],
)
def test_credentials_in_a_url(url: str, protocol: str) -> None:
    """A URL that cannot be used is refused without what may be a secret: password, query, fragment."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(url, protocol, None, {})
    error = caught.value
    assert SECRET not in f"{error}{error!r}{error.__cause__}{error.__context__}"


def test_password_over_grpc() -> None:
    """User and password, which gRPC takes for a part of the host, are refused, and not shown."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(f"http://user:{SECRET}@collector:4317", "grpc", None, {})
    assert SECRET not in str(caught.value)


def test_repr_of_a_target_with_a_password() -> None:
    """A password in a URL over HTTP, which is sent, is in no repr."""
    resolved = settings({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{SECRET}@collector:4318"})
    assert SECRET not in repr(resolved)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_url_for_log_lines(protocol: str) -> None:
    """The URL of a push is shown with its host, and without a password, a query or a fragment."""
    secret = "" if protocol == "grpc" else f"user:{SECRET}@"
    resolved = resolve(f"http://{secret}collector:4318", protocol, None, {})
    assert resolved is not None
    assert resolved.metrics is not None
    path = "" if protocol == "grpc" else "/v1/metrics"
    assert resolved.metrics.shown == f"http://collector:4318{path}"


def test_repr_of_a_target() -> None:
    """No header value is in a target's repr, nor in that of the settings."""
    resolved = settings(BASE | {"OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={SECRET}"})
    assert resolved.metrics is not None
    assert resolved.metrics.headers == {"x-api-key": SECRET}
    assert SECRET not in f"{resolved!r}{resolved!s}{resolved.metrics!r}"
