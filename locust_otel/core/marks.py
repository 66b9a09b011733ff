"""What may be marked in a run: texts of one line, kinds of one short word, and so many different ones and no more.

A mark says that something happened, for whoever reads the curves: a fault was injected, a version was deployed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

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
"""Kind of what has ended a run."""

ABORT_TEXT = "slo-abort "
"""What the mark of --slo-abort begins with; from it the verdict on a run in Prometheus is made."""

MARK_PATH = "/-/mark"
"""Where a run may be marked over HTTP, beside `/metrics`."""

SERVICE = "locust-otel"
"""What answers there calls itself so."""

TOKEN_VARIABLE = "LOCUST_OTEL_MARK_TOKEN"  # noqa: S105  # the name of a variable
"""Environment variable with the token that others than this machine must show to mark."""

DEFAULT_KIND = "mark"

_KIND = re.compile(r"[a-z0-9_-]{1,30}")


class MarkError(LocustOtelError, ValueError):
    """What is to be marked is none, or its kind is."""


class Marked(NamedTuple):
    """What was marked.

    Attributes:
        run_id: The run it was marked in.
        time: Unix time in seconds.
    """

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
