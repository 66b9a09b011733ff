"""Shape of an SLO file: keys, types, single values, and the JSON Schema for editors."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from locust_otel.core import shape
from locust_otel.core.documents import shown
from locust_otel.core.shape import Shape, at_most, refused, required_text
from locust_otel.slo.objectives import plain, span

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)? ?(?:ms|s|m|h|d) ?)+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]*[A-Za-z0-9])?")
_MAX_DURATION_S = 366 * 86400
_MAX_NAME = 100
_MAX_TEXT = 1024  # length of a recorded name
MAX_OBJECTIVES = 50
MAX_WINDOWS = 20


def _duration(value: object, *, is_positive: bool = False, is_whole: bool = False) -> Decimal:
    text = required_text(value, "a time").strip()
    if text != "0":
        if _NUMBER.fullmatch(text):
            raise refused("duration-unit", f"{text} has no unit.", f"Write {text}ms, or {text}s, {text}m, {text}h.")
        if len(text) > 50 or not _DURATION.fullmatch(text):
            raise refused("duration", f"{shown(text)} is not a time.", "Write 500ms, 5s, 2m, 1h30m, 7d.")
    seconds = sum((Decimal(n) * _SECONDS[unit] for n, unit in _PART.findall(text)), Decimal(0))
    if seconds > _MAX_DURATION_S:
        raise refused("duration-long", f"{shown(text)} is over a year.", "Write a shorter time.")
    if seconds * 1000 % 1:
        raise refused("duration-fine", f"{shown(text)} is finer than a millisecond.", "Write whole milliseconds.")
    if is_positive and not seconds:
        raise refused("duration-zero", "0 is too short here.", "Write a time above zero, 5s.")
    if is_whole and seconds % 1:
        raise refused("duration-whole", f"{shown(text)} is not whole seconds.", "Write whole seconds, 5s.")
    return plain(seconds)


_positive = partial(_duration, is_positive=True)
_whole = partial(_duration, is_positive=True, is_whole=True)


def _share(value: object) -> Decimal:
    text = required_text(value, "a percentage").strip()
    number = text.removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(number):
        raise refused("ratio", f"{shown(text)} is not a ratio or a percentage.", "Write 99% or 0.99.")
    ratio = Decimal(number) / 100 if text.endswith("%") else Decimal(number)
    if ratio > 1:
        is_percentage = text.endswith("%")
        found = f"{text} is over 100%." if is_percentage else f"{text} is not a ratio or a percentage."
        is_near = not is_percentage and ratio <= 100
        remedy = f"Write {number}% or {plain(ratio / 100)}." if is_near else "Write 99% or 0.99."
        raise refused("target-range", found, remedy)
    if not ratio:
        raise refused("target-range", f"{text} is not above 0.", "Write 99% or 0.99.")
    return plain(ratio)


def _target(value: object) -> Decimal:
    ratio = _share(value)
    if ratio == 1:
        found = f"{shown(str(value))} leaves no budget: one bad request misses it, and there is no burn rate."
        raise refused("target-no-budget", found, "Write a target that users would not notice, 99.9%.")
    if plain(ratio * 1_000_000) % 1:
        found = f"{shown(str(value))} has too many digits."
        raise refused("target-fine", found, "Write up to four decimal places of %.")
    return ratio


def _count(value: object) -> int:
    text = required_text(value, "a whole number").strip()
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= 1_000_000_000 or len(text) > 10:
        raise refused("count", f"{shown(text)} is not a number of requests.", "Write a whole number from 1 up: 100.")
    return int(text)


def _name(value: object) -> str:
    text = required_text(value, "a name")
    if len(text) > _MAX_NAME or not _NAME.fullmatch(text):
        remedy = "Use letters, digits, and . _ - between them: checkout-p99."
        raise refused("name", f"{shown(text)!r} cannot be a name.", remedy)
    return text


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    texts = tuple(required_text(item, "a text") for item in values)
    if not texts:
        raise refused("match-empty", "This list is empty and matches nothing.", "Add a text, or leave it out.")
    if not all(text.strip() for text in texts):
        raise refused("match-empty", "An empty text matches no request.", "Write the request's name as Locust has it.")
    if any(len(text) > _MAX_TEXT for text in texts):
        raise refused(
            "match-long",
            f"No name has over {_MAX_TEXT} characters.",
            "Write the first part of the name, as it is recorded.",
        )
    return tuple(dict.fromkeys(texts))


def _schema(pattern: str, example: str, **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example], **more})


def _ratio_schema(percentage: str, limit: dict[str, int], *examples: str | float) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^(?=.*[1-9]){percentage} ?%$"}
    number = {"type": "number", "exclusiveMinimum": 0, **limit}
    return WithJsonSchema({"anyOf": [text, number], "examples": [*examples]})


_SIZED = {"maxLength": 50}
_TIME = r"^(0|([0-9]+ ?ms ?|[0-9]+(\.[0-9]{1,3})? ?[smhd] ?)+)$"
_POSITIVE_TIME = r"^(?=.*[1-9])([0-9]+ ?ms ?|[0-9]+(\.[0-9]{1,3})? ?[smhd] ?)+$"
_WHOLE_TIME = r"^(?=.*[1-9])([0-9]+ ?[smhd] ?)+$"
_TEXT_SCHEMA = {"type": "string", "pattern": r"\S", "maxLength": _MAX_TEXT}
_TEXTS_SCHEMA = WithJsonSchema({"anyOf": [_TEXT_SCHEMA, {"type": "array", "items": _TEXT_SCHEMA, "minItems": 1}]})
_COUNT_SCHEMA = WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1_000_000_000})

Time = Annotated[
    Decimal,
    BeforeValidator(_duration),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _TIME, **_SIZED}, {"const": 0}], "examples": ["30s"]}),
]
PositiveTime = Annotated[Decimal, BeforeValidator(_positive), _schema(_POSITIVE_TIME, "500ms", **_SIZED)]
WholeTime = Annotated[Decimal, BeforeValidator(_whole), _schema(_WHOLE_TIME, "30m", **_SIZED)]
Target = Annotated[
    Decimal,
    BeforeValidator(_target),
    _ratio_schema(r"[0-9]{1,2}(\.[0-9]{1,4})?", {"exclusiveMaximum": 1}, "99%", 0.99),
]
Share = Annotated[
    Decimal,
    BeforeValidator(_share),
    _ratio_schema(r"([0-9]{1,2}(\.[0-9]{1,12})?|100(\.0{1,12})?)", {"maximum": 1}, "20%"),
]
Count = Annotated[int, BeforeValidator(_count), _COUNT_SCHEMA]
Name = Annotated[str, BeforeValidator(_name), _schema(f"^{_NAME.pattern}$", "webshop", maxLength=_MAX_NAME)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), _TEXTS_SCHEMA]


class RequestsShape(Shape):
    """Requests: each key is a text, or a list of texts of which one must fit; `*` matches any characters."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Texts | None = Field(None, description="Name of the request, as in Locust's table.")
    method: Texts | None = Field(None, description="Method, GET; for other clients their request type.")
    user_class: Texts | None = Field(None, description="Class of the simulated user.")


class MatchShape(RequestsShape):
    """Requests that an objective judges: they fit every key."""

    exclude: RequestsShape | None = Field(
        None, alias="not", description="Leave out requests that fit any of these keys."
    )


NEEDED: dict[str, tuple[set[str], set[str]]] = {
    "success": ({"target"}, {"within", "only"}),
    "latency": ({"target", "within"}, set()),
    "mean": ({"within"}, {"target"}),
}
"""By SLI: required keys, and keys without a meaning."""


def _needed_by_sli(schema: dict[str, Any]) -> None:
    schema["allOf"] = [
        {
            "if": {"properties": {"sli": {"const": sli}}, "required": ["sli"]},
            "then": {"required": sorted(needed), "properties": dict.fromkeys(sorted(meaningless), False)},
        }
        for sli, (needed, meaningless) in NEEDED.items()
    ]


class ObjectiveShape(Shape):
    """One objective."""

    model_config = ConfigDict(json_schema_extra=_needed_by_sli)
    EXAMPLES: ClassVar = {"sli": "success, latency or mean"}

    sli: Literal["success", "latency", "mean"] = Field(
        description="success: share of requests that do not fail. latency: share of requests that take no longer than "
        "`within`, failed ones too. mean: the average duration."
    )
    target: Target | None = Field(None, description="Share of good requests, for success and latency: 99%.")
    within: PositiveTime | None = Field(None, description="Duration, for latency and mean: 2s.")
    match: MatchShape | None = Field(None, description="Judge these requests only.")
    only: Literal["success"] | None = Field(None, description="success: leave failed requests out.")


class WindowShape(Shape):
    """A pair of windows; the alert fires if both burn their share of the budget."""

    severity: Literal["critical", "warning"] = Field(
        description="critical may page somebody, and ends a run with --slo-abort."
    )
    long: WholeTime = Field(description="The long window.")
    short: WholeTime = Field(description="The short window, which ends the alert soon after the burn rate has fallen.")
    budget: Share = Field(description="Share of the period's budget that burns in the long window: 20%.")


class ValidityShape(Shape):
    """Tolerance for a load generator that did not keep up."""

    tolerance: Share = Field(
        description="An objective can be met only if at most this share of the target load is missing because the "
        "generator was late, and workers are missing for at most this share of the time. 10%.",
    )


class FileShape(Shape):
    """Objectives of one service for load tests with locust-otel."""

    model_config = ConfigDict(title="locust-otel SLO file")
    EXAMPLES: ClassVar = {"service": "webshop"}

    service: Name = Field(description="Name of the service; the label slo_service.")
    period: WholeTime = Field(
        Decimal(1800), description="Period of the error budget: the length of the run, soak or game day. 30m."
    )
    scrape_interval: PositiveTime = Field(Decimal(5), description="Scrape interval that the rules assume. 5s.")
    warmup: Time = Field(Decimal(0), description="Time from the start of the run that is not judged. 0s.")
    min_requests: Count = Field(100, description="Judged requests below which nothing is decided. 100.")
    slow_request: PositiveTime = Field(Decimal(5), description="A request that takes longer is slow. 5s.")
    objectives: Annotated[dict[Name, ObjectiveShape], at_most(MAX_OBJECTIVES, "objectives are too many")] = Field(
        description="The objectives, by name.", min_length=1
    )
    windows: Annotated[list[WindowShape] | None, at_most(MAX_WINDOWS, "windows are too many")] = Field(
        None, description="Pairs of windows for burn-rate alerts; the defaults follow from the period.", min_length=1
    )
    validity: ValidityShape | None = Field(None, description="Tolerance for a late generator.")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors.

    It accepts one form of a value (`1800s`) where the parser may accept more (`1800000ms`). Of the relations between
    keys it knows only the keys that each SLI needs.
    """
    schema = shape.json_schema(FileShape, span)
    objectives = schema["properties"]["objectives"]
    ((pattern, objective),) = objectives.pop("patternProperties").items()
    objectives |= {
        "maxProperties": MAX_OBJECTIVES,
        "propertyNames": {"pattern": pattern, "maxLength": _MAX_NAME},
        "additionalProperties": objective,
    }
    schema["properties"]["windows"]["maxItems"] = MAX_WINDOWS
    return schema
