"""Formats of durations, percentages and verdicts, the same in every table, page and picture."""

from __future__ import annotations

SIGNS = {"met": "✅", "missed": "❌", "undecided": "❔", "invalid": "⚠️"}
"""Sign of each status of an objective."""


def duration(seconds: float | None) -> str:
    """Return a duration as text: `1.80 s`, `312 ms`, `4.1 ms`; a dash for None."""
    if seconds is None:
        return "–"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def elapsed(seconds: float | None) -> str:
    """Return the time from one moment to another as text: `4.7 s`, `1:31`, `-0.8 s`; a dash for None."""
    if seconds is None:
        return "–"
    if abs(seconds) < 59.95:
        return f"{seconds:.1f} s"
    return clock(seconds) if seconds > 0 else f"-{clock(-seconds)}"


def limit(seconds: float) -> str:
    """Return a planned length of time as text, without decimals that it lacks: `15 s`, `1:30`."""
    return f"{seconds:g} s" if seconds < 60 else clock(seconds)


def percent(share: float) -> str:
    """Return a share as text, with one decimal: `4.2%`."""
    return f"{share:.1%}"


def clock(seconds: float) -> str:
    """Return the time since a start in the format of a clock: `1:05`, `2:01:05`."""
    hours, minutes, rest = _hours_minutes_seconds(seconds)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def length(seconds: float) -> str:
    """Return the length of a run: `45 s`, `1 min 5 s`, `2 h 1 min`."""
    hours, minutes, rest = _hours_minutes_seconds(seconds)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _hours_minutes_seconds(seconds: float) -> tuple[int, int, int]:
    minutes, rest = divmod(round(seconds), 60)
    return *divmod(minutes, 60), rest
