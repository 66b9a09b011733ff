"""What came of one push."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one push.

    Attributes:
        ok: Whether the other side took it, if not all of it.
        rejected: Points or records that it refused.
        reason: Why, in a few words that hold no secret; empty where all is well.
        retry_after_s: Seconds for which the other side asks to be left alone.
        is_permanent: Whether the same sent again would be refused again.
    """

    ok: bool
    rejected: int = 0
    reason: str = ""
    retry_after_s: float = 0.0
    is_permanent: bool = False


NOT_SENT = Outcome(ok=False, reason="not sent")
