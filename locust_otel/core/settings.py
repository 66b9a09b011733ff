"""The settings: flags, environment variables and `locust.conf`, as Locust's own parser reads them.

Options stay plain text in Locust's namespace, since Locust sends that to every worker by msgpack; here they become
values, before anything starts, with every problem told at once.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_MAX_NAMES, DEFAULT_PORT, OPTIONS, Option
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.web_config import load as load_web_config
from locust_otel.exporter.otlp.settings import OtlpSettings
from locust_otel.exporter.otlp.settings import resolve as resolve_otlp
from locust_otel.slo.objectives import Slo

DEFAULT_SLOW_S = 5.0
MIN_OTLP_INTERVAL_S = 0.5

_RESERVED_LABELS = frozenset(
    {"job", "instance", "le", "quantile", "run_id", "host", "locustfile", "profile", "version"}
)
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Port:
    number: int | None


@dataclass(frozen=True, slots=True)
class Linger:
    """How long `/metrics` stays up at exit; `limit_s` is None for `auto`."""

    limit_s: float | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for.

    Attributes:
        port: Port of `/metrics`; None where it is off.
        port_is_named: Whether the user named it; such a port is never replaced by another.
        host: Address to listen on.
        web_config: TLS, users and headers of `/metrics`.
        linger: How long to stay up at exit.
        run_id: The given one, or None for one made at the start of the run.
        run_labels: Labels for `locust_run_info`.
        slow_s: Seconds above which a request is slow.
        max_names: Methods and names with series of their own.
        from_workers: Whether workers serve their own numbers.
        otlp: What is pushed where; None for nothing.
        trace_ratio: Share of requests whose `traceparent` says sampled; None to send none.
        slo: The objectives; None without an SLO file, and on workers, whose master judges.
        slo_abort: Whether a burning critical pair ends the run.
        run_record: Folder for the record of each run; None for no record, and on workers, whose master writes it.
    """

    port: int | None
    port_is_named: bool
    host: str
    web_config: WebConfig | None
    linger: Linger
    run_id: str | None
    run_labels: Mapping[str, str]
    slow_s: float
    max_names: int
    from_workers: bool
    otlp: OtlpSettings | None
    trace_ratio: float | None
    slo: Slo | None = None
    slo_abort: bool = False
    run_record: str | None = None


def resolve(options: object, given: Mapping[str, object] | None = None, *, is_worker: bool = False) -> Settings:
    """Return the settings that an options namespace of Locust asks for.

    Args:
        options: Locust's namespace; None, or one without our options (an embedded use), falls back to the environment
            variables and the defaults.
        given: Settings by the names of our options, which win over both.
        is_worker: Whether a master decides about objectives; the SLO file need not be here then.

    Raises:
        ConfigurationError: Something cannot be used; it tells of all problems at once.
    """
    values = {option.dest: _value(option, options, given or {}) for option in OPTIONS}
    problems: list[ConfigurationError] = []

    def read(parse: Callable[[Any], _T], dest: str, otherwise: _T) -> _T:
        value = values[dest]
        if value is None or value in ("", []):
            return otherwise
        try:
            return parse(value)
        except ConfigurationError as problem:
            problems.append(problem)
            return otherwise

    slo = read(_slo, "slo", None) if not is_worker else None
    settings = Settings(
        port=read(_port, "prometheus_port", _Port(DEFAULT_PORT)).number,
        port_is_named=values["prometheus_port"] not in (None, ""),
        host=read(_host, "prometheus_host", "127.0.0.1"),
        web_config=read(load_web_config, "prometheus_web_config", None),
        linger=read(_linger, "prometheus_linger", Linger(None)),
        otlp=_otlp(read, values, problems),
        trace_ratio=read(_ratio, "propagate_traces", None),
        run_id=read(_run_id, "run_id", None),
        run_labels=read(_run_labels, "run_label", {}),
        slow_s=read(_slow, "slow_request", float(slo.slow_s) if slo is not None else DEFAULT_SLOW_S),
        max_names=read(_max_names, "max_request_names", DEFAULT_MAX_NAMES),
        from_workers=read(_export_from, "export_from", False),
        slo=slo,
        slo_abort=read(_switch, "slo_abort", False),
        run_record=read(_writable_folder, "run_record", None) if not is_worker else None,
    )
    if settings.slo_abort and values["slo"] in (None, "") and not is_worker:
        problems.append(
            ConfigurationError(
                "--slo-abort",
                "there is no SLO file to abort for.",
                "Give one with --slo.",
                slug="contradictory-flags",
            )
        )
    if settings.port is None:
        needing = {"--prometheus-web-config": settings.web_config, "--export-from workers": settings.from_workers}
        problems += [
            ConfigurationError(
                flag,
                "needs /metrics, which --prometheus-port off disables.",
                f"Leave out {flag}, or give a port.",
                slug="contradictory-flags",
            )
            for flag, asked in needing.items()
            if asked
        ]
    if problems:
        raise ConfigurationError.of(problems)
    return settings


def new_run_id(now: datetime | None = None) -> str:
    """Return an identity for a run: its start in UTC and four hex digits, `2026-11-22T07-17-03Z-3f9a`."""
    start = now or datetime.now(UTC)
    return f"{start:%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(2)}"


def duration(text: object, where: str) -> float:
    """Return seconds from `500ms`, `5s`, `2m`, `1h`, or a number of seconds.

    Raises:
        ConfigurationError: It is none of these.
    """
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ConfigurationError(
            where, f"{text!r} is not a time.", "Write 500ms, 5s, 2m, or a number of seconds.", slug="time"
        )
    # Rounded, since 0.001 has no exact float: 1100ms is 1.1 s and not 1.1000000000000001 s.
    return round(float(match[1]) * _SECONDS[match[2]], 9)


def _value(option: Option, options: object, given: Mapping[str, object]) -> Any:
    if option.dest in given:
        return given[option.dest]
    if hasattr(options, option.dest):
        return getattr(options, option.dest)
    text = os.environ.get(option.env_var)
    if text is None:
        return option.default
    return [item.strip() for item in text.strip("[]").split(",")] if option.is_list else text


def _port(value: object) -> _Port:
    text = str(value).strip()
    if text.lower() == "off":
        return _Port(None)
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ConfigurationError(
            "--prometheus-port",
            f"{text!r} is not a port.",
            "Give a number from 0 (any free port) to 65535, or off.",
            slug="prometheus-port",
        )
    return _Port(int(text))


def _host(value: object) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9.:_%-]+", text):
        raise ConfigurationError(
            "--prometheus-host",
            f"{text!r} is not an address.",
            "Give an address of this machine: 127.0.0.1, 0.0.0.0.",
            slug="prometheus-host",
        )
    return text


def _linger(value: object) -> Linger:
    if str(value).strip().lower() == "auto":
        return Linger(None)
    return Linger(0.0 if str(value).strip().lower() == "off" else duration(value, "--prometheus-linger"))


def _run_id(value: object) -> str:
    text = str(value)
    if not _RUN_ID.fullmatch(text):
        raise ConfigurationError(
            "--run-id",
            f"{text!r} cannot name a run.",
            "Use up to 100 letters, digits and . _ : + - and begin with a letter or digit.",
            slug="run-id",
        )
    return text


def _run_labels(value: Any) -> dict[str, str]:
    items = [f"{k}={v}" for k, v in value.items()] if isinstance(value, Mapping) else value
    labels: dict[str, str] = {}
    for item in items:
        name, equals, text = str(item).partition("=")
        if not equals or not _LABEL_NAME.fullmatch(name):
            raise ConfigurationError(
                "--run-label",
                f"{item!r} is not a label.",
                "Write name=value, the name of letters, digits and underscores: --run-label git_sha=3f9a2c1.",
                slug="run-label",
            )
        if name in _RESERVED_LABELS or name.startswith("__"):
            raise ConfigurationError(
                "--run-label",
                f"the label {name!r} is reserved.",
                f"Choose another name: run_{name.strip('_')}=...",
                slug="run-label-reserved",
            )
        if name in labels:
            raise ConfigurationError(
                "--run-label", f"{name!r} is given twice.", "Give each label once.", slug="run-label-twice"
            )
        labels[name] = text
    return labels


def _slow(value: object) -> float:
    seconds = duration(value, "--slow-request")
    if not 0 < seconds < math.inf:
        raise ConfigurationError(
            "--slow-request",
            f"{value!r} would make every request slow.",
            "Give a time above zero, 5s.",
            slug="slow-request",
        )
    return seconds


def _ratio(value: object) -> float:
    try:
        ratio = float(str(value))
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise ConfigurationError(
            "--propagate-traces", f"{value!r} is not a ratio.", "Give a number from 0 to 1.", slug="propagate-traces"
        )
    return ratio


def _interval(value: object) -> float:
    seconds = duration(value, "--otlp-interval")
    if seconds < MIN_OTLP_INTERVAL_S:
        raise ConfigurationError(
            "--otlp-interval",
            f"{value!r} is too short.",
            f"Give {MIN_OTLP_INTERVAL_S:g}s or more.",
            slug="otlp-interval",
        )
    return seconds


def _otlp(
    read: Callable[..., Any], values: Mapping[str, Any], problems: list[ConfigurationError]
) -> OtlpSettings | None:
    endpoint = values["otlp_endpoint"] or None
    if endpoint and "@" in str(endpoint).partition("//")[2].partition("/")[0]:
        problems.append(
            ConfigurationError(
                "--otlp-endpoint",
                "there is a password in the URL, and Locust sends its options to every worker.",
                "Put it into the environment variable OTEL_EXPORTER_OTLP_HEADERS.",
                slug="otlp-endpoint-secret",
            )
        )
        return None
    try:
        return resolve_otlp(endpoint, values["otlp_protocol"] or None, read(_interval, "otlp_interval", None))
    except ConfigurationError as problem:
        problems.append(problem)
        return None


def _max_names(value: object) -> int:
    text = str(value).strip()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise ConfigurationError(
            "--max-request-names",
            f"{text!r} is not a number of names.",
            "Give a whole number from 1 to 100000.",
            slug="max-request-names",
        )
    return int(text)


def _slo(value: object) -> Slo:
    from locust_otel.slo.file import load  # noqa: PLC0415  # 0.1 s and 10 MiB of validation where there is no file

    return load(str(value))


def _switch(value: object) -> bool:
    text = str(value).strip().lower()
    if text not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ConfigurationError("--slo-abort", f"{text!r} is not known.", "Write true or false.", slug="switch")
    return text in {"true", "1", "yes", "on"}


def _writable_folder(value: object) -> str:
    folder = Path(str(value))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigurationError(
            "--run-record",
            f"{str(value)!r} cannot be written to: {reason}.",
            "Name a folder that can be.",
            slug="run-record-unwritable",
        ) from None
    return str(folder)


def _export_from(value: object) -> bool:
    text = str(value).strip().lower()
    if text not in {"master", "workers"}:
        raise ConfigurationError(
            "--export-from", f"{text!r} is not known.", "Give master or workers.", slug="export-from"
        )
    return text == "workers"
