"""Files that users write in YAML: read with a bound, as plain values, with the line of each key.

Only plain YAML is read: an anchor can make a bomb of a small file, and a tag an object of a text. Values stay the text
that was written, `0.99` and `99%` alike, so that models (`core/shape.py`) can be exact and errors can quote them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from locust_otel.core.errors import ConfigurationError

MAX_BYTES = 1 << 20
_MAX_DEPTH = 8  # no format here needs more than 6
_NULL = "tag:yaml.org,2002:null"

Place = tuple[str | int, ...]
"""Position of a value in a document: keys and indices."""


def shown(text: str, limit: int = 60) -> str:
    """Return a text for an error, cut to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_secret(text: str) -> bool:
    """Return whether a text may be a key or hash that was pasted where something else belongs."""
    return len(text) > 200 or "-----" in text or "$2" in text


def read(  # noqa: PLR0913  # words for errors
    path: Path,
    where: str,
    slug: str,
    *,
    limit: int = MAX_BYTES,
    wanted: str = "Name a readable file.",
    smaller: str = "Name a smaller file.",
) -> bytes:
    """Return the content of a file of at most `limit` bytes.

    Errors name `where`, and advise `wanted` if the file cannot be read, `smaller` if it is larger.

    Raises:
        ConfigurationError: The file cannot be read, or is larger.
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
        ConfigurationError: It is no plain YAML document. The error has the line and quotes nothing, since a file may
            hold secrets.
    """
    depth = 0
    line = 1
    try:
        text = data.decode("utf-8-sig")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # first: nodes would recurse and multiply aliases
            line = event.start_mark.line + 1 if event.start_mark else line
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            str(getattr(event, "value", "")).encode()  # an escape can make half a character, which nobody can send on
            if depth > _MAX_DEPTH or getattr(event, "anchor", None) or getattr(event, "tag", None):
                found = f"Anchors, aliases, tags and more than {_MAX_DEPTH} levels are not read."
                remedy = "Write the value out; quote a text that starts with &, * or !."
                raise ConfigurationError(f"{where}:{line}", found, remedy, slug=f"{slug}-not-plain")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last ones: escapes and numbers out of range
        if isinstance(error, UnicodeDecodeError):
            line = 1 + data.count(b"\n", 0, error.start)
        elif mark := getattr(error, "problem_mark", None):
            line = mark.line + 1
        found = "This is not one YAML document in UTF-8."
        remedy = "Indent with spaces and quote values that contain ': ' or ' #'."
        raise ConfigurationError(f"{where}:{line}", found, remedy, slug=f"{slug}-syntax") from None


class _Mapping(dict[str, Any]):
    """A mapping of a document, with its place."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


class Document:
    """The values of a YAML file, the line of each, and the problems found so far.

    Attributes:
        values: Mappings, lists, texts and None as the file has them; None for an empty file. Of a key that is there
            twice, the first value.
    """

    def __init__(self, name: str, data: bytes, slug: str, printed: Callable[[str], str] | None = None) -> None:
        """Parse a file; `printed` makes a key fit for errors, where keys may be secrets."""
        self._name = name
        self._slug = slug
        self._printed = printed or _printed
        self._lines: dict[Place, int] = {(): 1}
        self.problems: list[ConfigurationError] = []
        self.values = self._value(compose(data, name, slug), ())

    def where(self, place: Place, line: int | None = None) -> str:
        """Return file, line and key of a value, or of the nearest one around it: `slo.yaml:7: objectives.fast`."""
        known = place
        while known not in self._lines:
            known = known[:-1]
        keys = ".".join(self._printed(str(key)) for key in place)
        return f"{self._name}:{line or self._lines[known]}" + (f": {keys}" if place else "")

    def refuse(self, place: Place, found: str, remedy: str, slug: str, line: int | None = None) -> None:
        """Add a problem; `line` if it is not the value's."""
        self.problems.append(ConfigurationError(self.where(place, line), found, remedy, slug=f"{self._slug}-{slug}"))

    def raise_problems(self) -> None:
        """Raise the problems, if there are any, as one error: by line, and those of other files behind."""
        if self.problems:
            raise ConfigurationError.of(sorted(self.problems, key=self._line))

    def _line(self, problem: ConfigurationError) -> tuple[bool, int]:
        # The line is behind the name, which may have colons of its own.
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
                found = f"This is there twice, in line {self._lines[*place, name]} too."
                remedy = "Keep one of them, or give the other a name of its own."
                self.refuse((*place, name), found, remedy, "duplicate-key", line)
            else:
                self._lines[*place, name] = line
                values[name] = self._value(item, (*place, name))
        return values


def _printed(key: str) -> str:
    return shown(key if key.isprintable() else ascii(key), 100)
