"""An analysis as text for people, and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from locust_otel.review.analysis.finding import TITLES, Analysis, EndpointFinding, Finding, Pattern, seconds

JSON_VERSION = 1

_STYLES = {Pattern.NONE: "bold green", Pattern.UNKNOWN: "bold yellow"}


def rendered(analysis: Analysis) -> RenderableType:
    """Return an analysis for a terminal."""
    return Group(*_parts(analysis))


def print_to(analysis: Analysis, console: Console) -> None:
    """Print an analysis."""
    console.print(rendered(analysis), soft_wrap=False)


def _parts(analysis: Analysis) -> Iterator[RenderableType]:
    yield Text.assemble(("run ", "dim"), analysis.run_id)
    for finding in analysis.findings:
        yield Text("")
        yield from _finding(finding)
    if analysis.notes:
        yield Text("")
        yield Text("Also", style="bold")
        yield from (Padding(Text(f"· {note.text}"), (0, 0, 0, 2)) for note in analysis.notes)
    if analysis.endpoints:
        yield Text("")
        yield table(analysis.endpoints)


def _finding(finding: Finding) -> Iterator[RenderableType]:
    style = _STYLES.get(finding.pattern, "bold red")
    sure = "" if finding.pattern is Pattern.UNKNOWN else f"  {finding.confidence_word} confidence"
    yield Text.assemble((finding.pattern.value.upper(), style), (f"  {TITLES[finding.pattern]}{sure}", "dim"))
    yield Padding(Text(finding.summary, style="bold"), (0, 0, 0, 2))
    yield from (Padding(Text(f"· {sentence}"), (0, 0, 0, 2)) for sentence in finding.evidence)
    if "fixes" in finding.figures:
        yield Padding(Text(f"→ {finding.figures['fixes']}", style="cyan"), (0, 0, 0, 2))


def table(endpoints: tuple[EndpointFinding, ...]) -> Table:
    """Return what is said of each endpoint."""
    result = Table(box=None, pad_edge=False, header_style="dim")
    result.add_column("endpoint")
    for column in ("requests", "failed", "at first", "at last", "share of time"):
        result.add_column(column, justify="right", no_wrap=True)
    result.add_column("pattern", no_wrap=True)
    for each in endpoints:
        result.add_row(
            Text(each.endpoint),
            f"{each.requests:,}",
            f"{each.failures:,}",
            seconds(each.low_s),
            seconds(each.high_s),
            f"{each.share:.0%}",
            Text(each.pattern.value, style=_STYLES.get(each.pattern, "bold red")),
        )
    return result


def document(analysis: Analysis) -> dict[str, Any]:
    """Return an analysis as JSON has it; `main` is the first of the findings."""
    return {
        "version": JSON_VERSION,
        "source": analysis.source,
        "run_id": analysis.run_id,
        "pattern": analysis.main.pattern.value,
        "summary": analysis.main.summary,
        "findings": [
            {
                "pattern": each.pattern.value,
                "summary": each.summary,
                "endpoint": each.endpoint or None,
                "since_s": _number(each.since_s),
                "confidence": round(each.confidence, 2),
                "confidence_word": each.confidence_word,
                "evidence": list(each.evidence),
                "fixes": each.figures.get("fixes"),
                "figures": {key: _number(value) for key, value in each.figures.items() if key != "fixes"},
            }
            for each in analysis.findings
        ],
        "notes": [
            {"note": each.slug, "text": each.text, "figures": {k: _number(v) for k, v in each.figures.items()}}
            for each in analysis.notes
        ],
        "endpoints": [
            {
                "endpoint": each.endpoint,
                "pattern": each.pattern.value,
                "confidence": round(each.confidence, 2),
                "requests": each.requests,
                "failures": each.failures,
                "first_s": _number(each.low_s),
                "last_s": _number(each.high_s),
                "share_of_time": _number(each.share),
            }
            for each in analysis.endpoints
        ],
        "knee": {key: _number(value) for key, value in analysis.knee.items()} or None,
    }


def written(analysis: Analysis) -> str:
    """Return an analysis as one JSON document."""
    return json.dumps(document(analysis), indent=2, allow_nan=False) + "\n"


def _number(value: Any) -> Any:
    """Return a figure as JSON can say it: four significant digits, no infinity."""
    if isinstance(value, dict):
        return {key: _number(each) for key, each in value.items()}
    if value is None or isinstance(value, str | bool | int):
        return value
    number = float(value)
    return float(f"{number:.4g}") if math.isfinite(number) else None
