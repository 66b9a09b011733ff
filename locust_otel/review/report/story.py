"""What an analysis adds to a report, where its extra is installed: findings, and the story in three sentences."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from locust_otel.review.record.reader import Record
from locust_otel.review.report.summary import Summary

MISSING = (
    "Pictures and the analysis of degradation patterns are left out: they need numpy, scipy and matplotlib. "
    "pip install 'locust-otel[analysis]' adds them."
)


def has_extra() -> bool:
    """Return whether the libraries of the extra are installed."""
    return all(find_spec(name) is not None for name in ("numpy", "scipy", "matplotlib"))


def analysis(record: Record) -> Any:
    """Return the `Analysis` of a record; None without the extra."""
    if not has_extra():
        return None
    from locust_otel.review.analysis.analyze import analyze  # noqa: PLC0415  # an extra
    from locust_otel.review.analysis.from_record import timeline  # noqa: PLC0415  # likewise

    return analyze(timeline(record))


def sentences(found: Summary, analyzed: Any) -> list[str]:
    """Return the story: what was done, what was seen, what to do about it."""
    whole = found.whole
    failed = f"{whole.failures / whole.requests:.2%}" if whole.requests else "none"
    p95 = f", 95 % of them within {duration(whole.p95_s)}" if whole.p95_s is not None else ""
    told = [
        f"{found.peak_users:,} users made {whole.requests:,} requests in {length(found.length_s)}, up to "
        f"{found.peak_rps:,.0f} a second{p95}; {failed} failed."
    ]
    if analyzed is None:
        return told
    main = analyzed.main
    told.append(main.summary)
    if "fixes" in main.figures:
        told.append(f"{main.evidence[0]} Worth a look: {main.figures['fixes'].split(';')[0].rstrip('.')}.")
    elif main.evidence:
        told.append(main.evidence[0])
    return told


def duration(value: float | None) -> str:
    """Return seconds as people read them; a dash where there are none."""
    if value is None:
        return "–"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"


def length(seconds: float) -> str:
    """Return the length of a run."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
