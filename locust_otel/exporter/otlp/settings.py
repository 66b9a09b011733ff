"""Where OTLP goes and how: our flags, and for what they leave open the standard environment variables.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from locust_otel.core.errors import ConfigurationError

DEFAULT_INTERVAL_S = 5.0
DEFAULT_TIMEOUT_S = 10.0

_PREFIX = "OTEL_EXPORTER_OTLP_"
_DEFAULT_PORTS = {"http/protobuf": 4318, "grpc": 4317}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_T = TypeVar("_T")
_AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
_EXPONENTIAL = "base2_exponential_bucket_histogram"
_TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_COMPRESSIONS = {"http/protobuf": ("none", "gzip", "deflate"), "grpc": ("none", "gzip")}


class Signal(Enum):
    """What is pushed; the value is its path over HTTP."""

    METRICS = "v1/metrics"
    LOGS = "v1/logs"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one signal goes.

    Attributes:
        endpoint: Over HTTP the whole URL, over gRPC `http://host:port` or `https://host:port`; kept out of every text,
            it may hold a password.
        protocol: `http/protobuf` or `grpc`.
        headers: To be sent along; kept out of every text, they may hold secrets.
        timeout_s: Longest that one push may take, its retries included.
        compression: `none`, `gzip`, or over HTTP `deflate`.
        certificate: PEM file of who may have signed the server's certificate; None for the system's.
        client_certificate: PEM file with which we say who we are; None for nothing.
        client_key: Its key, where that stands in a file of its own.
    """

    endpoint: str = field(repr=False)
    protocol: str
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float
    compression: str
    certificate: str | None
    client_certificate: str | None
    client_key: str | None


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """What is pushed where, and how often.

    Attributes:
        metrics: Where metrics go; None for not at all.
        logs: Where events go; None for not at all.
        interval_s: Seconds between two pushes.
        is_exponential: Whether histograms go out with exponential buckets, else with explicit ones.
        is_delta: Whether counters and histograms tell what came since the last push, else since the start.
    """

    metrics: Target | None
    logs: Target | None
    interval_s: float
    is_exponential: bool
    is_delta: bool


class _Environment:
    """The variables of one signal: its own form first, then the common one."""

    def __init__(self, signal: Signal, variables: Mapping[str, str]) -> None:
        self._own = f"{_PREFIX}{signal.name}_"
        self._variables = variables

    def find(self, name: str) -> tuple[str, str] | None:
        """Return the variable that holds this setting and its value; None where neither is set or it is empty."""
        for variable in (self._own + name, _PREFIX + name):
            if value := self._variables.get(variable, "").strip():
                return variable, value
        return None


def resolve(
    endpoint: str | None,
    protocol: str | None,
    interval_s: float | None,
    variables: Mapping[str, str] | None = None,
) -> OtlpSettings | None:
    """Return the settings; None where nothing asks for a push.

    Args:
        endpoint: `--otlp-endpoint`, the base of both signals.
        protocol: `--otlp-protocol`.
        interval_s: `--otlp-interval`.
        variables: The environment.

    Raises:
        ConfigurationError: Something cannot be used; it tells of all problems at once.
    """
    variables = os.environ if variables is None else variables
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    problems: list[ConfigurationError] = []
    targets: dict[Signal, Target | None] = {}
    for signal in Signal:
        try:
            targets[signal] = _target(signal, endpoint, protocol, variables)
        except ConfigurationError as problem:
            # Both signals share most variables: the same problem is told once.
            problems += [p for p in problem.problems if str(p) not in map(str, problems)]
    if not problems and not any(targets.values()):
        return None

    def read(parse: Callable[..., _T], otherwise: _T, *arguments: Any) -> _T:
        try:
            return parse(*arguments)
        except ConfigurationError as problem:
            problems.append(problem)
            return otherwise

    settings = OtlpSettings(
        metrics=targets.get(Signal.METRICS),
        logs=targets.get(Signal.LOGS),
        interval_s=interval_s or read(_interval, DEFAULT_INTERVAL_S, variables),
        is_exponential=read(_choice, 0, variables, _AGGREGATION, ("explicit_bucket_histogram", _EXPONENTIAL)) == 1,
        is_delta=read(_choice, 0, variables, _TEMPORALITY, ("cumulative", "delta", "lowmemory")) > 0,
    )
    if problems:
        raise ConfigurationError.of(problems)
    return settings


def _target(signal: Signal, endpoint: str | None, protocol: str | None, variables: Mapping[str, str]) -> Target | None:
    exporters = {e.strip().lower() for e in variables.get(f"OTEL_{signal.name}_EXPORTER", "").split(",") if e.strip()}
    if exporters and "otlp" not in exporters:
        return None
    environment = _Environment(signal, variables)
    found = ("--otlp-endpoint", endpoint) if endpoint else environment.find("ENDPOINT")
    if found is None and not exporters and protocol is None:
        return None
    spoken = _protocol(environment, protocol)
    where, url = found or ("the default endpoint", f"http://localhost:{_DEFAULT_PORTS[spoken]}")
    problems: list[ConfigurationError] = []

    def read(parse: Callable[..., _T], *arguments: Any) -> _T | None:
        try:
            return parse(*arguments)
        except ConfigurationError as problem:
            problems.append(problem)
            return None

    checked = read(_grpc_endpoint if spoken == "grpc" else _http_endpoint, where, url)
    headers = read(_headers, environment, spoken)
    timeout_s = read(_timeout, environment)
    compression = read(_compression, environment, spoken)
    files = [read(_file, environment, name) for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")]
    if problems or checked is None or headers is None or timeout_s is None or compression is None:
        raise ConfigurationError.of(problems)
    is_base = spoken == "http/protobuf" and where != f"{_PREFIX}{signal.name}_ENDPOINT"
    endpoint = f"{checked.rstrip('/')}/{signal.value}" if is_base else checked
    return Target(endpoint, spoken, headers, timeout_s, compression, *files)


def _protocol(environment: _Environment, flag: str | None) -> str:
    where, text = ("--otlp-protocol", flag) if flag else environment.find("PROTOCOL") or ("", "http/protobuf")
    spoken = text.strip().lower()
    if spoken not in _DEFAULT_PORTS:
        raise ConfigurationError(
            where, f"the protocol {text!r} is not spoken here.", "Give http/protobuf or grpc.", slug="otlp-protocol"
        )
    return spoken


def _http_endpoint(where: str, url: str) -> str:
    parts = _split(where, url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            where,
            f"{_shown(url)!r} is not the URL of an OTLP endpoint over HTTP.",
            "Write it with its scheme: http://localhost:4318.",
            slug="otlp-endpoint",
        )
    return url


def _grpc_endpoint(where: str, url: str) -> str:
    parts = _split(where, url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            where,
            f"{_shown(url)!r} is not an OTLP endpoint over gRPC.",
            "Write http://localhost:4317, or https:// for TLS.",
            slug="otlp-endpoint",
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            where,
            "there is a user name in the URL, which gRPC has no place for.",
            "Put it into OTEL_EXPORTER_OTLP_HEADERS: authorization=Basic%20...",
            slug="otlp-endpoint-secret",
        )
    if parts.path.strip("/") or parts.query:
        raise ConfigurationError(
            where,
            f"{_shown(url)!r} has a path, which gRPC has not.",
            "Leave the path out, or use --otlp-protocol http/protobuf.",
            slug="otlp-endpoint-path",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _split(where: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(
            where, f"{_shown(url)!r} is not a URL.", "Write http://localhost:4318.", slug="otlp-endpoint"
        ) from None
    return parts


def _shown(url: str) -> str:
    """Return a URL as it may be shown: without user, password, query and fragment, which may be secrets."""
    return re.split(r"[?#]", re.sub(r"^(\w+://)?.*@", r"\1", url))[0]


def _headers(environment: _Environment, protocol: str) -> dict[str, str]:
    found = environment.find("HEADERS")
    if found is None:
        return {}
    where, text = found
    headers: dict[str, str] = {}
    for number, pair in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        name, equals, value = pair.partition("=")
        name, value = unquote(name.strip()), unquote(value.strip())
        # OpenTelemetry's own parser logs the whole header over a raw quote, semicolon, backslash or non-ASCII letter.
        is_raw = not pair.isascii() or bool(set(pair) & set('";\\'))
        if not equals or is_raw or not _HEADER_NAME.fullmatch(name) or not _is_sendable(name, value, protocol):
            # Its text is not shown: the part before a forgotten = may be the secret itself.
            raise ConfigurationError(
                where,
                f"header {number} is malformed, or cannot be sent over {protocol}.",
                "Write name=value, several separated by commas; what is no letter, digit or dash as %20.",
                slug="otlp-headers",
            )
        headers[name.lower()] = value
    return headers


def _is_sendable(name: str, value: str, protocol: str) -> bool:
    if not value.isprintable():
        return False
    if protocol == "grpc":  # whose names on -bin are for bytes, and whose texts are ASCII
        return value.isascii() and not name.lower().endswith("-bin")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _compression(environment: _Environment, protocol: str) -> str:
    where, text = environment.find("COMPRESSION") or ("", "none")
    if text.lower() not in _COMPRESSIONS[protocol]:
        raise ConfigurationError(
            where,
            f"{text!r} is no compression of OTLP over {protocol}.",
            f"Give {' or '.join(_COMPRESSIONS[protocol])}.",
            slug="otlp-compression",
        )
    return text.lower()


def _timeout(environment: _Environment) -> float:
    found = environment.find("TIMEOUT")
    if found is None:
        return DEFAULT_TIMEOUT_S
    where, text = found
    seconds = _number(where, text)
    # The specification counts milliseconds, the Python exporters count seconds. Nobody waits a quarter of an hour for a
    # push, nor less than a second for one in milliseconds.
    return seconds / 1000 if seconds >= 1000 else seconds


def _file(environment: _Environment, name: str) -> str | None:
    found = environment.find(name)
    if found is None:
        return None
    where, path = found
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            where,
            f"{path} cannot be read: {error.strerror}.",
            "Name a PEM file that this user may read.",
            slug="otlp-file",
        ) from error
    return path


def _interval(variables: Mapping[str, str]) -> float:
    text = variables.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    return _number("OTEL_METRIC_EXPORT_INTERVAL", text) / 1000 if text else DEFAULT_INTERVAL_S


def _number(where: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigurationError(where, f"{text!r} is not a time.", "Give a number above zero.", slug="otlp-time")
    return number


def _choice(variables: Mapping[str, str], name: str, choices: tuple[str, ...]) -> int:
    """Return which of the choices is taken; the first where nothing is said."""
    text = variables.get(name, "").strip().lower() or choices[0]
    if text not in choices:
        raise ConfigurationError(
            name, f"{text!r} is not known.", f"Give {', '.join(choices[:-1])} or {choices[-1]}.", slug="otlp-choice"
        )
    return choices.index(text)
