"""Outcome of a push."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one push."""

    ok: bool  # the receiver accepted it, perhaps in part
    rejected: int = 0  # points or records that the receiver rejected
    reason: str = ""  # without secrets; empty after a complete success
    retry_after_s: float = 0.0  # pause that the receiver asks for
    is_permanent: bool = False  # the same data would be refused again


NOT_SENT = Outcome(ok=False, reason="not sent")


def partial_outcome(partial: Any) -> Outcome:
    """Return the outcome in a `partial_success`; an empty one is a complete success."""
    rejected = getattr(partial, "rejected_data_points", 0) or getattr(partial, "rejected_log_records", 0)
    reason = printable(partial.error_message) if rejected else ""
    return Outcome(ok=True, rejected=rejected, reason=reason, is_permanent=bool(rejected))


def printable(text: str) -> str:
    """Return the printable part of a receiver's text, at most 200 characters."""
    return "".join(c for c in text[:200] if c.isprintable()).strip()
