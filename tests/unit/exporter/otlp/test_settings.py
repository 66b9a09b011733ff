"""Tests of the targets of OTLP: our flags, the standard variables, and refusals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.otlp.settings import OtlpSettings, Target, resolve, without_secrets

SECRET = "open-sesame"


def otlp(**values: str) -> dict[str, str]:
    """Return variables, by the part of their names after the common prefix."""
    return {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in values.items()}


BASE = otlp(ENDPOINT="http://collector:4318")


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


def refusal(variables: dict[str, str], endpoint: str | None = None, protocol: str | None = None) -> ConfigurationError:
    """Return the error that these settings raise."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(endpoint, protocol, None, variables)
    return caught.value


def slugs(variables: dict[str, str], endpoint: str | None = None, protocol: str | None = None) -> list[str]:
    """Return the slugs of the refused settings."""
    return [problem.slug for problem in refusal(variables, endpoint, protocol).problems]


# -------------------------------------------------------------------------------------------------------- endpoints


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "shop", **otlp(HEADERS="a=b")},
        otlp(PROTOCOL="grpc"),
        otlp(ENDPOINT=" "),
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_LOGS_EXPORTER": "console"},
        otlp(TRACES_ENDPOINT="http://collector:4318/v1/traces"),
    ],
)
def test_nothing_asked_for(variables: dict[str, str]) -> None:
    """Without a variable that asks for metrics or logs nothing is pushed."""
    assert resolve(None, None, None, variables) is None


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
def test_sdk_disabled(value: str) -> None:
    """OTEL_SDK_DISABLED disables all pushes, also those of the flags, and refusals."""
    assert resolve("ftp://nonsense", "soap", 1.0, BASE | {"OTEL_SDK_DISABLED": value}) is None


@pytest.mark.parametrize("value", ["false", "", "1", "yes"])
def test_sdk_not_disabled(value: str) -> None:
    """Only `true` disables, as in the specification of booleans."""
    assert both(BASE | {"OTEL_SDK_DISABLED": value})


@pytest.mark.parametrize(
    ("variables", "metrics", "logs"),
    [
        (BASE, "http://collector:4318/v1/metrics", "http://collector:4318/v1/logs"),
        (otlp(ENDPOINT="http://c:1/"), "http://c:1/v1/metrics", "http://c:1/v1/logs"),
        (otlp(ENDPOINT="https://c/otlp/"), "https://c/otlp/v1/metrics", "https://c/otlp/v1/logs"),
        (otlp(ENDPOINT="http://[::1]:4318"), "http://[::1]:4318/v1/metrics", "http://[::1]:4318/v1/logs"),
        # A signal's own endpoint is not changed, and alone asks for that signal only.
        (BASE | otlp(METRICS_ENDPOINT="http://m:1/api/m"), "http://m:1/api/m", "http://collector:4318/v1/logs"),
        (BASE | otlp(LOGS_ENDPOINT="http://l:1/"), "http://collector:4318/v1/metrics", "http://l:1/"),
        (otlp(METRICS_ENDPOINT="http://m:1/x"), "http://m:1/x", None),
        # `otlp` asks for a signal at the default endpoint of its protocol, `none` disables it.
        ({"OTEL_METRICS_EXPORTER": "otlp"}, "http://localhost:4318/v1/metrics", None),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, None, "http://localhost:4318/v1/logs"),
        ({"OTEL_METRICS_EXPORTER": "console, otlp"}, "http://localhost:4318/v1/metrics", None),
        ({"OTEL_METRICS_EXPORTER": "otlp"} | otlp(PROTOCOL="grpc"), "http://localhost:4317", None),
        (BASE | {"OTEL_METRICS_EXPORTER": "none"}, None, "http://collector:4318/v1/logs"),
        (BASE | {"OTEL_LOGS_EXPORTER": "None"}, "http://collector:4318/v1/metrics", None),
        # Settings of a disabled signal are not checked.
        (BASE | {"OTEL_LOGS_EXPORTER": "none"} | otlp(LOGS_PROTOCOL="x"), "http://collector:4318/v1/metrics", None),
    ],
)
def test_endpoints(variables: dict[str, str], metrics: str | None, logs: str | None) -> None:
    """The common endpoint gets the path of each signal; a signal without an endpoint is not pushed."""
    resolved = settings(variables)
    assert [t and t.endpoint for t in (resolved.metrics, resolved.logs)] == [metrics, logs]


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
    """Over gRPC both signals have one endpoint without a path, whose scheme decides about TLS."""
    assert [t.endpoint for t in both({}, given, "grpc")] == [endpoint, endpoint]


def test_flags_win() -> None:
    """The flags win over all variables of endpoint, protocol and interval."""
    variables = BASE | otlp(METRICS_ENDPOINT="http://m:1/x", LOGS_ENDPOINT="http://l:1/x")
    assert [t.endpoint for t in both(variables, "http://c:9/")] == ["http://c:9/v1/metrics", "http://c:9/v1/logs"]
    variables = BASE | otlp(PROTOCOL="grpc", METRICS_PROTOCOL="grpc")
    assert [t.protocol for t in both(variables, protocol="http/protobuf")] == ["http/protobuf"] * 2
    assert settings(BASE | {"OTEL_METRIC_EXPORT_INTERVAL": "9000"}, interval_s=1.5).interval_s == 1.5


# ----------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("variables", "field", "metrics", "logs"),
    [
        ({}, "protocol", "http/protobuf", "http/protobuf"),
        (otlp(PROTOCOL="grpc"), "protocol", "grpc", "grpc"),
        (otlp(PROTOCOL=" GRPC "), "protocol", "grpc", "grpc"),
        (otlp(METRICS_PROTOCOL="grpc"), "protocol", "grpc", "http/protobuf"),
        (otlp(PROTOCOL="grpc", LOGS_PROTOCOL="http/protobuf"), "protocol", "grpc", "http/protobuf"),
        (otlp(HEADERS="a=1", METRICS_HEADERS="b=2"), "headers", {"b": "2"}, {"a": "1"}),
        (otlp(TIMEOUT="3", LOGS_TIMEOUT="4"), "timeout_s", 3.0, 4.0),
    ],
)
def test_signals(variables: dict[str, str], field: str, metrics: object, logs: object) -> None:
    """A signal's own variable wins over the common one."""
    assert [getattr(target, field) for target in both(BASE | variables)] == [metrics, logs]


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
    """Headers are percent-encoded pairs separated by commas; names become lower case."""
    assert both(BASE | otlp(HEADERS=text))[0].headers == headers


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
        f'name="{SECRET}"',
        f"name={SECRET};x",
        f"name={SECRET}\\",
        f"name=ä{SECRET}",
    ],
)
def test_malformed_headers(text: str) -> None:
    """A malformed header is refused without its text: without a = the secret may be the name."""
    error = refusal(BASE | otlp(HEADERS=text))
    assert [problem.slug for problem in error.problems] == ["otlp-headers"]
    shown = f"{error}{error!r}{error.found}{error.remedy}{error.__cause__}{error.__context__}"
    assert SECRET not in shown
    assert "OTEL_EXPORTER_OTLP_HEADERS" in shown


@pytest.mark.parametrize(
    ("protocol", "header"),
    [
        ("grpc", "name=b%C3%A4ttery"),
        ("grpc", "name=%E6%97%A5"),
        ("grpc", "x-bin=value"),
        ("http/protobuf", "name=%E6%97%A5"),
    ],
)
def test_headers_that_cannot_be_sent(protocol: str, header: str) -> None:
    """A header that the protocol cannot carry is refused: HTTP allows Latin-1, gRPC only ASCII, and no bytes."""
    assert slugs(otlp(HEADERS=header), "http://c:1", protocol) == ["otlp-headers"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10.0), ("0.5", 0.5), ("999", 999.0), ("1000", 1.0), ("10000", 10.0), ("1500", 1.5), ("", 10.0)],
)
def test_timeouts(text: str, seconds: float) -> None:
    """A timeout below 1000 is in seconds, else in milliseconds."""
    assert both(BASE | otlp(TIMEOUT=text))[0].timeout_s == seconds


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
    targets = both(otlp(COMPRESSION=text), "http://c:1", protocol)
    assert [target.compression for target in targets] == [compression] * 2


def test_certificates(tmp_path: Path) -> None:
    """Certificates are paths of files; a signal's own ones win over the common ones."""
    ca, cert, key, other = paths = [str(tmp_path / name) for name in ("ca", "cert", "key", "other")]
    for path in paths:
        Path(path).write_text("PEM", encoding="utf-8")
    variables = otlp(CERTIFICATE=ca, LOGS_CERTIFICATE=other, CLIENT_CERTIFICATE=cert, CLIENT_KEY=key)
    metrics, logs = both(BASE | variables)
    assert (metrics.certificate, metrics.client_certificate, metrics.client_key) == (ca, cert, key)
    assert logs.certificate == other


@pytest.mark.parametrize("name", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    """An unreadable file is refused once for both signals, with its name and the variable."""
    missing = str(tmp_path / "no.pem")
    error = refusal(BASE | otlp(**{name: missing}))
    assert [(p.slug, p.where) for p in error.problems] == [("otlp-file", f"OTEL_EXPORTER_OTLP_{name}")]
    assert missing in str(error)


INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"


@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        # The interval of the environment is in milliseconds; the default is 5 s.
        ({INTERVAL: ""}, "interval_s", 5.0),
        ({INTERVAL: "1000"}, "interval_s", 1.0),
        ({INTERVAL: "2500.5"}, "interval_s", 2.5005),
        # `delta` and `lowmemory` count since the last push.
        (otlp(METRICS_TEMPORALITY_PREFERENCE=""), "is_delta", False),
        (otlp(METRICS_TEMPORALITY_PREFERENCE="cumulative"), "is_delta", False),
        (otlp(METRICS_TEMPORALITY_PREFERENCE="DELTA"), "is_delta", True),
        (otlp(METRICS_TEMPORALITY_PREFERENCE="LowMemory"), "is_delta", True),
        # Buckets are explicit by default.
        (otlp(METRICS_DEFAULT_HISTOGRAM_AGGREGATION=""), "is_exponential", False),
        (otlp(METRICS_DEFAULT_HISTOGRAM_AGGREGATION="explicit_bucket_histogram"), "is_exponential", False),
        (otlp(METRICS_DEFAULT_HISTOGRAM_AGGREGATION="BASE2_EXPONENTIAL_BUCKET_HISTOGRAM"), "is_exponential", True),
    ],
)
def test_values(variables: dict[str, str], field: str, value: object) -> None:
    """Interval, temporality and aggregation come from their variables, in any case."""
    assert getattr(settings(BASE | variables), field) == value


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("variables", "endpoint", "protocol", "slug"),
    [
        ({}, "http://c:1", "http/json", "otlp-protocol"),
        ({}, "http://c:1", "soap", "otlp-protocol"),
        (BASE | otlp(PROTOCOL="http/json"), None, None, "otlp-protocol"),
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
        # gRPC takes user and password for a part of the host.
        ({}, f"http://user:{SECRET}@collector:4317", "grpc", "otlp-endpoint-secret"),
        (otlp(COMPRESSION="brotli"), "http://c:1", None, "otlp-compression"),
        (otlp(COMPRESSION="deflate"), "http://c:1", "grpc", "otlp-compression"),
        (BASE | otlp(TIMEOUT="soon"), None, None, "otlp-time"),
        (BASE | otlp(TIMEOUT="0"), None, None, "otlp-time"),
        (BASE | otlp(TIMEOUT="nan"), None, None, "otlp-time"),
        (BASE | otlp(TIMEOUT="-1"), None, None, "otlp-time"),
        (BASE | {INTERVAL: "inf"}, None, None, "otlp-time"),
        (BASE | {INTERVAL: "5s"}, None, None, "otlp-time"),
        (BASE | otlp(METRICS_TEMPORALITY_PREFERENCE="gamma"), None, None, "otlp-choice"),
        (BASE | otlp(METRICS_DEFAULT_HISTOGRAM_AGGREGATION="x"), None, None, "otlp-choice"),
    ],
)
def test_refusals(variables: dict[str, str], endpoint: str | None, protocol: str | None, slug: str) -> None:
    """A problem of both signals is reported once, without a secret."""
    error = refusal(variables, endpoint, protocol)
    assert [problem.slug for problem in error.problems] == [slug]
    assert SECRET not in str(error)


def test_place_of_a_refusal() -> None:
    """A refusal names the flag or the variable, also a signal's own."""
    assert refusal({}, "localhost:4318").where == "--otlp-endpoint"
    assert refusal({}, "http://c:1", "soap").where == "--otlp-protocol"
    assert refusal(BASE | otlp(LOGS_TIMEOUT="soon")).where == "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"


GRPC = {"grpcio": "grpc", "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter.otlp.proto.grpc"}


@pytest.mark.parametrize("missing", [[*GRPC], [*GRPC][1:], [*GRPC][:1]], ids=["both", "exporter", "grpcio"])
def test_grpc_without_its_extra(monkeypatch: pytest.MonkeyPatch, missing: list[str]) -> None:
    """OTLP over gRPC is refused with the names of the missing packages; OTLP over HTTP is not."""
    for package in missing:
        monkeypatch.setitem(sys.modules, GRPC[package], None)
    are = "are" if len(missing) > 1 else "is"
    (problem,) = refusal({}, "http://c:1", "grpc").problems
    assert str(problem) == (
        f"--otlp-protocol: 'grpc' needs {' and '.join(missing)}, which {are} not installed. "
        "pip install 'locust-otel[grpc]' (grpc-extra)"
    )
    assert settings({}, "http://c:1", "http/protobuf")


@pytest.mark.parametrize("name", ["PROTOCOL", "LOGS_PROTOCOL"])
def test_grpc_without_its_extra_by_a_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The refusal names the variable, and is reported with all other problems; without a push there is none."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    variables = otlp(**{name: "grpc"})
    assert refusal(BASE | variables).where == f"OTEL_EXPORTER_OTLP_{name}"
    assert sorted(slugs(BASE | variables | otlp(TIMEOUT="soon"))) == ["grpc-extra", "otlp-time"]
    assert resolve(None, None, None, variables) is None


def test_all_problems_at_once() -> None:
    """All problems are reported together, each once; different problems of the two signals too."""
    reported = slugs({
        **otlp(
            ENDPOINT="collector:4318", HEADERS="nonsense", COMPRESSION="brotli", TIMEOUT="soon",
            METRICS_TEMPORALITY_PREFERENCE="gamma", METRICS_DEFAULT_HISTOGRAM_AGGREGATION="x",
        ),
        INTERVAL: "often",
    })  # fmt: skip
    assert sorted(reported) == [
        "otlp-choice", "otlp-choice", "otlp-compression", "otlp-endpoint", "otlp-headers", "otlp-time", "otlp-time",
    ]  # fmt: skip
    reported = slugs(BASE | otlp(METRICS_PROTOCOL="soap", LOGS_COMPRESSION="brotli"))
    assert reported == ["otlp-protocol", "otlp-compression"]


# ---------------------------------------------------------------------------------------------------------- secrets


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
def test_secrets_in_a_refused_url(url: str, protocol: str) -> None:
    """A refused URL is shown without password, query and fragment."""
    error: Any = refusal({}, url, protocol)
    assert SECRET not in f"{error}{error!r}{error.__cause__}{error.__context__}"


def test_secrets_in_settings() -> None:
    """The repr of settings and the URL for log lines have neither a header value nor a password."""
    url = f"http://user:{SECRET}@collector:4318"
    resolved = settings(otlp(ENDPOINT=url, HEADERS=f"x-api-key={SECRET}"))
    assert resolved.metrics is not None
    assert resolved.metrics.headers == {"x-api-key": SECRET}
    assert resolved.metrics.endpoint == f"{url}/v1/metrics"
    assert SECRET not in f"{resolved!r}{resolved!s}{resolved.metrics!r}"
    assert without_secrets(resolved.metrics.endpoint) == "http://collector:4318/v1/metrics"
    assert without_secrets(f"collector:4317/path?token={SECRET}") == "collector:4317/path"
