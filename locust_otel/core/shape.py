"""Models of YAML files of users: all problems of a file at once, and a JSON Schema for editors."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import reduce
from operator import getitem
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from locust_otel.core.documents import Document, Place, shown

_KINDS = {"list": "a list", "string": "a text", "bool": "true or false"}
"""Expected kind of value, by the first word of pydantic's error type."""

Problem = tuple[Place, str, str, str]  # place, finding, remedy, and slug without the prefix of the document


def refused(slug: str, found: str, remedy: str) -> PydanticCustomError:
    """Return the error of a value that cannot be used."""
    # Values of the file go into the context: in the template a brace would be a placeholder.
    return PydanticCustomError(slug, "{found}", {"found": found, "remedy": remedy})


def required_text(value: object, wanted: str) -> str:
    """Return a value that must be a text; the error calls it `wanted`: `a time`."""
    if isinstance(value, str):
        return value
    raise refused("type", *_no_text(value, wanted))


def _no_text(value: object, wanted: str) -> tuple[str, str]:
    kind = "nothing" if value is None else "a list" if isinstance(value, list) else "a mapping"
    return f"There is {kind} instead of {wanted}.", f"Write {wanted}."


def at_most(most: int, too_many: str = "are too many") -> BeforeValidator:
    """Return a validator of the length of a list or mapping; it runs before the items are validated."""

    def check(value: object) -> object:
        if isinstance(value, dict | list) and len(value) > most:
            raise refused("too-many", f"{len(value)} {too_many}.", f"Keep up to {most}.")
        return value

    return BeforeValidator(check)


class Shape(BaseModel):
    """Model of a mapping: unknown keys and keys without a value are refused.

    Attributes:
        EXAMPLES: Example values of required keys, for the error of a missing key.
        HAS_LOOSE_KEYS: Whether the rest of the mapping stays usable if one key is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    EXAMPLES: ClassVar[Mapping[str, str]] = {}
    HAS_LOOSE_KEYS: ClassVar[bool] = False
    _place: Place = PrivateAttr(())

    @property
    def place(self) -> Place:
        """Position in the document; empty for the whole document, and for a placeholder."""
        return self._place

    @classmethod
    def fields(cls) -> dict[str, FieldInfo]:
        """Return the fields by their key in the file."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @classmethod
    def unknown_key(cls, key: str) -> tuple[str, str, str]:
        """Return finding, remedy and slug of an unknown key."""
        keys = ", ".join(cls.fields())
        near = difflib.get_close_matches(key, cls.fields(), 1)
        remedy = f"Did you mean {near[0]}? The keys are {keys}." if near else f"Use {keys}."
        return "This key is unknown.", remedy, "unknown-key"

    @classmethod
    def missing_key(cls, key: str) -> tuple[str, str, str]:
        """Return finding, remedy and slug of a required key that is missing."""
        return f"{key} is missing.", f"Add {key}: {cls.EXAMPLES.get(key, '…')}.", "missing"

    @model_validator(mode="wrap")
    @classmethod
    def _placed(cls, values: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        shape = handler(values)
        shape._place = getattr(values, "place", ())
        return shape

    @field_validator("*", mode="before")
    @classmethod
    def _is_there(cls, value: object) -> object:
        if value is None:  # an empty `match` would judge all requests
            raise refused("type", "This key has no value.", "Write a value, or leave the key out.")
        return value


_ShapeT = TypeVar("_ShapeT", bound=Shape)


def validated(
    document: Document, model: type[_ShapeT], placeholders: Mapping[str, Any], wanted: str
) -> tuple[_ShapeT, set[Place]]:
    """Return the values of a document as a model, and the places that were left out.

    A refused value becomes a problem of the document. It is left out together with the item of the list or mapping
    around it, or else with its top-level key, so that the caller can check the rest as well.

    `placeholders` has values for required keys that are missing or left out; `wanted` is the remedy for a file that is
    not a mapping.

    Raises:
        ConfigurationError: The file is not a mapping.
    """
    values = document.values
    if not isinstance(values, dict):
        is_empty = values is None
        found = "The file is empty." if is_empty else "This is not a mapping."
        document.refuse((), found, wanted, "empty" if is_empty else "type")
        document.raise_problems()
    try:
        return model.model_validate(values), set()
    except ValidationError as error:
        details = error.errors(include_url=False)
    left_out = set()
    for detail in details:
        # pydantic adds "[key]" to the location of a mapping's key.
        place = tuple(part for part in detail["loc"] if part != "[key]")
        owner, unit = _around(model, place)
        document.refuse(place, *_words(detail, owner))
        left_out.add(unit)
    for *around, last in sorted(left_out, reverse=True):  # from the end, so that indices stay valid
        parent: Any = reduce(getitem, around, values)
        if isinstance(parent, dict):
            parent.pop(last, None)  # None: a required key that is missing
        else:
            del parent[last]
    return model.model_validate({**placeholders, **{key: value for key, value in values.items() if value}}), left_out


def _around(model: type[Shape], place: Place) -> tuple[type[Shape], Place]:
    """Return the model of the mapping around a place, and the place to leave out if this one is refused."""
    owner, unit, is_item = model, 1, False
    for length, part in enumerate(place, 1):
        owner = model
        if is_item or model.HAS_LOOSE_KEYS:
            unit = length
        field = model.fields().get(str(part))
        if is_item or field is None:
            is_item = False
            continue
        for annotation in (field.annotation, *get_args(field.annotation)):  # the arguments of `X | None` too
            is_item |= get_origin(annotation) in (list, dict)
            for candidate in (annotation, *get_args(annotation)):
                if isinstance(candidate, type) and issubclass(candidate, Shape):
                    model = candidate
    return owner, place[:unit]


def _words(detail: ErrorDetails, owner: type[Shape]) -> tuple[str, str, str]:
    """Return finding, remedy and slug of an error of pydantic."""
    context, kind, key = detail.get("ctx", {}), detail["type"], str(detail["loc"][-1])
    if "remedy" in context:  # of `refused`
        return context["found"], context["remedy"], kind
    if kind in ("extra_forbidden", "missing"):
        return owner.missing_key(key) if kind == "missing" else owner.unknown_key(key)
    if kind == "too_short":
        is_required = owner.fields()[key].is_required()
        return "This is empty.", "Add an item." if is_required else "Add an item, or leave the key out.", "empty"
    if kind == "literal_error":
        choices, value = context["expected"].replace("'", "").replace(", ", " or "), detail["input"]
        if isinstance(value, str):
            return f"{shown(value)} is not a known value.", f"Write {choices}.", "choice"
        return *_no_text(value, choices), "type"
    wanted = _KINDS.get(kind.partition("_")[0], "a mapping")
    return f"This is not {wanted}.", f"Write {wanted}.", "type"


def json_schema(model: type[Shape], written: Callable[[Decimal], str]) -> dict[str, Any]:
    """Return the JSON Schema of a file, for editors; `written` formats the default of a decimal as users write it."""
    schema = model.model_json_schema()
    for shape in (schema, *schema["$defs"].values()):
        shape["properties"] = {key: _for_editors(value, written) for key, value in shape["properties"].items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _for_editors(value: dict[str, Any], written: Callable[[Decimal], str]) -> dict[str, Any]:
    """Return the schema of a value without the parts that only Python needs: None, titles, decimals, empty defaults."""
    choices = [choice for choice in value.get("anyOf", ()) if choice != {"type": "null"}]
    result = {key: choices if key == "anyOf" else item for key, item in value.items() if key != "title"}
    if len(choices) == 1:
        del result["anyOf"]
        result = {**choices[0], **result}
    default = result.pop("default", None)
    if default:
        result["default"] = written(Decimal(default)) if isinstance(default, str) else default
    return result
