"""Statistics that Locust writes into files, with a row for each endpoint, and the assessments common to both formats.

Locust rounds response times: 147 ms becomes 150, 3,432 ms becomes 3,400. Times are exact below 100 ms, rounded to tens
below 1 s, to hundreds below 10 s and to thousands above, halves to even. (`bucket_response_time` in Locust's stats.py.)
A rounded time below the rounded threshold is below the threshold, and one above it is above. A time equal to the
rounded threshold may be on either side, unless rounding does not change the threshold: then it is within, as people
read the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from locust_otel.core import documents
from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check.assessments import (
    Assessment,
    Assessments,
    Source,
    counted,
    decided,
    noted,
    undecided,
)
from locust_otel.slo.counts import Counts, Endpoint
from locust_otel.slo.objectives import Objective, Sli, Slo, plain, spoken
from locust_otel.slo.verdict import Status, worst

MAX_BYTES = 64 << 20
"""Largest file that is read; that of a run with 10,000 request names has 3 MiB."""


@dataclass(frozen=True, slots=True)
class StatsRow:
    """Endpoint in a file."""

    method: str
    name: str
    requests: int
    failures: int
    timed: int  # requests with a response time
    total_ms: Fraction | None  # sum of the response times; None if the file has no number

    @property
    def counts(self) -> Counts:
        """Successful and failed requests."""
        return Counts(self.requests - self.failures, self.failures)


def read(given: str, ending: str, flag: str, slug: str) -> tuple[Path, str]:
    """Return path and text of the file that a flag names, with or without the ending that Locust adds.

    The slugs of errors begin with `slug`.

    Raises:
        ConfigurationError: The file cannot be read, is larger than `MAX_BYTES`, or is not in UTF-8.
    """
    path = Path(given if given.endswith(ending) else given + ending)
    wanted, smaller = "Name a file that Locust wrote.", "Give requests with ids in their URLs one name."
    data = documents.read(path, flag, slug, limit=MAX_BYTES, wanted=wanted, smaller=smaller)
    try:
        return path, data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(
            flag, f"{str(path)!r} is not UTF-8.", "Run Locust with PYTHONUTF8=1.", slug=f"{slug}-encoding"
        ) from None


def source(path: Path, assess: Callable[[Slo, Objective], Assessment], *notes: str, unknown: str = "") -> Source:
    """Return the source that assesses each objective by a file, unless no file of Locust can decide it.

    A note beside each number says what the file does not contain, and `unknown`. The other notes are about the file.
    """

    def assessment(slo: Slo, objective: Objective) -> Assessment:
        if objective.match.knows_users:
            return undecided(objective, "not decidable: the files of Locust have no user classes")
        if objective.only_success:
            return undecided(objective, "not decidable: the files of Locust mix in the times of failed requests")
        assessed = assess(slo, objective)
        if assessed.result.status is Status.UNDECIDED:
            return assessed
        limits = [f"includes the warm-up of {spoken(slo.warmup_s)}" if slo.warmup_s else "", unknown]
        limits.append("rounded by Locust" if objective.sli is Sli.LATENCY else "")
        return noted(assessed, *limits, "the generator may have been late")

    return lambda slo: Assessments(str(path), tuple(assessment(slo, objective) for objective in slo.objectives), notes)


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts that have no durations."""
    several = list(counts)
    return Counts(sum(part.good for part in several), sum(part.bad for part in several))


def success(slo: Slo, objective: Objective, rows: Iterable[StatsRow], endpoints: Iterable[StatsRow]) -> Assessment:
    """Judge the success of rows; the worst endpoint is one of `endpoints`, which may be the same rows."""
    assessment = counted(slo, objective, total(row.counts for row in rows))
    return with_worst(assessment, {(row.method, row.name): row.counts for row in endpoints})


def with_worst(assessment: Assessment, by_endpoint: Mapping[Endpoint, Counts]) -> Assessment:
    """Return an assessment with the worst of the endpoints."""
    result = assessment.result
    return replace(assessment, result=replace(result, worst=worst(result.objective, by_endpoint)))


def mean(slo: Slo, objective: Objective, rows: Sequence[StatsRow]) -> Assessment:
    """Judge the mean response time of rows, exactly."""
    timed = sum(row.timed for row in rows)
    totals_ms = [row.total_ms for row in rows if row.total_ms is not None]
    if len(totals_ms) < len(rows):
        why = "not decidable: the file has no mean"
        return Assessment(decided(slo, objective, Counts(timed), None, why=why, told="–"), is_share=False)
    total_s = sum(totals_ms, Fraction(0)) / 1000
    missed = total_s > Fraction(objective.within_s or 0) * timed
    result = decided(slo, objective, Counts(timed, 0, float(total_s)), missed)
    return Assessment(result, {"": (total_s / timed, total_s / timed)} if timed else {}, is_share=False)


def rounded(ms: Decimal) -> Decimal:
    """Return a response time in ms as Locust keeps it."""
    digits = 0 if ms < 100 else -1 if ms < 1000 else -2 if ms < 10000 else -3
    return plain(round(ms, digits))


class Threshold:
    """Duration that an objective allows, to be compared with rounded response times."""

    def __init__(self, objective: Objective) -> None:
        self.ms = plain((objective.within_s or Decimal(0)) * 1000)
        kept = rounded(self.ms)
        self.is_kept = kept == self.ms
        # Everything between the two, since users can replace Locust's rounding by a finer one.
        self._unclear = (min(self.ms, kept), max(self.ms, kept))

    def is_exceeded(self, ms: int) -> bool | None:
        """Return whether a rounded time is above; None if rounding hides that."""
        if self._unclear[0] <= ms <= self._unclear[1]:
            return False if self.is_kept else None
        return ms > self.ms

    def unclear(self, times: str) -> str:
        """Return the note that rounding hides on which side times are."""
        return f"not decidable: Locust rounds response times, and {times} may be above or below {self.ms} ms"
