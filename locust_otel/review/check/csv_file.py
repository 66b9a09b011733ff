"""Objectives against what Locust's `--csv` wrote: decided as a calculation by hand from the file decides.

Success and the mean are exact. A percentile is the column of that name, in Locust's own rounding. Where there is no
such column, the next higher one within the threshold says met, and the next lower one above it says missed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from io import StringIO

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import files
from locust_otel.review.check.assessments import (
    Assessment,
    Assessments,
    Source,
    decided,
    of_locust,
    undecided,
    warmup_notes,
)
from locust_otel.review.check.rounding import Threshold
from locust_otel.slo import text
from locust_otel.slo.counts import Counts, Endpoint
from locust_otel.slo.objectives import Objective, Sli, Slo, plain
from locust_otel.slo.verdict import Result, is_missed, worst

_SLUG = "check-csv"
_METHOD, _NAME, _REQUESTS, _FAILURES, _MEAN, _MAX = (
    "Type", "Name", "Request Count", "Failure Count", "Average Response Time", "Max Response Time",
)  # fmt: skip
_PERCENTILE = re.compile(r"\d{1,3}(?:\.\d{1,9})?%")
_ENDING = "_stats.csv"
_NOT_WHOLE = (
    "The lines of the file do not add up to the aggregated one, which alone is judged: Locust empties them where it "
    "writes a JSON file too. Check that one."
)


@dataclass(frozen=True, slots=True)
class StatsRow:
    """One line of the file.

    Attributes:
        mean_ms: Mean of the response times in ms; may be NaN.
        percentiles: Rounded ms by share of requests, in (0, 1]; empty where no response time is known.
    """

    method: str
    name: str
    requests: int
    failures: int
    mean_ms: Decimal
    percentiles: dict[Decimal, int]

    @property
    def counts(self) -> Counts:
        """The requests by their success."""
        return Counts(self.requests - self.failures, self.failures)


@dataclass(frozen=True, slots=True)
class Table:
    """The file.

    Attributes:
        rows: One for each endpoint.
        aggregated: Locust's own row of all of them; None for a run without requests.
        is_whole: Whether the rows add up to it. Locust empties them (of a run of 624 requests they said 0) where it
            writes a JSON file before it writes the CSV for the last time.
    """

    rows: tuple[StatsRow, ...]
    aggregated: StatsRow | None
    is_whole: bool = True

    def of(self, objective: Objective) -> tuple[StatsRow, ...]:
        """Return the rows that an objective is about: the aggregated one, or some of the others, never both."""
        if not objective.match:
            return () if self.aggregated is None else (self.aggregated,)
        return tuple(row for row in self.rows if objective.match.covers(row.method, row.name, ""))


def source(prefix: str, flag: str = "--csv") -> Source:
    """Return the source for the prefix given to Locust's `--csv`, or the file itself.

    Raises:
        ConfigurationError: It cannot be read, or is no such file.
    """
    path = files.found(prefix, _ENDING)
    table = parse(files.read(path, flag, _SLUG), str(path))

    def assessments(slo: Slo) -> Assessments:
        found = tuple(_assessment(slo, objective, table) for objective in slo.objectives)
        notes = () if table.is_whole else (_NOT_WHOLE,)
        return Assessments(str(path), found, (*notes, *warmup_notes(slo, "a CSV of Locust")))

    return assessments


def parse(content: str, name: str) -> Table:
    """Return what a file of Locust's says; `name` stands in errors.

    Raises:
        ConfigurationError: It is no such file, or not a whole one.
    """
    reader = csv.reader(StringIO(content, newline=""), strict=True)
    try:
        header = next(reader, [])
        missing = [c for c in (_METHOD, _NAME, _REQUESTS, _FAILURES, _MEAN, _MAX) if header.count(c) != 1]
        if missing:
            raise _refused(f"{name}:1", f"There is no column {missing[0]!r}.", "columns")
        rows = [_row(header, fields, f"{name}:{reader.line_num}") for fields in reader if fields]
    except csv.Error:
        raise _refused(f"{name}:{reader.line_num}", "This is no CSV.", "syntax") from None
    if not rows:
        return Table((), None)
    *endpoints, last = rows
    if (last.method, last.name) != ("", "Aggregated"):
        raise _refused(name, "The last line is not the aggregated one: the file is not whole.", "truncated")
    sums = (sum(row.requests for row in endpoints), sum(row.failures for row in endpoints))
    if sums[0] > last.requests or sums[1] > last.failures:
        raise _refused(
            name,
            f"The lines add up to {sums[0]:,} requests with {sums[1]:,} failures, the aggregated one says "
            f"{last.requests:,} with {last.failures:,}.",
            "sum",
        )
    return Table(tuple(endpoints), last, is_whole=sums == (last.requests, last.failures))


def _refused(where: str, found: str, slug: str) -> ConfigurationError:
    return ConfigurationError(
        where, found, "Name the _stats.csv that locust --csv PREFIX wrote, as it is.", slug=f"{_SLUG}-{slug}"
    )


def _row(header: Sequence[str], fields: Sequence[str], where: str) -> StatsRow:
    if len(fields) != len(header):
        raise _refused(where, f"There are {len(fields)} fields instead of {len(header)}.", "truncated")
    values = dict(zip(header, fields, strict=True))

    def number(column: str) -> int:
        value = values[column]
        if not re.fullmatch(r"[0-9]{1,18}", value):
            raise _refused(where, f"{column} is {value[:40]!r}, not a number.", "value")
        return int(value)

    def decimal(column: str) -> Decimal:
        value = values[column]
        if not re.fullmatch(r"nan|inf|[0-9]{1,18}(?:\.[0-9]{1,30})?(?:e[+-]?[0-9]{1,2})?", value):
            raise _refused(where, f"{column} is {value[:40]!r}, not a number.", "value")
        return Decimal(value)

    requests, failures = number(_REQUESTS), number(_FAILURES)
    if failures > requests:
        raise _refused(where, f"{failures:,} of {requests:,} requests have failed.", "value")
    # Locust writes 0 everywhere where no request had a response time; one of exactly 0 ms there is not.
    highest = decimal(_MAX)
    is_timed = requests > 0 and highest.is_finite() and highest > 0
    columns = [column for column in header if _PERCENTILE.fullmatch(column)]
    percentiles = {Decimal(c[:-1]) / 100: number(c) for c in columns} if is_timed else {}
    mean_ms = decimal(_MEAN) if is_timed else Decimal("NaN")
    return StatsRow(values[_METHOD], values[_NAME], requests, failures, mean_ms, percentiles)


def _assessment(slo: Slo, objective: Objective, table: Table) -> Assessment:
    if why := of_locust(objective):
        return undecided(objective, why)
    if objective.match and not table.is_whole:
        return undecided(objective, "not decidable: the lines of the file do not add up to the aggregated one")
    rows = [row for row in table.of(objective) if row.requests]
    if objective.sli is Sli.SUCCESS:
        return _success(slo, objective, table, rows)
    if objective.sli is Sli.MEAN:
        return _mean(slo, objective, rows)
    return _percentile(slo, objective, rows)


def _success(slo: Slo, objective: Objective, table: Table, rows: Sequence[StatsRow]) -> Assessment:
    counts = Counts()
    for row in rows:
        counts = counts.plus(row.counts)
    result = decided(slo, objective, counts, is_missed(objective, counts))
    by_endpoint: dict[Endpoint, Counts] = {
        (row.method, row.name): row.counts
        for row in table.rows
        if table.is_whole and row.requests and objective.match.covers(row.method, row.name, "")
    }
    share = Fraction(counts.bad, counts.total) if counts.total else None
    return Assessment(
        _with_worst(result, by_endpoint),
        {} if share is None else {"": (share, share)},
    )


def _with_worst(result: Result, by_endpoint: dict[Endpoint, Counts]) -> Result:
    return replace(result, worst=worst(result.objective, by_endpoint))


def _mean(slo: Slo, objective: Objective, rows: Sequence[StatsRow]) -> Assessment:
    requests = sum(row.requests for row in rows)
    total_ms = sum((row.mean_ms * row.requests for row in rows), Decimal(0))
    if not total_ms.is_finite():
        why = "not decidable: there is no mean in the file"
        return Assessment(decided(slo, objective, Counts(requests), None, why=why, told="–"), is_share=False)
    within_ms = (objective.within_s or Decimal(0)) * 1000
    # One row as it stands: a product of many digits and its quotient need not be the same number again.
    missed = rows[0].mean_ms > within_ms if len(rows) == 1 else total_ms > within_ms * requests
    result = decided(slo, objective, Counts(requests, 0, float(total_ms / 1000)), missed)
    value = Fraction(total_ms) / 1000 / requests if requests else None
    return Assessment(result, {} if value is None else {"": (value, value)}, is_share=False)


def _percentile(slo: Slo, objective: Objective, rows: Sequence[StatsRow]) -> Assessment:
    verdicts = [_row_missed(objective, row) for row in rows]
    answers = {missed for missed, _ in verdicts}
    requests = Counts(sum(row.requests for row in rows))
    why = next((why for _, why in verdicts if why), "")
    if len(answers) > 1 and not why:
        why = f"not decidable: {len(rows)} lines of the file differ, and percentiles cannot be added up"
    missed = next(iter(answers)) if len(answers) == 1 else None
    target = objective.target or Decimal(0)
    measured = {
        f"{row.method} {row.name}" if objective.match else "": _exact(row.percentiles[target])
        for row in rows
        if target in row.percentiles
    }
    result = decided(slo, objective, requests, missed, why=why, told=_told(target, rows))
    return Assessment(result, measured if len(measured) == len(rows) else {}, is_share=False)


def _exact(ms: int) -> tuple[Fraction, Fraction]:
    return Fraction(ms, 1000), Fraction(ms, 1000)


def _levels(row: StatsRow, target: Decimal) -> Iterator[Decimal]:
    """Yield the columns that a target is decided by: its own, or its neighbours, the higher one first."""
    if target in row.percentiles:
        yield target
        return
    yield from sorted(level for level in row.percentiles if level > target)[:1]
    yield from sorted(level for level in row.percentiles if level < target)[-1:]


def _row_missed(objective: Objective, row: StatsRow) -> tuple[bool | None, str]:
    """Return whether one row misses an objective; None where it does not say, and why."""
    threshold, target = Threshold(objective.within_s or Decimal(0)), objective.target or Decimal(0)
    if not row.percentiles:
        return None, "not decidable: there are no percentiles in the file"
    for level in _levels(row, target):
        ms = row.percentiles[level]
        exceeded = threshold.is_exceeded(ms)
        if level == target:
            return exceeded, threshold.unclear(ms) if exceeded is None else ""
        if exceeded is (level < target):
            return exceeded, ""
    return None, f"not decidable: the file has no column {plain(target * 100)}%, and those beside it do not decide"


def _told(target: Decimal, rows: Sequence[StatsRow]) -> str:
    values = [(row.percentiles[level], level) for row in rows for level in list(_levels(row, target))[:1]]
    if not values:
        return "–"
    ms, level = max(values)
    return f"p{plain(level * 100)} {text.duration(ms / 1000)}"
