"""The flags: options, environment variables and `locust.conf`, as Locust's own parser reads them, become values.

Options stay plain text in Locust's namespace, since Locust sends that to every worker by msgpack. What the files that
they name hold is read by the exporter.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_MAX_NAMES, DEFAULT_PORT, OPTIONS, Option

DEFAULT_SLOW_S = 5.0

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Our flags, read but for the files that they name.

    Attributes:
        port: Port of `/metrics`; None where it is off.
        port_is_named: Whether the user named it; such a port is never replaced by another.
        host: Address to listen on.
        linger: How long to stay up at exit.
        run_id: The given one, or None for one made at the start of the run.
        run_labels: Labels for `locust_run_info`.
        slow_s: Seconds above which a request is slow; None where no flag says so.
        max_names: Methods and names with series of their own.
        from_workers: Whether workers serve their own numbers.
        trace_ratio: Share of requests whose `traceparent` says sampled; None to send none.
        slo_abort: Whether a burning critical pair ends the run.
        gc_freeze: Whether what was loaded before the first run is left out of garbage collections.
    """

    port: int | None
    port_is_named: bool
    host: str
    linger: Linger
    run_id: str | None
    run_labels: Mapping[str, str]
    slow_s: float | None
    max_names: int
    from_workers: bool
    trace_ratio: float | None
    slo_abort: bool = False
    gc_freeze: bool = True


Values = Mapping[str, Any]
"""What was given by the names of the options: text, a list of texts, or None; as the wire carries it."""


class Reader:
    """Reads values one by one, and collects every problem.

    Attributes:
        problems: All problems so far.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self.problems: list[ConfigurationError] = []

    def is_given(self, dest: str) -> bool:
        """Return whether there is a value."""
        return self._values.get(dest) not in (None, "", [])

    def read(self, dest: str, parse: Callable[[Any], _T], otherwise: _T) -> _T:
        """Return the value as `parse` returns it; `otherwise` where there is none, or it is refused."""
        if not self.is_given(dest):
            return otherwise
        try:
            return parse(self._values[dest])
        except ConfigurationError as problem:
            self.problems.append(problem)
            return otherwise

    def flags(self) -> Flags:
        """Return the flags."""
        read = self.read
        return Flags(
            port=read("prometheus_port", _port, _Port(DEFAULT_PORT)).number,
            port_is_named=self.is_given("prometheus_port"),
            host=read("prometheus_host", _host, "127.0.0.1"),
            linger=read("prometheus_linger", _linger, Linger(None)),
            trace_ratio=read("propagate_traces", _ratio, None),
            run_id=read("run_id", _run_id, None),
            run_labels=read("run_label", _run_labels, {}),
            slow_s=read("slow_request", _slow, None),
            max_names=read("max_request_names", _max_names, DEFAULT_MAX_NAMES),
            from_workers=read("export_from", _export_from, False),
            slo_abort=read("slo_abort", lambda value: _switch(value, "--slo-abort"), False),
            gc_freeze=not read("no_gc_freeze", lambda value: _switch(value, "--no-gc-freeze"), False),
        )


def values_of(options: object, given: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the values that an options namespace of Locust holds.

    Args:
        options: Locust's namespace; None, or one without our options (an embedded use), falls back to the environment
            variables and the defaults.
        given: Settings by the names of our options, which win over both.
    """
    return {option.dest: _value(option, options, given or {}) for option in OPTIONS}


def flags_of(values: Values) -> Flags:
    """Return the flags, for a process that reads no files.

    Raises:
        ConfigurationError: Something cannot be used; it tells of all problems at once.
    """
    reader = Reader(values)
    flags = reader.flags()
    if reader.problems:
        raise ConfigurationError.of(reader.problems)
    return flags


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


def _switch(value: object, flag: str) -> bool:
    text = str(value).strip().lower()
    if text not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ConfigurationError(flag, f"{text!r} is not known.", "Write true or false.", slug="switch")
    return text in {"true", "1", "yes", "on"}


def _export_from(value: object) -> bool:
    text = str(value).strip().lower()
    if text not in {"master", "workers"}:
        raise ConfigurationError(
            "--export-from", f"{text!r} is not known.", "Give master or workers.", slug="export-from"
        )
    return text == "workers"
