"""Result of an analysis: findings with their figures, and notes; as text for people, as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from locust_otel.core.words import duration


class Pattern(StrEnum):
    """Way in which a service degrades, or the lack of one."""

    LINEAR = "linear"
    CLIFF = "cliff"
    SAWTOOTH = "sawtooth"
    SLOW_ENDPOINT = "slow-endpoint"
    LEAK = "leak"
    SHIFT = "shift"
    NONE = "none"
    UNKNOWN = "cannot-tell"


_TITLES: Mapping[Pattern, str] = {
    Pattern.LINEAR: "latency grows with the load",
    Pattern.CLIFF: "collapse above a limit",
    Pattern.SAWTOOTH: "regular stalls",
    Pattern.SLOW_ENDPOINT: "one endpoint is the bottleneck",
    Pattern.LEAK: "slow drift at constant load",
    Pattern.SHIFT: "a step at constant load",
    Pattern.NONE: "no degradation",
    Pattern.UNKNOWN: "cannot tell",
}

_FIXES: Mapping[Pattern, str] = {
    Pattern.LINEAR: "Work that all requests share: cache repeated computations, cut or batch queries, look for a lock "
    "or a processor that requests queue for; then add capacity.",
    Pattern.CLIFF: "A limit that is reached: size of the database or connection pool, worker threads, queue and "
    "time-out settings; above it refuse early instead of queueing.",
    Pattern.SAWTOOTH: "Something periodic: garbage collection and heap size, a cache that expires as a whole (warm it, "
    "or spread the expiry), cron jobs, checkpoints of the database.",
    Pattern.SLOW_ENDPOINT: "The endpoint itself: its query and indexes, a call to another service, its own time-out; "
    "limit the workers that it can take from others.",
    Pattern.LEAK: "Something that grows: memory, sessions, open connections, a table or a log without an index; "
    "confirm it by a longer soak and a restart.",
    Pattern.SHIFT: "Something that changed at that time: a deployment, other load on the machine, a fail-over, a fault "
    "of a game day; vary the load to find out the pattern.",
}

_STYLES = {Pattern.NONE: "bold green", Pattern.UNKNOWN: "bold yellow"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Pattern of a run, or the reason why no pattern is named."""

    pattern: Pattern
    summary: str
    evidence: tuple[str, ...]  # sentences with the figures
    confidence: float  # in [0, 1]
    endpoint: str = ""  # method and name; empty if it concerns all
    figures: Mapping[str, Any] = field(default_factory=dict)  # of the evidence, in seconds, users and requests/s
    since_s: float | None = None  # since the start of the run; None if it has no start

    @property
    def fixes(self) -> str:
        """Advice; empty if there is nothing to fix."""
        return _FIXES.get(self.pattern, "")

    @property
    def is_certain(self) -> bool:
        """True if the confidence is high."""
        return self.confidence >= 0.8

    @property
    def confidence_word(self) -> str:
        """Confidence in a word."""
        return "high" if self.is_certain else "medium" if self.confidence >= 0.5 else "low"


@dataclass(frozen=True, slots=True)
class Note:
    """Observation that is not a pattern: warm-up, recovery, the generator."""

    slug: str
    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointFinding:
    """Finding on one endpoint."""

    endpoint: str
    pattern: Pattern
    confidence: float
    requests: int
    failures: int
    first_s: float  # mean duration at low load, or at the start
    last_s: float  # at high load, or at the end
    share_of_time: float  # of the total time of all requests, in [0, 1]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Findings on a run: at least one, the main one first; endpoints by their requests, the busiest first."""

    source: str
    run_id: str
    findings: tuple[Finding, ...]
    endpoints: tuple[EndpointFinding, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def main(self) -> Finding:
        """Finding that explains most."""
        return self.findings[0]

    @property
    def knee(self) -> Mapping[str, float]:
        """Knee of a cliff; empty without one."""
        names = {"users": "knee_users", "rps": "capacity_rps", "latency_s": "base_s", "low_rps": "capacity_low_rps",
                 "high_rps": "capacity_high_rps"}  # fmt: skip
        cliff = next((finding for finding in self.findings if finding.pattern is Pattern.CLIFF), None)
        return {} if cliff is None else {name: cliff.figures[figure] for name, figure in names.items()}


def print_to(analysis: Analysis, console: Console) -> None:
    """Print an analysis."""
    console.print(Group(*_parts(analysis)))


def _parts(analysis: Analysis) -> Iterator[RenderableType]:
    yield Text.assemble(("run ", "dim"), analysis.run_id)
    for finding in analysis.findings:
        yield Text("")
        yield from _finding(finding)
    if analysis.notes:
        yield Text("")
        yield Text("Also", style="bold")
        yield from (_indented(f"· {note.text}") for note in analysis.notes)
    if analysis.endpoints:
        yield Text("")
        yield _table(analysis.endpoints)


def _finding(finding: Finding) -> Iterator[RenderableType]:
    sure = "" if finding.pattern is Pattern.UNKNOWN else f"  {finding.confidence_word} confidence"
    name = (finding.pattern.value.upper(), _STYLES.get(finding.pattern, "bold red"))
    yield Text.assemble(name, (f"  {_TITLES[finding.pattern]}{sure}", "dim"))
    yield _indented(finding.summary, "bold")
    yield from (_indented(f"· {sentence}") for sentence in finding.evidence)
    if finding.fixes:
        yield _indented(f"→ {finding.fixes}", "cyan")


def _indented(text: str, style: str = "") -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, 2))


def _table(endpoints: tuple[EndpointFinding, ...]) -> Table:
    result = Table("endpoint", box=None, pad_edge=False, header_style="dim")
    for column in ("requests", "failed", "first", "last", "share of time"):
        result.add_column(column, justify="right", no_wrap=True)
    result.add_column("pattern", no_wrap=True)
    for endpoint in endpoints:
        counts = (f"{endpoint.requests:,}", f"{endpoint.failures:,}")
        times = (duration(endpoint.first_s), duration(endpoint.last_s), f"{endpoint.share_of_time:.0%}")
        pattern = Text(endpoint.pattern.value, style=_STYLES.get(endpoint.pattern, "bold red"))
        result.add_row(Text(endpoint.endpoint), *counts, *times, pattern)
    return result


def document(analysis: Analysis) -> dict[str, Any]:
    """Return an analysis as JSON values; the main finding is the first."""
    result: dict[str, Any] = _rounded({
        "version": 1,
        "source": analysis.source,
        "run_id": analysis.run_id,
        "pattern": analysis.main.pattern.value,
        "summary": analysis.main.summary,
        "findings": [
            {
                **asdict(finding),
                "endpoint": finding.endpoint or None,
                "confidence": round(finding.confidence, 2),
                "confidence_word": finding.confidence_word,
                "fixes": finding.fixes or None,
            }
            for finding in analysis.findings
        ],
        "notes": [{"note": note.slug, "text": note.text, "figures": note.figures} for note in analysis.notes],
        "endpoints": [
            {**asdict(endpoint), "confidence": round(endpoint.confidence, 2)} for endpoint in analysis.endpoints
        ],
        "knee": analysis.knee or None,
    })  # fmt: skip
    return result


def written(analysis: Analysis) -> str:
    """Return an analysis as one JSON document."""
    return json.dumps(document(analysis), indent=2, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    """Return a value for JSON: floats with four significant digits, null for NaN and infinity."""
    match value:
        case dict():
            return {key: _rounded(member) for key, member in value.items()}
        case list() | tuple():
            return [_rounded(member) for member in value]
        case None | str() | bool() | int():
            return value
    number = float(value)
    return float(f"{number:.4g}") if math.isfinite(number) else None
