"""The result of an analysis: findings with their figures, and notes; as text for people, as JSON for programs."""

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
    """A way in which a service degrades, or the lack of one."""

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
    Pattern.CLIFF: "fine up to a point, then a collapse",
    Pattern.SAWTOOTH: "regular stalls",
    Pattern.SLOW_ENDPOINT: "one endpoint is the bottleneck",
    Pattern.LEAK: "slow drift at the same load",
    Pattern.SHIFT: "a step that the load does not explain",
    Pattern.NONE: "no degradation",
    Pattern.UNKNOWN: "cannot tell",
}

_FIXES: Mapping[Pattern, str] = {
    Pattern.LINEAR: "Work that all requests share: cache what is computed again, cut or batch queries, look for a lock "
    "or a processor they queue for; then add capacity.",
    Pattern.CLIFF: "A limit that is hit: size of the database or connection pool, worker threads, queue and time-out "
    "settings; refuse early rather than queue beyond it.",
    Pattern.SAWTOOTH: "Something periodic: garbage collection and heap size, a cache that expires as a whole (warm it, "
    "or spread the expiry), cron jobs, checkpoints of the database.",
    Pattern.SLOW_ENDPOINT: "The endpoint itself: its query and indexes, a call to another service, a time-out of its "
    "own; keep it from taking the workers of the others.",
    Pattern.LEAK: "Something that grows: memory, sessions, open connections, a table or a log without an index; "
    "a longer soak and a restart tell more.",
    Pattern.SHIFT: "Something that changed at that moment: a deployment, a neighbour, a fail-over, a fault of a game "
    "day; vary the load to learn which pattern it is.",
}

_STYLES = {Pattern.NONE: "bold green", Pattern.UNKNOWN: "bold yellow"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A pattern that a run shows, or the reason why none is named."""

    pattern: Pattern
    summary: str
    evidence: tuple[str, ...]  # sentences with the figures it rests on
    confidence: float  # in [0, 1]
    endpoint: str = ""  # method and name; empty where it concerns all
    figures: Mapping[str, Any] = field(default_factory=dict)  # of the evidence, in seconds, users and requests/s
    since_s: float | None = None  # since the start of the run; None where that has no meaning

    @property
    def fixes(self) -> str:
        """What to consider; empty where nothing is to be fixed."""
        return _FIXES.get(self.pattern, "")

    @property
    def is_certain(self) -> bool:
        """Whether the confidence is high."""
        return self.confidence >= 0.8

    @property
    def confidence_word(self) -> str:
        """The confidence in a word."""
        return "high" if self.is_certain else "medium" if self.confidence >= 0.5 else "low"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is no pattern: warm-up, recovery, the generator."""

    slug: str
    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointFinding:
    """The findings on one endpoint."""

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
    """The findings on a run, at least one and the main one first; the busiest endpoint comes first too."""

    source: str
    run_id: str
    findings: tuple[Finding, ...]
    endpoints: tuple[EndpointFinding, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def main(self) -> Finding:
        """The finding that explains most."""
        return self.findings[0]

    @property
    def knee(self) -> Mapping[str, float]:
        """The knee of a cliff, for a picture; empty where there is none."""
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
    for column in ("requests", "failed", "at first", "at last", "share of time"):
        result.add_column(column, justify="right", no_wrap=True)
    result.add_column("pattern", no_wrap=True)
    for endpoint in endpoints:
        counts = (f"{endpoint.requests:,}", f"{endpoint.failures:,}")
        times = (duration(endpoint.first_s), duration(endpoint.last_s), f"{endpoint.share_of_time:.0%}")
        pattern = Text(endpoint.pattern.value, style=_STYLES.get(endpoint.pattern, "bold red"))
        result.add_row(Text(endpoint.endpoint), *counts, *times, pattern)
    return result


def document(analysis: Analysis) -> dict[str, Any]:
    """Return an analysis as JSON has it; `main` is the first of the findings."""
    result: dict[str, Any] = _plain({
        "version": 1,
        "source": analysis.source,
        "run_id": analysis.run_id,
        "pattern": analysis.main.pattern.value,
        "summary": analysis.main.summary,
        "findings": [
            {
                "pattern": finding.pattern.value,
                "summary": finding.summary,
                "endpoint": finding.endpoint or None,
                "since_s": finding.since_s,
                "confidence": round(finding.confidence, 2),
                "confidence_word": finding.confidence_word,
                "evidence": finding.evidence,
                "fixes": finding.fixes or None,
                "figures": finding.figures,
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


def _plain(value: Any) -> Any:
    """Return a value as JSON can say it: numbers with four significant digits, none for infinity."""
    match value:
        case dict():
            return {key: _plain(member) for key, member in value.items()}
        case list() | tuple():
            return [_plain(member) for member in value]
        case None | str() | bool() | int():
            return value
    number = float(value)
    return float(f"{number:.4g}") if math.isfinite(number) else None
