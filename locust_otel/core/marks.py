"""Marks of a run: their limits, and the HTTP request and response that make one.

A mark shows an event in the curves of a run: an injected fault, a deployment. It has a text of one line and a kind.
The number of different marks in a run is limited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from locust_otel.core.catalogue import OTHER
from locust_otel.core.errors import LocustOtelError

MAX_TEXT = 200  # characters of a mark; longer texts are cut
MAX_DISTINCT = 100  # pairs of mark and kind in a run; further pairs are counted together
MAX_SINGLE = 1000  # marks of a run that are stored with their times; further marks are only counted
DEFAULT_KIND = "mark"
START, END = "-start", "-end"  # suffixes of the kind for an event with a duration: `fault-start`, `fault-end`
ABORT_KIND = "abort"  # kind of the mark for the abort of a run
ABORT_TEXT = "slo-abort "  # prefix of the mark of --slo-abort; `check` detects an aborted run by it

MARK_PATH = "/-/mark"
"""Path to mark a run over HTTP, beside `/metrics`: a POST of `{"mark": "db killed", "kind": "fault"}`."""

MAX_BODY_BYTES = 4096
SERVICE = "locust-otel"  # name of the service in responses of this path
TOKEN_VARIABLE = "LOCUST_OTEL_MARK_TOKEN"  # noqa: S105  # variable with the token that remote clients must send

_KIND = re.compile(r"[a-z0-9_-]{1,30}")
_EXAMPLE = '{"mark": "db primary killed", "kind": "fault"}'


class MarkError(LocustOtelError, ValueError):
    """Invalid mark or kind."""


class Marked(NamedTuple):
    """Run that was marked, and Unix time of the mark in seconds."""

    run_id: str
    time: float


def cleaned(text: object, kind: object) -> tuple[str, str]:
    """Return a mark and its kind as they are stored.

    Raises:
        MarkError: The text is not a text or is empty, or the kind is not 1 to 30 letters a-z, digits, `_` and `-`.
    """
    if not isinstance(text, str):
        raise MarkError(f"A mark is a text, not a {type(text).__name__}.")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        shown = repr(kind[:40]) if isinstance(kind, str) else f"a {type(kind).__name__}"
        raise MarkError(f"{shown} is not a kind: write 1 to 30 letters a-z, digits, '_' and '-', such as fault.")
    # A locustfile may pass lone surrogates, which cannot be exported.
    encodable = text[: 4 * MAX_TEXT].encode("utf-8", "replace").decode()
    words = "".join(letter if letter.isprintable() else " " for letter in encodable).split()
    mark = " ".join(words)[:MAX_TEXT].rstrip()
    if not mark:
        raise MarkError("The mark is empty: describe the event in a few words.")
    if kind == ABORT_KIND and mark.startswith(ABORT_TEXT):
        raise MarkError(f"{ABORT_TEXT.strip()!r} is reserved for --slo-abort: choose other words.")
    return mark, kind


def folded(known: Mapping[tuple[str, str], int], mark: str, kind: str) -> tuple[str, str]:
    """Return the mark and kind to count under: the given ones, or `_OTHER` if `known` is full."""
    return (mark, kind) if (mark, kind) in known or len(known) < MAX_DISTINCT else (OTHER, OTHER)


Mark = Callable[[object, object], Marked | None]
"""Function that marks the run with a text and a kind: returns None without an active run, may raise MarkError."""


class MarkAnswer(NamedTuple):
    """Response: HTTP status, body and content type."""

    status: int
    body: str
    content_type: str = "text/plain"


def answered(body: bytes | None, content_type: str, mark: Mark) -> MarkAnswer:
    """Handle a request for a mark, and return the response.

    `body` is None if the request has no body, no length, or too long a body. `content_type` may have parameters.
    """
    try:
        values = _decoded(body, content_type)
        marked = mark(values["mark"], values.get("kind", DEFAULT_KIND))
    except MarkError as error:
        return MarkAnswer(400, f"{error}\n")
    if marked is None:
        return MarkAnswer(409, "No run is active.\n")
    return MarkAnswer(200, json.dumps(marked._asdict()) + "\n", "application/json")


def _decoded(body: bytes | None, content_type: str) -> dict[str, Any]:
    """Return the JSON object of a body; it has a `mark`.

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
    if unknown := sorted(values.keys() - {"mark", "kind"}):
        raise MarkError(f'{unknown[0][:40]!r} is unknown; the keys are "mark" and "kind".')
    return values
