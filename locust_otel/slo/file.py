"""From an SLO file to objectives: every problem of the file at once, each with its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from locust_otel.core.documents import Document, Place, read
from locust_otel.core.errors import ConfigurationError
from locust_otel.slo.objectives import Match, Objective, Sli, Slo, Window, percent, span
from locust_otel.slo.schema import (
    MAX_OBJECTIVES,
    MAX_WINDOWS,
    NEEDED,
    FileShape,
    MatchShape,
    ObjectiveShape,
    WindowShape,
)
from locust_otel.slo.windows import MIN_SCRAPES, default_windows

_SLUG = "slo"
_PLACEHOLDER = {"service": "x", "objectives": {"x": {"sli": "success", "target": "99%"}}}
_WINDOW = {"severity": "warning", "long": "2s", "short": "1s", "budget": "1%"}
_EXAMPLES = {"target": "99%", "within": "500ms"}


def load(path: str) -> Slo:
    """Read an SLO file.

    Raises:
        ConfigurationError: It cannot be used; `problems` has one error for each thing wrong with it.
    """
    return parse(read(Path(path), path, _SLUG), path)


def parse(data: bytes, name: str) -> Slo:
    """Return what the content of an SLO file asks for; `name` stands in errors.

    Raises:
        ConfigurationError: As `load` does.
    """
    document = Document(name, data, _SLUG)
    problems = list(document.problems)
    if not isinstance(document.values, dict):
        problems.append(
            ConfigurationError(
                document.where(()),
                "The file is empty." if document.values is None else "This is not a mapping.",
                "Write service, period and objectives; see docs/slo-file.md.",
                slug="slo-empty" if document.values is None else "slo-type",
            )
        )
        raise ConfigurationError.of(problems)
    shape, refused = _shape(document, problems)
    problems += _contradictions(shape, refused, document)
    if problems:
        # The line stands behind the name, which may have colons of its own.
        problems.sort(key=lambda problem: int(problem.where[len(name) + 1 :].partition(":")[0]))
        raise ConfigurationError.of(problems)
    return _slo(shape, name, data)


_Refused = set[str | int]
"""Keys of the file, and positions of windows in it, whose values are placeholders."""


def _shape(document: Document, problems: list[ConfigurationError]) -> tuple[FileShape, _Refused]:
    """Return the file's shape, and what of it was refused.

    What is refused is reported, and something harmless put in its place, for the rest to be looked at as well.
    """
    values, refused = dict(document.values), _Refused()
    for key, most in (("objectives", MAX_OBJECTIVES), ("windows", MAX_WINDOWS)):
        if isinstance(values.get(key), dict | list) and len(values[key]) > most:
            problems.append(
                ConfigurationError(
                    document.where((key,)),
                    f"{len(values[key])} {key} are too many to be watched.",
                    f"Keep up to {most}.",
                    slug="slo-too-many",
                )
            )
            del values[key]  # before a problem is found in each of a million
            refused.add(key)
            values |= {"objectives": _PLACEHOLDER["objectives"]} if key == "objectives" else {}
    while True:
        try:
            return FileShape.model_validate(values), refused
        except ValidationError as error:
            details = error.errors(include_url=False)
            problems += (_told(detail, document) for detail in details)
            for detail in details:
                values = _without(values, detail["loc"], refused)
            for key, value in _PLACEHOLDER.items():
                if not values.get(key):
                    values[key] = value
                    refused.add(key)


def _without(values: dict[str, Any], place: tuple[int | str, ...], refused: _Refused) -> dict[str, Any]:
    """Return the values without what a problem is about: an objective, a window, or another key of the file."""
    match place:
        case ("objectives", str() as name, *_):
            rest = {key: value for key, value in values["objectives"].items() if key != name}
            return {**values, "objectives": rest}
        case ("windows", int() as index, *_):
            refused.add(index)
            return {**values, "windows": [_WINDOW if i == index else w for i, w in enumerate(values["windows"])]}
        case _:
            refused.add(place[0])
            return {key: value for key, value in values.items() if key != place[0]}


_SHAPES: dict[str, type[BaseModel]] = {"objectives": ObjectiveShape, "windows": WindowShape}


def _told(detail: Any, document: Document) -> ConfigurationError:
    """Return a finding of the validation in our words."""
    # "[key]" marks a name in the location of a mapping's key.
    place: Place = tuple(part for part in detail["loc"] if part != "[key]")
    context = detail.get("ctx", {})
    where = document.where(place)
    match detail["type"]:
        case "extra_forbidden":
            # objectives.NAME.KEY, windows.0.KEY, objectives.NAME.match.KEY
            shape = FileShape if len(place) == 1 else MatchShape if len(place) > 3 else _SHAPES[str(place[0])]
            keys = list(shape.model_fields)
            near = difflib.get_close_matches(str(place[-1]), keys, 1)
            remedy = f"Did you mean {near[0]}? The keys are {', '.join(keys)}." if near else f"Use {', '.join(keys)}."
            return ConfigurationError(where, "This key is not known here.", remedy, slug="slo-unknown-key")
        case "missing":
            key = place[-1]
            example = {"service": "webshop", "sli": "success, latency or mean"}.get(str(key), "…")
            return ConfigurationError(where, f"{key} is missing.", f"Add {key}: {example}.", slug="slo-missing")
        case "too_short":
            return ConfigurationError(where, "There is none.", "Add one, or leave the key out.", slug="slo-empty")
        case _ if "remedy" in context:
            return ConfigurationError(where, context["found"], context["remedy"], slug=f"slo-{detail['type']}")
        case kind:
            wanted = "a list" if kind.startswith("list") else "a mapping"
            return ConfigurationError(where, f"This is not {wanted}.", f"Write {wanted}.", slug="slo-type")


def _contradictions(shape: FileShape, refused: _Refused, document: Document) -> Iterator[ConfigurationError]:
    for name, objective in shape.objectives.items():
        yield from _objective_problems(name, objective, document)
    if not refused & {"warmup", "period"} and shape.warmup >= shape.period:
        yield ConfigurationError(
            document.where(("warmup",)),
            f"A warm-up of {span(shape.warmup)} leaves nothing of a period of {span(shape.period)}.",
            "Write a shorter warmup, or a longer period.",
            slug="slo-warmup",
        )
    shortest = MIN_SCRAPES * shape.scrape_interval
    if not refused & {"period", "scrape_interval"} and shape.period < 2 * shortest:
        yield ConfigurationError(
            document.where(("period" if "period" in shape.model_fields_set else "scrape_interval",)),
            f"A period of {span(shape.period)} has no room for windows of four scrapes of "
            f"{span(shape.scrape_interval)}.",
            f"Write {span(2 * shortest)} or more, or a shorter scrape_interval.",
            slug="slo-period-short",
        )
    if not refused & {"period", "scrape_interval"}:
        for index, window in enumerate(shape.windows or ()):
            if index not in refused:
                yield from _window_problems(index, window, shape, refused, document)


def _objective_problems(name: str, objective: ObjectiveShape, document: Document) -> Iterator[ConfigurationError]:
    place: Place = ("objectives", name)
    needed, meaningless = NEEDED[objective.sli]
    given = {key for key in ("target", "within", "only") if getattr(objective, key) is not None}
    for key in sorted(needed - given):
        yield ConfigurationError(
            document.where((*place, key)),
            f"An objective with sli: {objective.sli} needs {key}.",
            f"Add {key}: {_EXAMPLES[key]}.",
            slug="slo-missing",
        )
    for key in sorted(meaningless & given):
        yield ConfigurationError(
            document.where((*place, key)),
            f"{key} means nothing with sli: {objective.sli}.",
            "Remove it, or choose another sli.",
            slug="slo-contradiction",
        )
    if objective.match is not None and not objective.match.model_fields_set:
        yield ConfigurationError(
            document.where((*place, "match")),
            "This matches nothing in particular.",
            "Add name, method or user_class, or remove it.",
            slug="slo-match-empty",
        )


def _window_problems(
    index: int, window: WindowShape, shape: FileShape, refused: _Refused, document: Document
) -> Iterator[ConfigurationError]:
    def problem(key: str, found: str, remedy: str, slug: str) -> ConfigurationError:
        return ConfigurationError(document.where(("windows", index, key)), found, remedy, slug=f"slo-window-{slug}")

    shortest = MIN_SCRAPES * shape.scrape_interval
    for key in ("long", "short"):
        length = getattr(window, key)
        if length < shortest:
            yield problem(
                key,
                f"{span(length)} holds fewer than four scrapes of {span(shape.scrape_interval)}.",
                f"Write {span(shortest)} or more, or a shorter scrape_interval.",
                "short",
            )
    if window.short >= window.long:
        yield problem(
            "short",
            f"The short window of {span(window.short)} is not shorter than the long one of {span(window.long)}.",
            f"Write a twelfth to a quarter of it, {span(max(window.long // 4, shortest))}.",
            "order",
        )
    if window.long > shape.period:
        yield problem(
            "long",
            f"{span(window.long)} is longer than the period of {span(shape.period)}.",
            "Write a shorter window, or a longer period.",
            "long",
        )
    for position, other in enumerate((shape.windows or ())[:index]):
        if position not in refused and (other.severity, other.long) == (window.severity, window.long):
            yield problem(
                "long",
                f"There is a {window.severity} pair of {span(window.long)} above.",
                "Remove one of them.",
                "twice",
            )
    factor = Window(window.severity, window.long, window.short, window.budget).factor(shape.period)
    for name, objective in shape.objectives.items() if "objectives" not in refused else ():
        if objective.target is not None and factor >= 1 / (1 - objective.target):
            highest = 1 / (1 - objective.target)
            bound = (window.long / shape.period * highest).quantize(Decimal("0.0001"))
            yield problem(
                "budget",
                f"{percent(window.budget)} of {span(shape.period)} in {span(window.long)} is a burn rate of "
                f"{float(factor):.4g}; with all requests bad, {name} burns at {float(highest):.4g}: "
                "this can never fire.",
                f"Write less than {percent(bound)}, or a longer window.",
                "unreachable",
            )


def _slo(shape: FileShape, name: str, data: bytes) -> Slo:
    objectives = tuple(
        Objective(
            name=key,
            sli=Sli(objective.sli),
            target=objective.target,
            within_s=objective.within,
            match=_match(objective.match),
            only_success=objective.only is not None,
        )
        for key, objective in shape.objectives.items()
    )
    if shape.windows is not None:
        windows = tuple(Window(w.severity, w.long, w.short, w.budget) for w in shape.windows)
    else:
        targets = (objective.target for objective in objectives if objective.target is not None)
        windows = default_windows(shape.period, shape.scrape_interval, min(targets, default=None))
    return Slo(
        service=shape.service,
        period_s=shape.period,
        scrape_interval_s=shape.scrape_interval,
        warmup_s=shape.warmup,
        min_requests=shape.min_requests,
        slow_s=shape.slow_request,
        objectives=objectives,
        windows=windows,
        source=Path(name).name,
        text=data.decode("utf-8-sig"),
    )


def _match(shape: MatchShape | None) -> Match:
    if shape is None:
        return Match()
    return Match(methods=shape.method or (), names=shape.name or (), user_classes=shape.user_class or ())
