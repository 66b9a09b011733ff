"""From a game-day file to its values: every problem of the file at once, each with its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from locust_otel.core.documents import Document, Place, read
from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday.contradictions import contradictions
from locust_otel.gameday.plan import Expectation, Fault, GameDay, Load, Step, StopWhen
from locust_otel.gameday.schema import (
    MAX_EXPECTATIONS,
    MAX_STEPS,
    ExpectShape,
    FaultShape,
    GameDayShape,
    LoadShape,
    StepShape,
    StopShape,
)
from locust_otel.slo import file as slo_file
from locust_otel.slo.objectives import Slo

_SLUG = "gameday"
_FAULT = {"name": "x", "run": "x", "undo": "x", "for": "1ms"}
_PLACEHOLDER: dict[str, Any] = {"name": "x", "steps": [{"at": "0", "fault": _FAULT}]}
_EXAMPLES = {
    "name": "lose the cart database", "steps": "[{at: 2m, fault: …, expect: […]}]", "at": "2m", "for": "2m",
    "fault": "{name: …, run: …, undo: …, for: 2m}", "locustfile": "webshop.py", "users": "50", "run_time": "10m",
    "run": '"curl -fsS -X POST …"', "failure_ratio": "50%",
}  # fmt: skip
_FOUND = {"undo": "A fault without undo stays when the game day is over."}
_REMEDY = {"undo": 'Add undo: a command that mends it; "true" where it heals by itself.'}


class _Read(NamedTuple):
    """A step of the file as far as it is right: what it expects, each with its position."""

    position: int
    shape: StepShape
    expect: tuple[tuple[int, ExpectShape], ...]


def load(path: str) -> GameDay:
    """Read a game-day file, and the SLO file it names.

    Raises:
        ConfigurationError: It cannot be used; `problems` has one error for each thing wrong with it.
    """
    return parse(read(Path(path), path, _SLUG), path)


def parse(data: bytes, name: str) -> GameDay:
    """Return what the content of a game-day file asks for; `name` is its path, and stands in errors.

    Raises:
        ConfigurationError: As `load` does.
    """
    document = Document(name, data, _SLUG)
    problems = list(document.problems)
    if not isinstance(document.values, dict):
        is_empty = document.values is None
        what = "The file is empty." if is_empty else "This is not a mapping."
        slug = "gameday-empty" if is_empty else "gameday-type"
        remedy = "Write name, slo, load and steps; see docs/game-days.md."
        problems.append(ConfigurationError(document.where(()), what, remedy, slug=slug))
        raise ConfigurationError.of(problems)
    steps = _steps(document, problems)
    shape = _rest(document, problems)
    slo, slo_path = _slo(shape, Path(name).parent, document, problems)
    day = GameDay(
        name=shape.name,
        source=Path(name),
        steps=tuple(_step(step) for step in sorted(steps, key=lambda step: step.shape.at)),
        slo=slo,
        slo_path=slo_path,
        load=_load(shape.load, Path(name).parent),
        stop_when=_stop(shape.stop_when),
    )
    places = {index: (step.position, tuple(position for position, _ in step.expect)) for index, step in enumerate(
        sorted(steps, key=lambda step: step.shape.at)
    )}  # fmt: skip
    found, notes = contradictions(day, document, places, slo_is_known=slo is not None)
    problems += found
    if problems:
        raise ConfigurationError.of(sorted(problems, key=lambda problem: _line(problem, name)))
    return GameDay(
        name=day.name, source=day.source, steps=day.steps, slo=day.slo, slo_path=day.slo_path, load=day.load,
        stop_when=day.stop_when, notes=tuple(notes),
    )  # fmt: skip


def _line(problem: ConfigurationError, name: str) -> tuple[int, int]:
    """Return where a problem stands: of this file by line, of the SLO file behind."""
    line = problem.where[len(name) + 1 :].partition(":")[0]
    return (0, int(line)) if problem.where.startswith(f"{name}:") and line.isdigit() else (1, 0)


def _steps(document: Document, problems: list[ConfigurationError]) -> list[_Read]:
    values = document.values.get("steps")
    if not isinstance(values, list) or not values:
        return []  # told of with the rest of the file
    if len(values) > MAX_STEPS:
        problems.append(_too_many(document, ("steps",), len(values), MAX_STEPS))
        return []
    steps = []
    for index, value in enumerate(values):
        place: Place = ("steps", index)
        if not isinstance(value, dict):
            problems.append(_not(document, place, "a mapping"))
            continue
        expect = list(_expectations(value.get("expect", []), document, (*place, "expect"), problems))
        try:
            shape = StepShape.model_validate({**value, "expect": []})
        except ValidationError as error:
            problems += (_told(detail, document, place) for detail in error.errors(include_url=False))
        else:
            steps.append(_Read(index, shape, tuple(expect)))
    return steps


def _expectations(
    values: Any, document: Document, place: Place, problems: list[ConfigurationError]
) -> Iterator[tuple[int, ExpectShape]]:
    if not isinstance(values, list):
        problems.append(_not(document, place, "a list"))
        return
    if len(values) > MAX_EXPECTATIONS:
        problems.append(_too_many(document, place, len(values), MAX_EXPECTATIONS))
        return
    for position, value in enumerate(values):
        here = (*place, position)
        if not isinstance(value, dict):
            problems.append(_not(document, here, "a mapping"))
            continue
        try:
            shape = ExpectShape.model_validate(value)
        except ValidationError as error:
            problems += (_told(detail, document, here) for detail in error.errors(include_url=False))
            continue
        found = list(_keys(shape, document, here))
        problems += found
        if not found:
            yield position, shape


def _keys(shape: ExpectShape, document: Document, place: Place) -> Iterator[ConfigurationError]:
    if (shape.alert is None) == (shape.no_alert is None):
        found = "There is neither alert nor no_alert." if shape.alert is None else "There are both alert and no_alert."
        remedy = "Write alert: NAME for one that must fire, or no_alert: NAME for one that must not."
        yield ConfigurationError(document.where(place), found, remedy, slug="gameday-expect")
    elif shape.alert is not None and shape.within is None:
        found, remedy = "Nothing says how soon the alert must come.", "Add within: 60s."
        yield ConfigurationError(document.where(place), found, remedy, slug="gameday-missing")
    elif shape.no_alert is not None:
        for key in ("within", "clears_within"):
            if getattr(shape, key) is not None:
                found = f"{key} means nothing with no_alert, which holds until the next fault."
                where = document.where((*place, key))
                yield ConfigurationError(where, found, "Remove it.", slug="gameday-contradiction")


def _rest(document: Document, problems: list[ConfigurationError]) -> GameDayShape:
    """Return the file's shape without its steps; what is refused is told of, and left out."""
    values = dict(document.values)
    if isinstance(values.get("steps"), list) and values["steps"]:
        values["steps"] = _PLACEHOLDER["steps"]
    while True:
        try:
            return GameDayShape.model_validate(values)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                problems.append(_told(detail, document, ()))
                values.pop(str(detail["loc"][0]), None)
            for key, value in _PLACEHOLDER.items():
                values.setdefault(key, value)


_SHAPES: dict[str, type[BaseModel]] = {
    "load": LoadShape, "fault": FaultShape, "expect": ExpectShape, "steps": StepShape, "stop_when": StopShape,
}  # fmt: skip


def _told(detail: Any, document: Document, before: Place) -> ConfigurationError:
    """Return a finding of the validation in our words."""
    place: Place = (*before, *detail["loc"])
    context = detail.get("ctx", {})
    where = document.where(place)
    match detail["type"]:
        case "extra_forbidden":
            around = next((str(part) for part in reversed(place[:-1]) if isinstance(part, str)), "")
            fields = _SHAPES.get(around, GameDayShape).model_fields
            keys = [field.alias or key for key, field in fields.items()]
            near = difflib.get_close_matches(str(place[-1]), keys, 1)
            remedy = f"Did you mean {near[0]}? The keys are {', '.join(keys)}." if near else f"Use {', '.join(keys)}."
            return ConfigurationError(where, "This key is not known here.", remedy, slug="gameday-unknown-key")
        case "missing":
            key = str(place[-1])
            found = _FOUND.get(key, f"{key} is missing.")
            remedy = _REMEDY.get(key, f"Add {key}: {_EXAMPLES.get(key, '…')}.")
            slug = "gameday-fault-no-undo" if key == "undo" else "gameday-missing"
            return ConfigurationError(where, found, remedy, slug=slug)
        case "too_short":
            return ConfigurationError(where, "There is no step.", "Add one, or there is no game.", slug="gameday-empty")
        case _ if "remedy" in context:
            return ConfigurationError(where, context["found"], context["remedy"], slug=f"gameday-{detail['type']}")
        case kind:
            return _not(document, place, "a list" if kind.startswith("list") else "a mapping")


def _not(document: Document, place: Place, wanted: str) -> ConfigurationError:
    return ConfigurationError(document.where(place), f"This is not {wanted}.", f"Write {wanted}.", slug="gameday-type")


def _too_many(document: Document, place: Place, found: int, most: int) -> ConfigurationError:
    return ConfigurationError(
        document.where(place), f"{found} are too many.", f"Keep up to {most}.", slug="gameday-too-many"
    )


def _slo(
    shape: GameDayShape, folder: Path, document: Document, problems: list[ConfigurationError]
) -> tuple[Slo | None, Path | None]:
    if shape.slo is None:
        return None, None
    path = folder / shape.slo
    if not path.is_file():
        problems.append(
            ConfigurationError(
                document.where(("slo",)), f"There is no file {shape.slo}.", "Name an SLO file from here.",
                slug="gameday-no-file",
            )
        )  # fmt: skip
        return None, None
    try:
        return slo_file.load(str(path)), path
    except ConfigurationError as error:
        problems.append(error)
        return None, None


def _load(shape: LoadShape | None, folder: Path) -> Load | None:
    if shape is None:
        return None
    return Load(
        locustfile=folder / shape.locustfile,
        users=shape.users,
        run_time_s=shape.run_time,
        spawn_rate=shape.spawn_rate,
        host=shape.host or "",
        args=shape.args,
    )


def _stop(shape: StopShape | None) -> StopWhen | None:
    return None if shape is None else StopWhen(shape.failure_ratio, shape.over)


def _step(step: _Read) -> Step:
    fault = step.shape.fault
    return Step(
        at_s=step.shape.at,
        fault=Fault(fault.name, fault.run, fault.undo, fault.for_, fault.timeout),
        expect=tuple(
            Expectation(
                alert=shape.alert or shape.no_alert or "",
                fires=shape.alert is not None,
                severity=shape.severity or "",
                within_s=shape.within,
                clears_within_s=shape.clears_within,
            )
            for _, shape in step.expect
        ),
    )
