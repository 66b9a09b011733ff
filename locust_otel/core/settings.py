"""Values of the flags, from Locust's parser (command line, environment variables, `locust.conf`) or the environment.

Options stay plain text in Locust's namespace, which Locust sends to every worker in msgpack. The exporter reads the
files that flags name.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import DEFAULT_HOST, DEFAULT_MAX_NAMES, DEFAULT_PORT, OPTIONS, Option

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED_LABELS = {"job", "instance", "le", "quantile", "run_id", "host", "locustfile", "profile", "version"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_SWITCH = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
_T = TypeVar("_T")

Values = Mapping[str, Any]  # given values by option name: a text, a list of texts, or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """Values of the flags, without the files that they name."""

    port: int | None = DEFAULT_PORT  # None where `/metrics` is off
    port_is_named: bool = False  # whether the user chose it; such a port is never replaced by another
    host: str = DEFAULT_HOST
    linger_s: float | None = None  # longest time that `/metrics` stays up at exit; None for `auto`
    run_id: str | None = None  # None for an id made at the start of the run
    run_labels: Mapping[str, str] = field(default_factory=dict)  # labels for `locust_run_info`
    slow_s: float | None = None  # seconds above which a request is slow; None without the flag
    max_names: int = DEFAULT_MAX_NAMES  # methods and names with their own series
    group_names: bool = False  # whether names that differ only in ids share a series
    from_workers: bool = False  # whether workers serve their own metrics
    trace_ratio: float | None = None  # share of requests with a sampled `traceparent`; None to send no header
    slo_abort: bool = False  # whether a burning critical pair of windows ends the run
    gc_freeze: bool = True  # whether garbage collections skip objects from before the first run


_DEFAULTS = Flags()


class Reader:
    """Reader of values that collects all `problems`."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self.problems: list[ConfigurationError] = []

    def is_given(self, dest: str) -> bool:
        """Return whether an option has a value."""
        return self._values.get(dest) not in (None, "", [])

    def read(self, dest: str, parse: Callable[[Any], _T], default: _T) -> _T:
        """Return the parsed value of an option; `default` if it has no value or `parse` refuses it."""
        try:
            return parse(self._values[dest]) if self.is_given(dest) else default
        except ConfigurationError as problem:
            self.problems.append(problem)
            return default

    def flags(self) -> dict[str, Any]:
        """Return the fields of `Flags`."""
        fields: dict[str, Any] = {"port_is_named": self.is_given("prometheus_port")}
        for rule in _RULES:
            dest = rule.flag.removeprefix("--").replace("-", "_")
            fields[rule.field] = self.read(dest, rule.read, getattr(_DEFAULTS, rule.field))
        return fields


def values_of(options: object, given: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the values of the options in a namespace of Locust.

    Options that the namespace lacks (Locust as a library, or None) come from environment variables. `given` values, by
    option name, override both.
    """
    return {option.dest: _value(option, options, given or {}) for option in OPTIONS}


def flags_of(values: Values) -> Flags:
    """Return the flags, without the files that they name.

    Raises:
        ConfigurationError: A value is not valid; the error has all problems.
    """
    reader = Reader(values)
    fields = reader.flags()
    if reader.problems:
        raise ConfigurationError.of(reader.problems)
    return Flags(**fields)


def new_run_id(now: datetime | None = None) -> str:
    """Return an id for a run: its start in UTC and four hex digits, `2026-11-22T07-17-03Z-3f9a`."""
    start = now or datetime.now(UTC)
    return f"{start:%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(2)}"


def duration(text: object, where: str) -> float:
    """Return seconds from `500ms`, `5s`, `2m`, `1h`, or a number of seconds.

    Raises:
        ConfigurationError: The value is not a time.
    """
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        remedy = "Write 500ms, 5s, 2m, or a number of seconds."
        raise ConfigurationError(where, f"{text!r} is not a time.", remedy, slug="time")
    # Rounded, because 0.001 has no exact float: 1100ms is 1.1 s and not 1.1000000000000001 s.
    return round(float(match[1]) * _SECONDS[match[2]], 9)


def _value(option: Option, options: object, given: Mapping[str, object]) -> Any:
    if option.dest in given:
        return given[option.dest]
    if hasattr(options, option.dest):
        return getattr(options, option.dest)
    text = os.environ.get(option.env_var)
    return [item.strip() for item in text.strip("[]").split(",")] if text is not None and option.is_list else text


def _word(value: object) -> str:
    return str(value).strip().lower()


def _whole(value: object) -> int:
    text = str(value).strip()
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return int(text)


def _linger(value: object) -> float | None:
    word = _word(value)
    if word == "auto":
        return None
    return 0.0 if word == "off" else duration(value, "--prometheus-linger")


def _run_labels(value: Any) -> dict[str, str]:
    items = [f"{k}={v}" for k, v in value.items()] if isinstance(value, Mapping) else value
    labels: dict[str, str] = {}
    for item in items:
        name, equals, text = str(item).partition("=")
        if not equals or not _LABEL_NAME.fullmatch(name):
            remedy = "Write name=value with letters, digits and underscores in the name: --run-label git_sha=3f9a2c1."
            raise ConfigurationError("--run-label", f"{item!r} is not a label.", remedy, slug="run-label")
        if name in _RESERVED_LABELS or name.startswith("__"):
            found, remedy = f"the label {name!r} is reserved.", f"Choose another name: run_{name.strip('_')}=..."
            raise ConfigurationError("--run-label", found, remedy, slug="run-label-reserved")
        if name in labels:
            found, remedy = f"{name!r} is given twice.", "Give each label once."
            raise ConfigurationError("--run-label", found, remedy, slug="run-label-twice")
        labels[name] = text
    return labels


class _Rule(NamedTuple):
    """Rule of one flag: the field that it sets, and the error for a value that is not valid.

    A value is not valid if `parse` raises `ValueError` or `KeyError`, or if `is_valid` is false for the result.
    """

    flag: str
    field: str
    parse: Callable[[Any], Any]
    is_valid: Callable[[Any], object] = lambda _: True
    wrong: str = ""
    remedy: str = ""
    slug: str = ""

    def read(self, value: Any) -> Any:
        """Return the value of the field."""
        with suppress(ValueError, KeyError):
            parsed = self.parse(value)
            if self.is_valid(parsed):
                return parsed
        slug = self.slug or self.flag.removeprefix("--")
        raise ConfigurationError(self.flag, f"{value!r} {self.wrong}", self.remedy, slug=slug)


_switch = partial(_Rule, wrong="is not true or false.", remedy="Write true or false.", slug="switch")

# A table: flag and field in the first line, then the parser and the check, then the texts of the error.
# fmt: off
_RULES = (
    _Rule("--prometheus-port", "port",
        lambda value: None if _word(value) == "off" else _whole(value), lambda port: port is None or port <= 65535,
        "is not a port.", "Give a number from 0 (any free port) to 65535, or off."),
    _Rule("--prometheus-host", "host",
        lambda value: str(value).strip(), re.compile(r"[A-Za-z0-9.:_%-]+").fullmatch,
        "is not an address.", "Give an address of this machine: 127.0.0.1, 0.0.0.0."),
    _Rule("--prometheus-linger", "linger_s", _linger),
    _Rule("--propagate-traces", "trace_ratio",
        lambda value: float(str(value)), lambda ratio: 0 <= ratio <= 1,
        "is not a ratio.", "Give a number from 0 to 1."),
    _Rule("--run-id", "run_id",
        str, re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}").fullmatch,
        "cannot name a run.", "Use up to 100 letters, digits and . _ : + - and begin with a letter or digit."),
    _Rule("--run-label", "run_labels", _run_labels),
    _Rule("--slow-request", "slow_s",
        lambda value: duration(value, "--slow-request"), lambda seconds: 0 < seconds < math.inf,
        "would make every request slow.", "Give a time above zero, 5s."),
    _Rule("--max-request-names", "max_names",
        _whole, lambda number: 1 <= number <= 100_000,
        "is not a number of names.", "Give a whole number from 1 to 100000."),
    _switch("--group-names", "group_names", lambda value: _SWITCH[_word(value)]),
    _Rule("--export-from", "from_workers",
        lambda value: {"master": False, "workers": True}[_word(value)], lambda _: True,
        "is not master or workers.", "Give master or workers."),
    _switch("--slo-abort", "slo_abort", lambda value: _SWITCH[_word(value)]),
    _switch("--no-gc-freeze", "gc_freeze", lambda value: not _SWITCH[_word(value)]),
)
# fmt: on
