"""Source for the file of Locust's `--csv`: objectives are judged as a person would from the file.

Success and the mean are exact. A percentile is the column of that name, as Locust rounds it. Without that column, the
objective is met if the next higher column is within the threshold, and missed if the next lower one is above it.
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
    "Only the aggregated line is judged, since the other lines do not add up to it: Locust empties them if it writes "
    "a JSON file too. Check the JSON file instead."
)


@dataclass(frozen=True, slots=True)
class PercentileRow(StatsRow):
    """Line of the file."""

    percentiles: dict[Decimal, int]  # rounded ms by share of requests in (0, 1]; empty if no time is known


class Table(NamedTuple):
    """Content of the file: a row for each endpoint, and Locust's own row for all requests (None without requests).

    The rows may not add up to Locust's own (`is_whole`): Locust empties them (to 0 in a run of 624 requests) if it
    writes a JSON file before it writes the CSV file for the last time.
    """

    rows: tuple[PercentileRow, ...]
    aggregated: PercentileRow | None
    is_whole: bool = True


def source(prefix: str, flag: str = "--csv") -> Source:
    """Return the source for the prefix given to Locust's `--csv`, or for the file itself.

    Raises:
        ConfigurationError: The file cannot be read, or it is not a whole file of Locust.
    """
    path, content = locust_file.read(prefix, "_stats.csv", flag, _SLUG)
    table = parse(content, str(path))
    notes = () if table.is_whole else (_NOT_WHOLE,)
    unknown = "requests after the last writing of the file are missing"
    return locust_file.source(path, lambda slo, objective: _assessment(slo, objective, table), *notes, unknown=unknown)


def parse(content: str, name: str) -> Table:
    """Return the content of a file of Locust; errors contain `name`.

    Raises:
        ConfigurationError: It is not a whole file of Locust.
    """
    reader = csv.reader(StringIO(content, newline=""), strict=True)
    try:
        header = next(reader, [])
        missing = [column for column in _COLUMNS if header.count(column) != 1]
        if missing:
            raise _refused(f"{name}:1", f"There is no column {missing[0]!r}.", "columns")
        rows = [_row(header, fields, f"{name}:{reader.line_num}") for fields in reader if fields]
    except csv.Error:
        raise _refused(f"{name}:{reader.line_num}", "This is not CSV.", "syntax") from None
    if not rows:
        return Table((), None)
    *endpoints, last = rows
    if (last.method, last.name) != ("", "Aggregated"):
        raise _refused(name, "The last line is not the aggregated one: the file was cut off.", "truncated")
    requests, failures = sum(row.requests for row in endpoints), sum(row.failures for row in endpoints)
    if requests > last.requests or failures > last.failures:
        sums = f"{requests:,} requests with {failures:,} failures"
        problem = f"The lines add up to {sums}, the aggregated line has {last.requests:,} with {last.failures:,}."
        raise _refused(name, problem, "sum")
    return Table(tuple(endpoints), last, (requests, failures) == (last.requests, last.failures))


def _refused(where: str, problem: str, slug: str) -> ConfigurationError:
    remedy = "Name the unchanged _stats.csv that locust --csv PREFIX wrote."
    return ConfigurationError(where, problem, remedy, slug=f"{_SLUG}-{slug}")


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
        raise _refused(where, f"{failures:,} of {requests:,} requests failed.", "value")
    percentiles, total_ms, highest_ms = {}, None, number(_MAX, _NUMBER)
    # Locust writes 0 everywhere if no request had a response time. A response time is never exactly 0 ms.
    if requests and highest_ms.is_finite() and highest_ms > 0:
        columns = [column for column in header if _PERCENTILE.fullmatch(column)]
        percentiles = {Decimal(column[:-1]) / 100: int(number(column)) for column in columns}
        mean_ms = number(_MEAN, _NUMBER)
        total_ms = Fraction(mean_ms) * requests if mean_ms.is_finite() else None
    return PercentileRow(values[_METHOD], values[_NAME], requests, failures, requests, total_ms, percentiles)


def _assessment(slo: Slo, objective: Objective, table: Table) -> Assessment:
    if objective.match and not table.is_whole:
        return undecided(objective, "not decidable: the lines of the file do not add up to the aggregated line")
    matching = [row for row in table.rows if row.requests and objective.match.covers(row.method, row.name, "")]
    rows = matching if objective.match else [row for row in (table.aggregated,) if row is not None and row.requests]
    if objective.sli is Sli.SUCCESS:
        return locust_file.success(slo, objective, rows, matching if table.is_whole else [])
    if objective.sli is Sli.MEAN:
        return locust_file.mean(slo, objective, rows)
    return _percentile(slo, objective, rows)


def _percentile(slo: Slo, objective: Objective, rows: Sequence[PercentileRow]) -> Assessment:
    target = objective.target or Decimal(0)
    verdicts = list(dict.fromkeys(_is_missed(row, target, Threshold(objective)) for row in rows))
    missed, why = verdicts[0] if len(verdicts) == 1 else (None, next((why for _, why in verdicts if why), ""))
    if len(verdicts) > 1 and not why:
        why = f"not decidable: {len(rows)} lines of the file differ, and percentiles cannot be added up"
    requests = Counts(sum(row.requests for row in rows))
    result = decided(slo, objective, requests, missed, why=why, told=_highest(target, rows))
    measured = {}
    if all(target in row.percentiles for row in rows):
        for row in rows:
            value_s = Fraction(row.percentiles[target], 1000)
            measured[f"{row.method} {row.name}" if objective.match else ""] = (value_s, value_s)
    return Assessment(result, measured, is_share=False)


def _levels(row: PercentileRow, target: Decimal) -> list[Decimal]:
    """Return the columns that decide a target: its own, or the two next to it, the higher one first."""
    if target in row.percentiles:
        return [target]
    levels = sorted(row.percentiles)
    return [level for level in levels if level > target][:1] + [level for level in levels if level < target][-1:]


def _is_missed(row: PercentileRow, target: Decimal, threshold: Threshold) -> tuple[bool | None, str]:
    """Return whether a row misses a target; None and the reason if that is not decidable."""
    if not row.percentiles:
        return None, "not decidable: the file has no percentiles"
    for level in _levels(row, target):
        ms = row.percentiles[level]
        exceeded = threshold.is_exceeded(ms)
        if level == target and exceeded is None:
            return None, threshold.unclear(f"{ms:,} ms")
        if level == target or exceeded is (level < target):
            return exceeded, ""
    return None, f"not decidable: the file has no column {plain(target * 100)}%, and its neighbours do not decide"


def _highest(target: Decimal, rows: Sequence[PercentileRow]) -> str:
    """Return the highest value of a percentile, or of the column next to it, in words."""
    values = [(row.percentiles[level], level) for row in rows for level in _levels(row, target)[:1]]
    if not values:
        return "–"
    ms, level = max(values)
    return f"p{plain(level * 100)} {duration(ms / 1000)}"
