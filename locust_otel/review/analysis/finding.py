"""What an analysis says: findings with their figures, in words and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Pattern(StrEnum):
    """How a service degrades, or why nothing is said of it."""

    LINEAR = "linear"
    CLIFF = "cliff"
    SAWTOOTH = "sawtooth"
    SLOW_ENDPOINT = "slow-endpoint"
    LEAK = "leak"
    SHIFT = "shift"
    NONE = "none"
    UNKNOWN = "cannot-tell"


TITLES: Mapping[Pattern, str] = {
    Pattern.LINEAR: "latency grows with the load",
    Pattern.CLIFF: "fine up to a point, then a collapse",
    Pattern.SAWTOOTH: "regular stalls",
    Pattern.SLOW_ENDPOINT: "one endpoint is the bottleneck",
    Pattern.LEAK: "slow drift at the same load",
    Pattern.SHIFT: "a step that the load does not explain",
    Pattern.NONE: "no degradation",
    Pattern.UNKNOWN: "cannot tell",
}

FIXES: Mapping[Pattern, str] = {
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


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        pattern: Its name.
        summary: One sentence for people.
        evidence: Sentences with the figures it rests on.
        confidence: In [0, 1].
        endpoint: Method and name; empty where it concerns all.
        figures: The same figures for programs, in seconds, users and requests/s.
        since_s: Since when, in seconds since the start of the run; None where that has no meaning.
    """

    pattern: Pattern
    summary: str
    evidence: tuple[str, ...]
    confidence: float
    endpoint: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    since_s: float | None = None

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
    """What is said of one endpoint.

    Attributes:
        low_s: Mean duration at low load, or at the start.
        high_s: Mean duration at high load, or at the end.
        share: Of the total time of all requests, in [0, 1].
    """

    endpoint: str
    pattern: Pattern
    confidence: float
    requests: int
    failures: int
    low_s: float
    high_s: float
    share: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is said of a run.

    Attributes:
        findings: The main one first; there is at least one.
        endpoints: The busiest first.
        knee: For a picture: `users`, `rps`, `latency_s`; empty where there is none.
    """

    source: str
    run_id: str
    findings: tuple[Finding, ...]
    endpoints: tuple[EndpointFinding, ...] = ()
    notes: tuple[Note, ...] = ()
    knee: Mapping[str, float] = field(default_factory=dict)

    @property
    def main(self) -> Finding:
        """The finding that explains most."""
        return self.findings[0]


def seconds(value: float) -> str:
    """Return a duration as people read it."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.1f} ms"
