"""The faults of the demo shop: their effects on a request, as arithmetic.

A fault neither sleeps nor reads a clock: it takes a `RequestContext`, with the age of the fault, and returns seconds,
connections or a status. Random numbers come from a generator in the arguments: the same seed has the same effect on the
n-th request.
"""

# ruff: noqa: ARG002, D102  # a fault overrides a method of `ShopFault`, and needs some of its arguments only

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo.latency import SERVICES


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The properties of a request that a fault depends on."""

    age_s: float  # since the fault was activated
    in_flight: int  # requests in the shop, working or waiting, including this one
    service_s: float  # service time of the request without a fault


def _number(default: float, unit: str, meaning: str, low: float, high: float = math.inf) -> Any:
    return dataclasses.field(default=default, metadata={"unit": unit, "meaning": meaning, "low": low, "high": high})


def _route(default: str = "") -> Any:
    meaning = "only this route" if default else "only this route; empty: all"
    return dataclasses.field(default=default, metadata={"unit": "route", "meaning": meaning})


@dataclass(frozen=True, slots=True)
class ShopFault:
    """Base of the faults, without an effect. The fields of a fault are its parameters."""

    name: ClassVar[str] = ""

    def work_s(self, context: RequestContext) -> float:
        """Return the seconds added while a worker is held; they reduce the capacity."""
        return 0.0

    def delay_s(self, context: RequestContext, rng: random.Random) -> float:
        """Return the seconds added while no worker is held; the capacity stays the same."""
        return 0.0

    def hold_s(self, age_s: float) -> float:
        """Return the seconds from now in which no request may begin or end."""
        return 0.0

    def forced_status(self, rng: random.Random) -> int | None:
        """Return the HTTP status that replaces the real one, or None."""
        return None

    def pool_size(self, normal: int) -> int:
        """Return the size of the database pool."""
        return normal

    def refuses(self, rng: random.Random) -> bool:
        """Return whether the connection of this request is closed without an answer."""
        return False

    def concerns(self, route: str) -> bool:
        """Return whether the fault applies to this route."""
        return getattr(self, "route", "") in ("", route)


@dataclass(frozen=True, slots=True)
class Latency(ShopFault):
    """Every answer is delayed, as by a slow network."""

    name: ClassVar[str] = "latency"
    added_s: float = _number(0.5, "s", "seconds added to every answer", 0)
    jitter_s: float = _number(0.0, "s", "seconds more or less than that at most, evenly distributed", 0)
    route: str = _route()

    def delay_s(self, context: RequestContext, rng: random.Random) -> float:
        if not self.jitter_s:
            return self.added_s
        return max(0.0, self.added_s + rng.uniform(-self.jitter_s, self.jitter_s))


@dataclass(frozen=True, slots=True)
class Errors(ShopFault):
    """A share of the requests fails, after the usual time."""

    name: ClassVar[str] = "errors"
    ratio: float = _number(0.1, "ratio", "share of requests that fail", 0, 1)
    status: int = _number(500, "HTTP status", "HTTP status of their answers", 400, 599)
    route: str = _route()

    def forced_status(self, rng: random.Random) -> int | None:
        return self.status if rng.random() < self.ratio else None


@dataclass(frozen=True, slots=True)
class PoolCliff(ShopFault):
    """The database pool shrinks: no effect below its new capacity, a collapse above it."""

    name: ClassVar[str] = "pool-cliff"
    connections: int = _number(1, "connections", "size of the pool, if smaller than usual", 1)

    def pool_size(self, normal: int) -> int:
        return min(self.connections, normal)


@dataclass(frozen=True, slots=True)
class Stall(ShopFault):
    """Everything stops at regular intervals, as in a long garbage collection: a sawtooth."""

    name: ClassVar[str] = "stall"
    period_s: float = _number(20.0, "s", "time from one stall to the next; the first comes after one period", 0.001)
    duration_s: float = _number(3.0, "s", "length of a stall, below period_s", 0)

    def __post_init__(self) -> None:
        if self.duration_s >= self.period_s:
            raise ValueError(f"duration_s {self.duration_s:g} is not below period_s {self.period_s:g}")

    def hold_s(self, age_s: float) -> float:
        if age_s < self.period_s:
            return 0.0
        return max(0.0, self.duration_s - age_s % self.period_s)


@dataclass(frozen=True, slots=True)
class SlowEndpoint(ShopFault):
    """One route holds its worker longer; under load the other routes wait in the queue."""

    name: ClassVar[str] = "slow-endpoint"
    route: str = _route("/api/orders")
    factor: float = _number(10.0, "factor", "factor on the route's service time", 1)
    added_s: float = _number(0.0, "s", "seconds added to that", 0)

    def work_s(self, context: RequestContext) -> float:
        return context.service_s * (self.factor - 1) + self.added_s


@dataclass(frozen=True, slots=True)
class Saturation(ShopFault):
    """Response time grows linearly with the requests in flight; throughput stays below 1 / `per_request_s`."""

    name: ClassVar[str] = "saturation"
    per_request_s: float = _number(0.01, "s", "seconds added for each request in flight", 0)
    route: str = _route()

    def delay_s(self, context: RequestContext, rng: random.Random) -> float:
        return self.per_request_s * context.in_flight


@dataclass(frozen=True, slots=True)
class Leak(ShopFault):
    """Response time grows slowly with time."""

    name: ClassVar[str] = "leak"
    per_minute_s: float = _number(0.1, "s/min", "seconds added for each minute since activation", 0)
    route: str = _route()

    def delay_s(self, context: RequestContext, rng: random.Random) -> float:
        return self.per_minute_s * context.age_s / 60


@dataclass(frozen=True, slots=True)
class Refuse(ShopFault):
    """Connections are closed without an answer: clients get a connection error."""

    name: ClassVar[str] = "refuse"
    ratio: float = _number(1.0, "ratio", "share of requests refused", 0, 1)

    def refuses(self, rng: random.Random) -> bool:
        return rng.random() < self.ratio


FAULTS: Mapping[str, type[ShopFault]] = {
    fault.name: fault for fault in (Latency, Errors, PoolCliff, Stall, SlowEndpoint, Saturation, Leak, Refuse)
}


def build(name: str, parameters: Mapping[str, object]) -> ShopFault:
    """Make a fault from its name and parameters; the others have their defaults.

    Raises:
        ConfigurationError: Unknown name (`fault-name`), unknown parameter (`fault-parameter`), or a value
            of the wrong type or out of range (`fault-value`). The message lists the valid ones.
    """
    kind = FAULTS.get(name)
    if kind is None:
        raise ConfigurationError(
            "fault", f"{name!r} is not a fault.", f"Write one of {', '.join(FAULTS)}.", slug="fault-name"
        )
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in parameters.items():
        if key not in fields:
            remedy = f"Write one of {', '.join(fields)}."
            raise _error(name, f"{key!r} is not a parameter.", remedy, slug="fault-parameter")
        values[key] = _value(name, fields[key], value)
    try:
        return kind(**values)
    except ValueError as error:
        raise _error(name, f"{error}.", "Change one of them.") from None


def parse(text: str) -> ShopFault:
    """Make a fault from `NAME` or `NAME:key=value,key=value`, the form of the command line.

    Raises:
        ConfigurationError: As `build`; also for a part without `=` (`fault-parameter`).
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, object] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise _error(name, f"{part!r} has no value.", "Write key=value.", slug="fault-parameter")
        parameters[key] = value
    return build(name, parameters)


def _value(name: str, field: dataclasses.Field[Any], value: object) -> object:
    kind: type[Any] = type(field.default)
    if kind is str:
        if value in SERVICES or (value == "" and field.default == ""):
            return value
        raise _error(name, f"{field.name} {value!r} is not a route.", f"Write one of {', '.join(SERVICES)}.")
    low, high = field.metadata["low"], field.metadata["high"]
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]  # from JSON
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and low <= number <= high) or (kind is int and not number.is_integer()):
        span = f"from {low:g} up" if high == math.inf else f"from {low:g} to {high:g}"
        number_kind = "a whole number" if kind is int else "a number"
        remedy = f"Its unit is {field.metadata['unit']}, its default {field.default:g}."
        raise _error(name, f"{field.name} {value!r} is not {number_kind} {span}.", remedy)
    return kind(number)


def _error(name: str, found: str, remedy: str, *, slug: str = "fault-value") -> ConfigurationError:
    return ConfigurationError(f"fault {name}", found, remedy, slug=slug)


def available() -> list[dict[str, object]]:
    """Return each fault with name, summary and parameters, and each parameter with unit, default and meaning."""
    return [
        {
            "name": kind.name,
            "summary": (kind.__doc__ or "").split("\n", 1)[0],
            "parameters": [
                {"name": field.name, "default": field.default}
                | {key: field.metadata[key] for key in ("unit", "meaning")}
                for field in dataclasses.fields(kind)
            ],
        }
        for kind in FAULTS.values()
    ]
