"""A mark asked for over HTTP, apart from the server: what a body may hold, and what is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from locust_otel.core.marks import DEFAULT_KIND, Marked, MarkError

MAX_BODY_BYTES = 4096

Mark = Callable[[object, object], Marked | None]
"""Marks a text of a kind: returns None where no run is active, raises MarkError where they cannot be used."""

_EXAMPLE = '{"mark": "db primary killed", "kind": "fault"}'
_KEYS = frozenset({"mark", "kind"})


class MarkAnswer(NamedTuple):
    """The answer: HTTP status, body, and the body's type."""

    status: int
    body: str
    content_type: str = "text/plain"


def answered(body: bytes | None, content_type: str, mark: Mark) -> MarkAnswer:
    """Mark what a request asks for, and return the answer.

    Args:
        body: None where there is no body, it is too long, or its length was not sent.
        content_type: Of the body, with parameters or without.
        mark: Marks it.
    """
    try:
        asked = _asked(body, content_type)
        marked = mark(asked["mark"], asked.get("kind", DEFAULT_KIND))
    except MarkError as error:
        return MarkAnswer(400, f"{error}\n")
    if marked is None:
        return MarkAnswer(409, "No run goes on that could be marked.\n")
    return MarkAnswer(200, json.dumps(marked._asdict()) + "\n", "application/json")


def _asked(body: bytes | None, content_type: str) -> dict[str, Any]:
    """Return what a body asks for, which has a `mark`.

    Raises:
        MarkError: It asks for nothing that could be marked.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise MarkError("Send the mark as JSON, with Content-Type: application/json.")
    if body is None:
        raise MarkError(f"Send a body of at most {MAX_BODY_BYTES} bytes, with its Content-Length.")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise MarkError(f"The body is not JSON; send {_EXAMPLE}.") from None
    if not isinstance(asked, dict) or "mark" not in asked:
        raise MarkError(f'Send an object with a "mark": {_EXAMPLE}.')
    if unknown := sorted(asked.keys() - _KEYS):
        raise MarkError(f'{unknown[0][:40]!r} is not known here; "mark" and "kind" are.')
    return asked
