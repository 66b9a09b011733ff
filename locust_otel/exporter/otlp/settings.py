"""Targets of OTLP: our flags, then the standard environment variables.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_OTLP_INTERVAL_S, DEFAULT_OTLP_PROTOCOL

DEFAULT_TIMEOUT_S = 10.0

_PREFIX = "OTEL_EXPORTER_OTLP_"
_DEFAULT_PORTS = {"http/protobuf": 4318, "grpc": 4317}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_T = TypeVar("_T")
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
_AGGREGATION = f"{_PREFIX}METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
_AGGREGATIONS = ("explicit_bucket_histogram", "base2_exponential_bucket_histogram")
_TEMPORALITY = f"{_PREFIX}METRICS_TEMPORALITY_PREFERENCE"
_TEMPORALITIES = ("cumulative", "delta", "lowmemory")
_GRPC_PACKAGES = {"grpcio": "grpc", "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry.exporter.otlp.proto.grpc"}
"""Packages of the extra `grpc`, with a module of each. A load test of a gRPC service may have grpcio alone."""

_COMPRESSIONS = {"http/protobuf": ("none", "gzip", "deflate"), "grpc": ("none", "gzip")}


class Signal(Enum):
    """A kind of data; the value is its path over HTTP."""

    METRICS = "v1/metrics"
    LOGS = "v1/logs"


@dataclass(frozen=True, slots=True)
class Target:
    """Target of one signal."""

    endpoint: str = field(repr=False)  # the complete URL; over gRPC http(s)://host:port; may hold a password
    protocol: str  # `http/protobuf` or `grpc`
    headers: Mapping[str, str] = field(repr=False)  # may hold secrets
    timeout_s: float  # timeout of one push
    compression: str  # `none`, `gzip`, or over HTTP `deflate`
    certificate: str | None  # PEM file of the trusted authorities; None for the system's
    client_certificate: str | None  # PEM file of the client's own certificate
    client_key: str | None  # PEM file of its key, if that is a separate file


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Settings of the pushes; a signal without a target is not pushed."""

    metrics: Target | None
    logs: Target | None
    interval_s: float  # between two pushes
    is_exponential: bool  # histograms have exponential buckets, else explicit ones
    is_delta: bool  # counters and histograms count since the last push, else since the start


class _Reader:
    """Reads flags and variables, and collects every problem once: both signals share most variables."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self.problems: list[ConfigurationError] = []

    def find(self, *names: str) -> tuple[str, str] | None:
        """Return name and text of the first flag or variable that is set; None if all are absent or empty."""
        return next(((name, text) for name in names if (text := self._given.get(name, "").strip())), None)

    def read(self, names: Iterable[str], parse: Callable[[str, str], _T], otherwise: _T) -> _T:
        """Return the parsed text of the first name that is set; `otherwise` if there is none, or it is refused."""
        given = self.find(*names)
        return otherwise if given is None else self.parsed(parse, *given, otherwise)

    def parsed(self, parse: Callable[[str, str], _T], where: str, text: str, otherwise: _T) -> _T:
        """Return the parsed text; `otherwise` if it is refused."""
        try:
            return parse(where, text)
        except ConfigurationError as problem:
            if str(problem) not in map(str, self.problems):
                self.problems.append(problem)
            return otherwise


def resolve(
    endpoint: str | None, protocol: str | None, interval_s: float | None, variables: Mapping[str, str] | None = None
) -> OtlpSettings | None:
    """Return the settings from the flags `--otlp-…`, else from the environment; None if neither asks for a push.

    Raises:
        ConfigurationError: Something cannot be used; it has all problems.
    """
    variables = os.environ if variables is None else variables
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    reader = _Reader({**variables, "--otlp-endpoint": endpoint or "", "--otlp-protocol": protocol or ""})
    metrics, logs = (_target(reader, signal) for signal in (Signal.METRICS, Signal.LOGS))
    if metrics is None and logs is None and not reader.problems:
        return None
    settings = OtlpSettings(
        metrics=metrics,
        logs=logs,
        interval_s=interval_s or reader.read([_INTERVAL], _milliseconds, DEFAULT_OTLP_INTERVAL_S),
        is_exponential=reader.read([_AGGREGATION], _choice(_AGGREGATIONS), "") == _AGGREGATIONS[1],
        is_delta=reader.read([_TEMPORALITY], _choice(_TEMPORALITIES), "") in _TEMPORALITIES[1:],
    )
    if reader.problems:
        raise ConfigurationError.of(reader.problems)
    return settings


def _target(reader: _Reader, signal: Signal) -> Target | None:
    _, listed = reader.find(f"OTEL_{signal.name}_EXPORTER") or ("", "")
    exporters = {name.strip().lower() for name in listed.split(",")} - {""}
    if exporters and "otlp" not in exporters:
        return None

    def names(setting: str) -> tuple[str, str]:
        return f"{_PREFIX}{signal.name}_{setting}", _PREFIX + setting

    given_endpoint = reader.find("--otlp-endpoint", *names("ENDPOINT"))
    if given_endpoint is None and not exporters and reader.find("--otlp-protocol") is None:
        return None
    given_protocol = reader.find("--otlp-protocol", *names("PROTOCOL")) or ("", DEFAULT_OTLP_PROTOCOL)
    protocol = reader.parsed(_choice(tuple(_DEFAULT_PORTS), "otlp-protocol"), *given_protocol, "")
    if not protocol:
        return None
    if protocol == "grpc":
        reader.parsed(_require_grpc, *given_protocol, None)
    where, url = given_endpoint or ("the default endpoint", f"http://localhost:{_DEFAULT_PORTS[protocol]}")
    endpoint = reader.parsed(partial(_endpoint, protocol), where, url, url)
    if protocol == "http/protobuf" and where != names("ENDPOINT")[0]:
        endpoint = f"{endpoint.rstrip('/')}/{signal.value}"
    return Target(
        endpoint=endpoint,
        protocol=protocol,
        headers=reader.read(names("HEADERS"), partial(_headers, protocol), {}),
        timeout_s=reader.read(names("TIMEOUT"), _timeout, DEFAULT_TIMEOUT_S),
        compression=reader.read(names("COMPRESSION"), _choice(_COMPRESSIONS[protocol], "otlp-compression"), "none"),
        certificate=reader.read(names("CERTIFICATE"), _file, None),
        client_certificate=reader.read(names("CLIENT_CERTIFICATE"), _file, None),
        client_key=reader.read(names("CLIENT_KEY"), _file, None),
    )


def _require_grpc(where: str, text: str) -> None:
    missing = [package for package, module in _GRPC_PACKAGES.items() if find_spec(module) is None]
    if missing:
        wrong = f"{text!r} needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed."
        raise ConfigurationError(where, wrong, "pip install 'locust-otel[grpc]'", slug="grpc-extra")


def _endpoint(protocol: str, where: str, url: str) -> str:
    is_grpc, shown, slug = protocol == "grpc", repr(without_secrets(url)), "otlp-endpoint"
    try:
        parts = urlsplit(f"http://{url}" if is_grpc and "://" not in url else url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(where, f"{shown} is not a URL.", "Write http://localhost:4318.", slug=slug) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        remedy = f"Write http://localhost:{_DEFAULT_PORTS[protocol]}, or https:// for TLS."
        raise ConfigurationError(where, f"{shown} is not an OTLP endpoint over {protocol}.", remedy, slug=slug)
    if not is_grpc:
        return url
    if "@" in parts.netloc:
        wrong = "there is a user name in the URL, and gRPC cannot send it."
        remedy = "Put it into OTEL_EXPORTER_OTLP_HEADERS: authorization=Basic%20..."
        raise ConfigurationError(where, wrong, remedy, slug="otlp-endpoint-secret")
    if parts.path.strip("/") or parts.query:
        remedy = "Leave the path out, or use --otlp-protocol http/protobuf."
        raise ConfigurationError(where, f"{shown} has a path, but gRPC has none.", remedy, slug="otlp-endpoint-path")
    return f"{parts.scheme}://{parts.netloc}"


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment, which may be secrets."""
    return re.split(r"[?#]", re.sub(r"^(\w+://)?.*@", r"\1", url))[0]


def _headers(protocol: str, where: str, text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, pair in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        name, equals, value = pair.partition("=")
        name, value = unquote(name.strip()), unquote(value.strip())
        # OpenTelemetry's own parser logs a header that has a raw quote, semicolon, backslash or non-ASCII letter.
        is_raw = not pair.isascii() or bool(set(pair) & set('";\\'))
        if not equals or is_raw or not _HEADER_NAME.fullmatch(name) or not _is_sendable(name, value, protocol):
            # The text is not shown: without a = it may be the secret itself.
            wrong = f"header {number} is malformed, or cannot be sent over {protocol}."
            remedy = "Write name=value pairs separated by commas; percent-encode other characters: %20 for a space."
            raise ConfigurationError(where, wrong, remedy, slug="otlp-headers")
        headers[name.lower()] = value
    return headers


def _is_sendable(name: str, value: str, protocol: str) -> bool:
    if protocol == "grpc":  # texts are ASCII, and names that end in -bin are for bytes
        return value.isprintable() and value.isascii() and not name.lower().endswith("-bin")
    return value.isprintable() and all(ord(letter) < 256 for letter in value)  # Latin-1


def _timeout(where: str, text: str) -> float:
    # The specification counts milliseconds, the Python exporters count seconds. No timeout is longer than a quarter of
    # an hour, or, in milliseconds, shorter than a second.
    seconds = _number(where, text)
    return seconds / 1000 if seconds >= 1000 else seconds


def _file(where: str, path: str) -> str | None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        wrong = f"{path} cannot be read: {error.strerror}."
        raise ConfigurationError(where, wrong, "Name a PEM file that this user may read.", slug="otlp-file") from error
    return path


def _milliseconds(where: str, text: str) -> float:
    return _number(where, text) / 1000


def _number(where: str, text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise ConfigurationError(where, f"{text!r} is not a time.", "Give a number above zero.", slug="otlp-time")


def _choice(choices: tuple[str, ...], slug: str = "otlp-choice") -> Callable[[str, str], str]:
    """Return a parser of a word in any case."""

    def parse(where: str, text: str) -> str:
        if text.lower() in choices:
            return text.lower()
        remedy = f"Give {', '.join(choices[:-1])} or {choices[-1]}."
        raise ConfigurationError(where, f"{text!r} is not supported.", remedy, slug=slug)

    return parse
