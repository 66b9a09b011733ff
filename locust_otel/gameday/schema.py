"""The shape of a game-day file: keys, types, single values, and the JSON Schema for editors.

Times are seconds; those of a step count from the start of the run. Optional keys without a default are None.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from locust_otel.core import shape
from locust_otel.core.shape import Shape, at_most, refused, required_text
from locust_otel.core.words import limit
from locust_otel.slo.objectives import plain, span
from locust_otel.slo.schema import Count, PositiveTime, Share, Time

MAX_STEPS = 100
MAX_EXPECTATIONS = 20
_MAX_LINE = 200
_MAX_COMMAND = 10_000


def _text(value: object, wanted: str) -> str:
    return required_text(value.strip() or None if isinstance(value, str) else value, wanted)


def _line(value: object) -> str:
    text = _text(value, "a text")
    if len(text) > _MAX_LINE or not text.isprintable():
        raise refused(
            "text", f"This is not one line of up to {_MAX_LINE} characters.", "Write a short text on one line."
        )
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


def _text_schema(longest: int) -> dict[str, Any]:
    return {"type": "string", "pattern": r"\S", "maxLength": longest}


Line = Annotated[str, BeforeValidator(_line), WithJsonSchema(_text_schema(_MAX_LINE))]
Command = Annotated[str, BeforeValidator(_command), WithJsonSchema(_text_schema(_MAX_COMMAND))]
Rate = Annotated[Decimal, BeforeValidator(_rate), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
Arguments = Annotated[
    tuple[str, ...], BeforeValidator(_arguments), WithJsonSchema({"type": "array", "items": _text_schema(_MAX_LINE)})
]


class LoadShape(Shape):
    """The load that the game day starts and ends; without it, the game day attaches to a run by --run-id."""

    EXAMPLES: ClassVar = {"locustfile": "webshop.py", "users": "50", "run_time": "10m"}

    locustfile: Line = Field(description="The locustfile, from the folder of this file.")
    users: Count = Field(description="Simulated users.")
    run_time: PositiveTime = Field(description="How long the load lasts. 10m.")
    spawn_rate: Rate | None = Field(None, description="Users started a second.")
    host: Line | None = Field(None, description="URL of the service under test, if the locustfile has none.")
    args: Arguments = Field((), description="Further arguments of Locust and of locust-otel run.")


class FaultShape(Shape):
    """A fault that is injected, and undone in any case."""

    EXAMPLES: ClassVar = {"name": "lose the cart database", "run": '"curl -fsS -X POST …"', "for": "2m"}

    name: Line = Field(description="Name on marks, in annotations and on the scorecard.")
    run: Command = Field(description="Shell command that injects the fault; it runs in the folder of this file.")
    undo: Command = Field(description='Shell command that undoes the fault; "true" if it ends by itself.')
    for_: PositiveTime = Field(alias="for", description="How long the fault lasts. 2m.")
    timeout: PositiveTime = Field(Decimal(30), description="Timeout of each command. 30s.")

    @classmethod
    def missing_key(cls, key: str) -> tuple[str, str, str]:
        """Return finding, remedy and slug; for `undo` the reason why it is required."""
        if key != "undo":
            return super().missing_key(key)
        remedy = 'Add undo: a command that undoes it; "true" if it ends by itself.'
        return "A fault without undo stays active after the game day.", remedy, "fault-no-undo"


class ExpectShape(Shape):
    """An expectation of the monitoring: raise an alert in time, or do not raise it."""

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

    @field_validator("within", "clears_within", mode="after")
    @classmethod
    def _has_an_alert(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        if info.data.get("no_alert") is not None and info.data.get("alert") is None:
            found = f"{info.field_name} has no meaning with no_alert, which holds until the fault ends."
            raise refused("contradiction", found, "Remove it.")
        return value

    @model_validator(mode="after")
    def _has_one_alert(self) -> Self:
        if (self.alert is None) == (self.no_alert is None):
            found = f"There {'is neither alert nor' if self.alert is None else 'are both alert and'} no_alert."
            remedy = "Write alert: NAME if it must fire, or no_alert: NAME if it must not."
            raise refused("expect", found, remedy)
        if self.alert is not None and self.within is None:
            raise refused("missing", "There is no limit for the time until the alert.", "Add within: 60s.")
        return self

    @property
    def name(self) -> str:
        """Name of the alert, whether it must fire or not."""
        return self.alert or self.no_alert or ""

    @property
    def sentence(self) -> str:
        """The expectation in words: `LocustSLOBudgetBurn (critical) within 15 s, gone within 3:00`."""
        if self.within is None:
            return f"no {self.title}"
        ended = "" if self.clears_within is None else f", gone within {limit(float(self.clears_within))}"
        return f"{self.title} within {limit(float(self.within))}{ended}"

    @property
    def title(self) -> str:
        """The alert with its severity, if one is expected."""
        return f"{self.name} ({self.severity})" if self.severity else self.name


class StepShape(Shape):
    """A fault, its time, and the expectations of the alerts."""

    EXAMPLES: ClassVar = {"at": "2m", "fault": "{name: …, run: …, undo: …, for: 2m}"}

    at: Time = Field(description="Time from the start of the run. 2m.")
    fault: FaultShape = Field(description="The fault.")
    expect: Annotated[list[ExpectShape], at_most(MAX_EXPECTATIONS)] = Field(
        [], description="Expectations of the monitoring.", max_length=MAX_EXPECTATIONS
    )

    @property
    def end_s(self) -> Decimal:
        """End of the fault."""
        return self.at + self.fault.for_

    @property
    def settled_s(self) -> Decimal:
        """Time by which each expectation can be judged."""
        times = [self.end_s]
        for expectation in self.expect:
            times += [self.at + (expectation.within or 0), self.end_s + (expectation.clears_within or 0)]
        return max(times)


class StopShape(Shape):
    """The condition that ends the game day early."""

    EXAMPLES: ClassVar = {"failure_ratio": "50%"}

    failure_ratio: Share = Field(description="Share of failed requests. 50%.")
    over: PositiveTime = Field(Decimal(15), description="Length of time over which requests count. 15s.")


class GameDayShape(Shape):
    """Faults on a time line under load, and expectations of the monitoring."""

    model_config = ConfigDict(title="locust-otel game day")
    EXAMPLES: ClassVar = {"name": "lose the cart database", "steps": "[{at: 2m, fault: …, expect: […]}]"}

    name: Line = Field(description="Name of the game day.")
    slo: Line | None = Field(None, description="The SLO file, from the folder of this file.")
    load: LoadShape | None = Field(None, description="The load; without it, --run-id names a run in progress.")
    steps: Annotated[list[StepShape], at_most(MAX_STEPS)] = Field(
        description="The faults, by time.", min_length=1, max_length=MAX_STEPS
    )
    stop_when: StopShape | None = Field(None, description="The condition that ends the game day early.")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    return shape.json_schema(GameDayShape, span)
