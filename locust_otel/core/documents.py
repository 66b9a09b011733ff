"""YAML files of users: bounded in size, parsed to plain values with the line of each key.

Anchors and tags are refused: anchors can make a small file huge, and tags can create objects. Values stay the text of
the file, `0.99` as well as `99%`, so that models (`core/shape.py`) can be exact and errors can quote them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from locust_otel.core.errors import ConfigurationError

MAX_BYTES = 1 << 20
_MAX_DEPTH = 8  # the deepest format needs 6
_NULL = "tag:yaml.org,2002:null"

Place = tuple[str | int, ...]  # position of a value in a document: keys and indices


def shown(text: str, limit: int = 60) -> str:
    """Return a text for an error message, cut to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_secret(text: str) -> bool:
    """Return whether a text may be a key or a password hash, pasted into the wrong place."""
    return len(text) > 200 or "-----" in text or "$2" in text


def read(  # noqa: PLR0913  # texts of errors
    path: Path,
    where: str,
    slug: str,
    *,
    limit: int = MAX_BYTES,
    wanted: str = "Name a readable file.",
    smaller: str = "Name a smaller file.",
) -> bytes:
    """Return the content of a file of at most `limit` bytes.

    Errors name `where`. Their remedy is `wanted` if the file cannot be read, and `smaller` if it is too large.

    Raises:
        ConfigurationError: The file cannot be read, or is too large.
    """
    name = "…" if "\n" in str(path) or is_secret(str(path)) else repr(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        found = f"{name} cannot be read: {getattr(error, 'strerror', None) or 'not a path'}."
        raise ConfigurationError(where, found, wanted, slug=f"{slug}-unreadable") from None
    if len(data) > limit:
        raise ConfigurationError(where, f"{name} is over {limit >> 20} MiB.", smaller, slug=f"{slug}-too-large")
    return data


def compose(data: bytes, where: str, slug: str) -> yaml.Node | None:
    """Return the root node of a YAML document, None for an empty one.

    Raises:
        ConfigurationError: The file is not a plain YAML document. The error names the line and quotes nothing, because
            a file may hold secrets.
    """
    depth = 0
    line = 1
    try:
        text = data.decode("utf-8-sig")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # before nodes, which recurse and expand aliases
            line = event.start_mark.line + 1 if event.start_mark else line
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            str(getattr(event, "value", "")).encode()  # fails for an escaped lone surrogate
            if depth > _MAX_DEPTH or getattr(event, "anchor", None) or getattr(event, "tag", None):
                found = f"Anchors, aliases, tags and more than {_MAX_DEPTH} levels are not supported."
                remedy = "Write the value out; quote a text that starts with &, * or !."
                raise ConfigurationError(f"{where}:{line}", found, remedy, slug=f"{slug}-not-plain")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: escapes and numbers out of range
        if isinstance(error, UnicodeDecodeError):
            line = 1 + data.count(b"\n", 0, error.start)
        elif mark := getattr(error, "problem_mark", None):
            line = mark.line + 1
        found = "This is not one YAML document in UTF-8."
        remedy = "Indent with spaces and quote values that contain ': ' or ' #'."
        raise ConfigurationError(f"{where}:{line}", found, remedy, slug=f"{slug}-syntax") from None


class _Mapping(dict[str, Any]):
    """Mapping of a document, with its place."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


class Document:
    """Values of a YAML file, their lines, and the problems so far.

    Attributes:
        values: Mappings, lists, texts and None as in the file; None for an empty file. A duplicate key has its first
            value.
    """

    def __init__(self, name: str, data: bytes, slug: str, printed: Callable[[str], str] | None = None) -> None:
        """Parse a file; `printed` returns a key for errors, without secrets."""
        self._name = name
        self._slug = slug
        self._printed = printed or _printed
        self._lines: dict[Place, int] = {(): 1}
        self.problems: list[ConfigurationError] = []
        self.values = self._value(compose(data, name, slug), ())

    def where(self, place: Place, line: int | None = None) -> str:
        """Return file, line and key of a value: `slo.yaml:7: objectives.fast`.

        A missing value has the line of the nearest mapping or list around it.
        """
        nearest = place
        while nearest not in self._lines:
            nearest = nearest[:-1]
        keys = ".".join(self._printed(str(key)) for key in place)
        return f"{self._name}:{line or self._lines[nearest]}" + (f": {keys}" if place else "")

    def refuse(self, place: Place, found: str, remedy: str, slug: str, line: int | None = None) -> None:
        """Add a problem; `line` replaces the line of the value."""
        self.problems.append(ConfigurationError(self.where(place, line), found, remedy, slug=f"{self._slug}-{slug}"))

    def raise_problems(self) -> None:
        """Raise all problems as one error, if there are any: by line, problems of other files last."""
        if self.problems:
            raise ConfigurationError.of(sorted(self.problems, key=self._line))

    def _line(self, problem: ConfigurationError) -> tuple[bool, int]:
        # The line follows the name, which may contain colons.
        line = problem.where[len(self._name) + 1 :].partition(":")[0]
        is_here = problem.where.startswith(f"{self._name}:") and line.isdigit()
        return not is_here, int(line) if is_here else 0

    def _value(self, node: yaml.Node | None, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._lines[*place, index] = item.start_mark.line + 1
            return [self._value(item, (*place, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag != _NULL:
            return str(node.value)
        return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> _Mapping:
        values = _Mapping(place)
        for key, item in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            line = key.start_mark.line + 1
            if name in values:
                found = f"This key is a duplicate of line {self._lines[*place, name]}."
                remedy = "Keep one of them, or rename the other."
                self.refuse((*place, name), found, remedy, "duplicate-key", line)
            else:
                self._lines[*place, name] = line
                values[name] = self._value(item, (*place, name))
        return values


def _printed(key: str) -> str:
    return shown(key if key.isprintable() else ascii(key), 100)
