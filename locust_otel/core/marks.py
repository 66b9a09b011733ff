"""Marks of a run: what may be marked, how a mark is asked for over HTTP, and how that is answered.

A mark tells those who read the curves that something happened: a fault was injected, a version was deployed. It is a
text of one line and of a kind. A run has a limited number of different ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from locust_otel.core.catalogue import OTHER
from locust_otel.core.errors import LocustOtelError

MAX_TEXT = 200
"""Characters of a mark; what is longer is cut."""

MAX_DISTINCT = 100
"""Different pairs of mark and kind in a run; further ones are counted together."""

MAX_SINGLE = 1000
"""Marks of a run that are kept one by one, with their times; further ones are only counted."""

START, END = "-start", "-end"
"""What follows the kind where a mark is the start and the end of something that lasts: `fault-start`, `fault-end`."""

ABORT_KIND = "abort"
"""Kind of the mark of what has ended a run."""

ABORT_TEXT = "slo-abort "
"""Start of the mark of --slo-abort, from which `check` knows that the run was aborted."""

MARK_PATH = "/-/mark"
"""Where a run may be marked over HTTP, beside `/metrics`: a POST of `{"mark": "db killed", "kind": "fault"}`."""

MAX_BODY_BYTES = 4096

SERVICE = "locust-otel"
"""Name that the load test gives itself at this path."""

TOKEN_VARIABLE = "LOCUST_OTEL_MARK_TOKEN"  # noqa: S105  # the name of a variable
"""Environment variable with the token that clients on other machines must send to mark."""

DEFAULT_KIND = "mark"

_KIND = re.compile(r"[a-z0-9_-]{1,30}")
_EXAMPLE = '{"mark": "db primary killed", "kind": "fault"}'
_KEYS = frozenset({"mark", "kind"})


class MarkError(LocustOtelError, ValueError):
    """A mark or its kind cannot be used."""


class Marked(NamedTuple):
    """The run that was marked, and the Unix time in seconds."""

    run_id: str
    time: float


def cleaned(text: object, kind: object) -> tuple[str, str]:
    """Return a mark and its kind as they are kept.

    Raises:
        MarkError: The text is none or empty, or the kind is no word of at most 30 small letters, digits, `_` and `-`.
    """
    if not isinstance(text, str):
        raise MarkError(f"A mark is a text, not a {type(text).__name__}.")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        shown = repr(kind[:40]) if isinstance(kind, str) else f"a {type(kind).__name__}"
        raise MarkError(f"{shown} is no kind: write a word of 1 to 30 letters a-z, digits, '_' and '-', such as fault.")
    # A locustfile may hand over lone surrogates, which no exporter can write.
    shown = text[: 4 * MAX_TEXT].encode("utf-8", "replace").decode()
    words = "".join(letter if letter.isprintable() else " " for letter in shown).split()
    mark = " ".join(words)[:MAX_TEXT].rstrip()
    if not mark:
        raise MarkError("The mark is empty: say in a few words what happened.")
    if kind == ABORT_KIND and mark.startswith(ABORT_TEXT):
        raise MarkError(f"{ABORT_TEXT.strip()!r} is what --slo-abort marks by itself: choose other words.")
    return mark, kind


def folded(known: Mapping[tuple[str, str], int], mark: str, kind: str) -> tuple[str, str]:
    """Return what a mark is counted as in a run that knows these: itself, or one of the others."""
    return (mark, kind) if (mark, kind) in known or len(known) < MAX_DISTINCT else (OTHER, OTHER)


Mark = Callable[[object, object], Marked | None]
"""Marks a text of a kind: returns None if no run is active, raises MarkError if they cannot be used."""


class MarkAnswer(NamedTuple):
    """The answer: HTTP status, body, and the body's type."""

    status: int
    body: str
    content_type: str = "text/plain"


def answered(body: bytes | None, content_type: str, mark: Mark) -> MarkAnswer:
    """Mark what a request asks for, and return the answer.

    The body is None if there is none, it is too long, or its length was not sent. Its type may have parameters.
    """
    try:
        values = _decoded(body, content_type)
        marked = mark(values["mark"], values.get("kind", DEFAULT_KIND))
    except MarkError as error:
        return MarkAnswer(400, f"{error}\n")
    if marked is None:
        return MarkAnswer(409, "No run goes on that could be marked.\n")
    return MarkAnswer(200, json.dumps(marked._asdict()) + "\n", "application/json")


def _decoded(body: bytes | None, content_type: str) -> dict[str, Any]:
    """Return the object in the body of a request, which has a `mark`.

    Raises:
        MarkError: The body is not such an object.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise MarkError("Send the mark as JSON, with Content-Type: application/json.")
    if body is None:
        raise MarkError(f"Send a body of at most {MAX_BODY_BYTES} bytes, with its Content-Length.")
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise MarkError(f"The body is not JSON; send {_EXAMPLE}.") from None
    if not isinstance(values, dict) or "mark" not in values:
        raise MarkError(f'Send an object with a "mark": {_EXAMPLE}.')
    if unknown := sorted(values.keys() - _KEYS):
        raise MarkError(f'{unknown[0][:40]!r} is not known here; "mark" and "kind" are.')
    return values
