"""The shape of a game-day file: keys, types, single values; also what the JSON Schema for editors is made of."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from locust_otel.slo.objectives import plain
from locust_otel.slo.schema import Count, PositiveTime, Shape, Share, Time, for_editors, refused

MAX_STEPS = 100
MAX_EXPECTATIONS = 20
_MAX_LINE = 200
_MAX_COMMAND = 10_000


def _text(value: object, wanted: str) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    kind = "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else "nothing"
    raise refused("type", f"There is {kind} where {wanted} belongs.", f"Write {wanted}.")


def _line(value: object) -> str:
    text = _text(value, "a text")
    if len(text) > _MAX_LINE or not text.isprintable():
        raise refused("text", "This is not one line of up to 200 characters.", "Write a short text on one line.")
    return text


def _command(value: object) -> str:
    text = _text(value, "a shell command")
    if len(text) > _MAX_COMMAND or "\0" in text:
        raise refused("command-long", f"No command has over {_MAX_COMMAND} characters.", "Put it into a script.")
    return text


def _rate(value: object) -> Decimal:
    text = _text(value, "a number of users a second")
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > 12 or not Decimal(text):
        raise refused("rate", f"{text[:60]} is not a number of users a second.", "Write 10, or 0.5.")
    return plain(Decimal(text))


def _arguments(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise refused("type", "This is not a list.", "Write a list: [--tags, browse].")
    return tuple(_line(item) for item in value)


_LINE_SCHEMA = {"type": "string", "pattern": r"\S", "maxLength": _MAX_LINE}
Line = Annotated[str, BeforeValidator(_line), WithJsonSchema(_LINE_SCHEMA)]
Command = Annotated[
    str,
    BeforeValidator(_command),
    WithJsonSchema({"type": "string", "pattern": r"\S", "maxLength": _MAX_COMMAND}),
]
Rate = Annotated[Decimal, BeforeValidator(_rate), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
Arguments = Annotated[
    tuple[str, ...], BeforeValidator(_arguments), WithJsonSchema({"type": "array", "items": _LINE_SCHEMA})
]


class LoadShape(Shape):
    """The load, which the game day starts and ends; without it, it attaches to a run by --run-id."""

    locustfile: Line = Field(description="The locustfile, from the folder of this file.")
    users: Count = Field(description="Simulated users.")
    run_time: PositiveTime = Field(description="How long the load lasts. 10m.")
    spawn_rate: Rate | None = Field(None, description="Users started a second.")
    host: Line | None = Field(None, description="What is loaded, if the locustfile does not say.")
    args: Arguments = Field((), description="Further arguments of Locust and of locust-otel run.")


class FaultShape(Shape):
    """Something that is broken on purpose, and mended whatever happens."""

    name: Line = Field(description="What it is called on marks, in annotations and on the scorecard.")
    run: Command = Field(description="Shell command that breaks it; it runs in the folder of this file.")
    undo: Command = Field(description='Shell command that mends it; "true" where it heals by itself.')
    for_: PositiveTime = Field(alias="for", description="How long it stays broken. 2m.")
    timeout: PositiveTime = Field(Decimal(30), description="After so long a command is ended. 30s.")


class ExpectShape(Shape):
    """What the monitoring must do: raise an alert in time, or keep quiet."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["alert", "within"]},
                {"required": ["no_alert"], "properties": {"within": False, "clears_within": False}},
            ]
        }
    )

    alert: Line | None = Field(None, description="Name of an alert that must fire.")
    no_alert: Line | None = Field(None, description="Name of an alert that must not begin to fire.")
    severity: Line | None = Field(None, description="The alert's label severity; any if left out.")
    within: PositiveTime | None = Field(None, description="From the start of the fault to the alert. 60s.")
    clears_within: PositiveTime | None = Field(None, description="From the end of the fault to the alert's end. 3m.")


class StepShape(Shape):
    """A fault, when it begins, and what is expected of it."""

    at: Time = Field(description="Time from the start of the run. 2m.")
    fault: FaultShape = Field(description="What is broken.")
    expect: list[ExpectShape] = Field([], description="What the monitoring must do.")


class StopShape(Shape):
    """What ends the game day before its time."""

    failure_ratio: Share = Field(description="Share of failed requests. 50%.")
    over: PositiveTime = Field(Decimal(15), description="So far back requests are looked at. 15s.")


class GameDayShape(Shape):
    """Faults on a time line under load, and what is expected of the monitoring."""

    model_config = ConfigDict(title="locust-otel game day")

    name: Line = Field(description="What the game day is called.")
    slo: Line | None = Field(None, description="The SLO file, from the folder of this file.")
    load: LoadShape | None = Field(None, description="The load; without it a run is attached to.")
    steps: list[StepShape] = Field(description="The faults, by time.", min_length=1)
    stop_when: StopShape | None = Field(None, description="What ends the game day before its time.")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    schema = GameDayShape.model_json_schema(by_alias=True)
    for shape in (schema, *schema["$defs"].values()):
        shape["properties"] = {key: for_editors(value) for key, value in shape["properties"].items()}
    schema["properties"]["steps"]["maxItems"] = MAX_STEPS
    schema["$defs"]["StepShape"]["properties"]["expect"]["maxItems"] = MAX_EXPECTATIONS
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
