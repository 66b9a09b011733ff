"""Objectives against what Locust's `--csv` wrote: decided as a calculation by hand from the file decides.

Success and the mean are exact. A percentile is the column of that name, in Locust's own rounding. Where there is no
such column, the next higher one within the threshold says met, and the next lower one above it says missed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from typing import NamedTuple

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.words import duration
from locust_otel.review.check import locust_file
from locust_otel.review.check.assessments import Assessment, Source, decided, undecided
from locust_otel.review.check.locust_file import StatsRow, Threshold
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo, plain

_SLUG = "check-csv"
_METHOD, _NAME, _REQUESTS, _FAILURES, _MEAN, _MAX = _COLUMNS = (
    "Type", "Name", "Request Count", "Failure Count", "Average Response Time", "Max Response Time",
)  # fmt: skip
_PERCENTILE = re.compile(r"\d{1,3}(?:\.\d{1,9})?%")
_WHOLE_NUMBER = r"[0-9]{1,18}"
_NUMBER = r"nan|inf|[0-9]{1,18}(?:\.[0-9]{1,30})?(?:e[+-]?[0-9]{1,2})?"
_NOT_WHOLE = (
    "The lines of the file do not add up to the aggregated one, which alone is judged: Locust empties them where it "
    "writes a JSON file too. Check that one."
)


@dataclass(frozen=True, slots=True)
class PercentileRow(StatsRow):
    """One line of the file."""

    percentiles: dict[Decimal, int]  # rounded ms by share of requests, in (0, 1]; empty where no time is known


class Table(NamedTuple):
    """The file: a row for each endpoint, and Locust's own row of all of them; None for a run without requests.

    The rows may not add up to it: Locust empties them (of a run of 624 requests they said 0) if it writes a JSON file
    before it writes the CSV for the last time.
    """

    rows: tuple[PercentileRow, ...]
    aggregated: PercentileRow | None
    is_whole: bool = True


def source(prefix: str, flag: str = "--csv") -> Source:
    """Return the source for the prefix given to Locust's `--csv`, or the file itself.

    Raises:
        ConfigurationError: It cannot be read, or is no such file.
    """
    path, content = locust_file.read(prefix, "_stats.csv", flag, _SLUG)
    table = parse(content, str(path))
    notes = () if table.is_whole else (_NOT_WHOLE,)
    return locust_file.source(
        path, lambda slo, objective: _assessment(slo, objective, table), *notes,
        unknown="without what ended after the last writing",
    )  # fmt: skip


def parse(content: str, name: str) -> Table:
    """Return what a file of Locust's says; `name` stands in errors.

    Raises:
        ConfigurationError: It is no such file, or not a whole one.
    """
    reader = csv.reader(StringIO(content, newline=""), strict=True)
    try:
        header = next(reader, [])
        missing = [column for column in _COLUMNS if header.count(column) != 1]
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
    requests, failures = sum(row.requests for row in endpoints), sum(row.failures for row in endpoints)
    if requests > last.requests or failures > last.failures:
        raise _refused(
            name,
            f"The lines add up to {requests:,} requests with {failures:,} failures, the aggregated one says "
            f"{last.requests:,} with {last.failures:,}.",
            "sum",
        )
    return Table(tuple(endpoints), last, (requests, failures) == (last.requests, last.failures))


def _refused(where: str, problem: str, slug: str) -> ConfigurationError:
    return ConfigurationError(
        where, problem, "Name the _stats.csv that locust --csv PREFIX wrote, as it is.", slug=f"{_SLUG}-{slug}"
    )


def _row(header: Sequence[str], fields: Sequence[str], where: str) -> PercentileRow:
    if len(fields) != len(header):
        raise _refused(where, f"There are {len(fields)} fields instead of {len(header)}.", "truncated")
    values = dict(zip(header, fields, strict=True))

    def number(column: str, pattern: str = _WHOLE_NUMBER) -> Decimal:
        if not re.fullmatch(pattern, values[column]):
            raise _refused(where, f"{column} is {values[column][:40]!r}, not a number.", "value")
        return Decimal(values[column])

    requests, failures = int(number(_REQUESTS)), int(number(_FAILURES))
    if failures > requests:
        raise _refused(where, f"{failures:,} of {requests:,} requests have failed.", "value")
    percentiles, total_ms, highest_ms = {}, None, number(_MAX, _NUMBER)
    # Locust writes 0 everywhere if no request had a response time. A response time of exactly 0 ms does not occur.
    if requests and highest_ms.is_finite() and highest_ms > 0:
        columns = [column for column in header if _PERCENTILE.fullmatch(column)]
        percentiles = {Decimal(column[:-1]) / 100: int(number(column)) for column in columns}
        mean_ms = number(_MEAN, _NUMBER)
        total_ms = Fraction(mean_ms) * requests if mean_ms.is_finite() else None
    return PercentileRow(values[_METHOD], values[_NAME], requests, failures, requests, total_ms, percentiles)


def _assessment(slo: Slo, objective: Objective, table: Table) -> Assessment:
    if objective.match and not table.is_whole:
        return undecided(objective, "not decidable: the lines of the file do not add up to the aggregated one")
    matching = [row for row in table.rows if row.requests and objective.match.covers(row.method, row.name, "")]
    aggregated = [table.aggregated] if table.aggregated is not None and table.aggregated.requests else []
    rows = matching if objective.match else aggregated
    if objective.sli is Sli.SUCCESS:
        return locust_file.success(slo, objective, rows, matching if table.is_whole else [])
    if objective.sli is Sli.MEAN:
        return locust_file.mean(slo, objective, rows)
    return _percentile(slo, objective, rows)


def _percentile(slo: Slo, objective: Objective, rows: Sequence[PercentileRow]) -> Assessment:
    target = objective.target or Decimal(0)
    verdicts = [_is_missed(row, target, Threshold(objective)) for row in rows]
    answers = {missed for missed, _ in verdicts}
    why = next((why for _, why in verdicts if why), "")
    if len(answers) > 1 and not why:
        why = f"not decidable: {len(rows)} lines of the file differ, and percentiles cannot be added up"
    missed = answers.pop() if len(answers) == 1 else None
    requests = Counts(sum(row.requests for row in rows))
    result = decided(slo, objective, requests, missed, why=why, told=_highest(target, rows))
    measured = {}
    if all(target in row.percentiles for row in rows):
        for row in rows:
            value_s = Fraction(row.percentiles[target], 1000)
            measured[f"{row.method} {row.name}" if objective.match else ""] = (value_s, value_s)
    return Assessment(result, measured, is_share=False)


def _levels(row: PercentileRow, target: Decimal) -> list[Decimal]:
    """Return the columns that decide a target: its own, or its neighbours, the higher one first."""
    if target in row.percentiles:
        return [target]
    levels = sorted(row.percentiles)
    return [level for level in levels if level > target][:1] + [level for level in levels if level < target][-1:]


def _is_missed(row: PercentileRow, target: Decimal, threshold: Threshold) -> tuple[bool | None, str]:
    """Return whether a row misses a target; None and the reason if the row does not decide it."""
    if not row.percentiles:
        return None, "not decidable: there are no percentiles in the file"
    for level in _levels(row, target):
        ms = row.percentiles[level]
        exceeded = threshold.is_exceeded(ms)
        if level == target and exceeded is None:
            may_be = f"{ms:,} ms may be above or below {threshold.ms} ms"
            return None, f"not decidable: Locust rounds response times, and {may_be}"
        if level == target or exceeded is (level < target):
            return exceeded, ""
    return None, f"not decidable: the file has no column {plain(target * 100)}%, and those beside it do not decide"


def _highest(target: Decimal, rows: Sequence[PercentileRow]) -> str:
    """Return the highest value of a percentile, or of the one next to it, in words."""
    values = [(row.percentiles[level], level) for row in rows for level in _levels(row, target)[:1]]
    if not values:
        return "–"
    ms, level = max(values)
    return f"p{plain(level * 100)} {duration(ms / 1000)}"
