"""Files people write in YAML: read with a bound, as plain values, with the line of each key.

Only plain YAML is read: an anchor can make a bomb of a small file, and a tag an object of a text. Values stay the text
that was written, `0.99` and `99%` alike, so whoever reads them can be exact and quote them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from locust_otel.core.errors import ConfigurationError

MAX_BYTES = 1 << 20
_MAX_DEPTH = 8  # no format here needs more than 6
_MAX_SHOWN = 100  # characters of a key in an error
_NULL = "tag:yaml.org,2002:null"


def read(  # noqa: PLR0913  # words for errors
    path: Path,
    where: str,
    slug: str,
    *,
    limit: int = MAX_BYTES,
    wanted: str = "Name a readable file.",
    smaller: str = "Name a smaller file.",
) -> bytes:
    """Return the content of a file.

    Args:
        path: The file.
        where: What to name in an error.
        slug: What the slugs of errors begin with.
        limit: Bytes it may have.
        wanted: What would be right where it cannot be read.
        smaller: What would be right where it is larger.

    Raises:
        ConfigurationError: It cannot be read, or is larger.
    """
    name = str(path)
    # What stands where a path belongs may be a key that somebody has pasted there.
    shown = repr(name) if len(name) <= 200 and "\n" not in name and "-----" not in name and "$2" not in name else "…"
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigurationError(
            where, f"{shown} cannot be read: {reason}.", wanted, slug=f"{slug}-unreadable"
        ) from None
    if len(data) > limit:
        raise ConfigurationError(where, f"{shown} is over {limit >> 20} MiB.", smaller, slug=f"{slug}-too-large")
    return data


def compose(data: bytes, where: str, slug: str) -> yaml.Node | None:
    """Return the root node of a YAML document, None for an empty one.

    Raises:
        ConfigurationError: It is no plain YAML document. The error tells the place and quotes nothing, since a file
            may hold secrets.
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
                raise ConfigurationError(
                    f"{where}:{line}",
                    f"Anchors, aliases, tags and more than {_MAX_DEPTH} levels are not read.",
                    "Write the value out; quote a text that starts with &, * or !.",
                    slug=f"{slug}-not-plain",
                )
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last ones: escapes and numbers out of range
        mark = getattr(error, "problem_mark", None)
        if isinstance(error, UnicodeDecodeError):
            line = 1 + data.count(b"\n", 0, error.start)
        raise ConfigurationError(
            f"{where}:{mark.line + 1 if mark else line}",
            "This is not one YAML document in UTF-8.",
            "Indent with spaces and quote values that contain ': ' or ' #'.",
            slug=f"{slug}-syntax",
        ) from None


Place = tuple[str | int, ...]
"""Where a value stands in a document: keys and positions."""


def _written(path: Place) -> str:
    """Return a place on one line, whatever the keys are."""
    keys = (key if key.isprintable() else ascii(key) for key in map(str, path))
    return ".".join(key if len(key) <= _MAX_SHOWN else key[: _MAX_SHOWN - 1] + "…" for key in keys)


class Document:
    """The values of a YAML file, and where each of them stands.

    Attributes:
        values: Mappings, lists, texts and None as the file has them; None for an empty file.
        problems: Keys that are there twice; the first one is in `values`.
    """

    def __init__(self, name: str, data: bytes, slug: str) -> None:
        self._name = name
        self._slug = slug
        self._lines: dict[Place, int] = {(): 1}
        self.problems: list[ConfigurationError] = []
        self.values = self._value(compose(data, name, slug), ())

    def where(self, path: Place) -> str:
        """Return file, line and key of a value, or of the nearest one around it: `slo.yaml:7: objectives.fast`."""
        known = path
        while known not in self._lines:
            known = known[:-1]
        return f"{self._name}:{self._lines[known]}" + (f": {_written(path)}" if path else "")

    def _value(self, node: yaml.Node | None, path: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._lines[*path, index] = item.start_mark.line + 1
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag != _NULL:
            return str(node.value)
        return None

    def _mapping(self, node: yaml.MappingNode, path: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            line = key.start_mark.line + 1
            if name in values:
                self.problems.append(
                    ConfigurationError(
                        f"{self._name}:{line}: {_written((*path, name))}",
                        f"This is there twice, in line {self._lines[*path, name]} too.",
                        "Keep one of them, or give the other a name of its own.",
                        slug=f"{self._slug}-duplicate-key",
                    )
                )
                continue
            self._lines[*path, name] = line
            values[name] = self._value(item, (*path, name))
        return values
