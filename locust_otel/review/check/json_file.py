"""Source for the file of Locust's `--json-file` (or `--json`), with its histograms of rounded response times.

Success and the mean are exact. Requests whose rounded time may be on either side of a threshold are counted both as
good and as bad; an objective is decided if the result is the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import locust_file
from locust_otel.review.check.assessments import Assessment, Source, counted, decided
from locust_otel.review.check.locust_file import StatsRow, Threshold, total
from locust_otel.slo import text
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo
from locust_otel.slo.verdict import is_missed

_SLUG = "check-json"
_MAX_COUNT = 10**18
_MAX_EXPONENT = 30  # of a sum of ms: an exact fraction of 1e999999999 would fill the memory


@dataclass(frozen=True, slots=True)
class HistogramRow(StatsRow):
    """Entry of the file."""

    times: Mapping[int, int]  # requests by their rounded response time in ms

    def split(self, threshold: Threshold) -> tuple[Counts, Counts]:
        """Return the timed requests by a threshold: with the fewest possible bad requests, and with the most."""
        least, most = 0, 0
        for ms, count in self.times.items():
            exceeded = threshold.is_exceeded(ms)
            least += count if exceeded else 0
            most += 0 if exceeded is False else count
        return Counts(self.timed - least, least), Counts(self.timed - most, most)


def source(name: str, flag: str = "--json-file") -> Source:
    """Return the source for the name given to Locust's `--json-file`, or for the file itself.

    Raises:
        ConfigurationError: The file cannot be read, or it is not a whole file of Locust.
    """
    path, content = locust_file.read(name, ".json", flag, _SLUG)
    rows = parse(content, str(path))
    return locust_file.source(path, lambda slo, objective: _assessment(slo, objective, rows))


def parse(content: str, name: str) -> tuple[HistogramRow, ...]:
    """Return the content of a file of Locust; errors contain `name`.

    Raises:
        ConfigurationError: It is not a whole file of Locust.
    """
    try:
        values = json.loads(content, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError):  # ValueError: also a number of thousands of digits
        raise _refused(name, "This is not JSON, or the file was cut off.", "syntax") from None
    if not isinstance(values, list):
        raise _refused(name, "This is not a list.", "type")
    return tuple(_row(value, f"{name}: entry {position}") for position, value in enumerate(values, 1))


def _refused(where: str, problem: str, slug: str) -> ConfigurationError:
    remedy = "Name the unchanged file that locust --json-file NAME wrote."
    return ConfigurationError(where, problem, remedy, slug=f"{_SLUG}-{slug}")


def _row(entry: Any, where: str) -> HistogramRow:
    if not isinstance(entry, dict):
        raise _refused(where, "This is not a mapping.", "type")

    def count(value: object, key: str) -> int:
        if type(value) is not int or not 0 <= value <= _MAX_COUNT:
            raise _refused(where, f"{key} is not a number of requests.", "value")
        return value

    missing = [key for key in ("method", "name", "num_requests", "num_failures", "response_times") if key not in entry]
    if missing:
        raise _refused(where, f"There is no {missing[0]}.", "keys")
    requests, failures = (count(entry[key], key) for key in ("num_requests", "num_failures"))
    total_ms = _total_ms(entry.get("total_response_time"), where)
    if not isinstance(entry["response_times"], dict):
        raise _refused(where, "response_times is not a mapping.", "type")
    times: Counter[int] = Counter()
    for key, value in entry["response_times"].items():
        ms = key.removesuffix(".0")  # earlier versions of Locust write it
        if not ms.isascii() or not ms.isdigit() or len(ms) > 18:
            raise _refused(where, "response_times has a key that is not a response time in ms.", "value")
        times[int(ms)] += count(value, "response_times")
    if times.total() + count(entry.get("num_none_requests", 0), "num_none_requests") != requests:
        raise _refused(where, "response_times does not add up to num_requests.", "sum")
    if failures > requests:
        raise _refused(where, "num_failures is above num_requests.", "sum")
    method = "" if entry["method"] is None else str(entry["method"])
    return HistogramRow(method, str(entry["name"]), requests, failures, times.total(), total_ms, times)


def _total_ms(value: object, where: str) -> Fraction | None:
    """Return a sum of response times, exactly; None for NaN and infinity."""
    if type(value) is int:
        return Fraction(value)
    if not isinstance(value, Decimal) or (value.is_finite() and abs(value.adjusted()) > _MAX_EXPONENT):
        raise _refused(where, "total_response_time is not a number.", "value")
    return Fraction(value) if value.is_finite() else None


def _assessment(slo: Slo, objective: Objective, rows: Sequence[HistogramRow]) -> Assessment:
    matching = [row for row in rows if objective.match.covers(row.method, row.name, "")]
    if objective.sli is Sli.SUCCESS:
        return locust_file.success(slo, objective, matching, matching)
    if objective.sli is Sli.MEAN:
        return locust_file.mean(slo, objective, matching)
    return _latency(slo, objective, matching)


def _latency(slo: Slo, objective: Objective, rows: Sequence[HistogramRow]) -> Assessment:
    threshold = Threshold(objective)
    by_endpoint = {(row.method, row.name): row.split(threshold) for row in rows}
    best = total(least for least, _ in by_endpoint.values())
    worst = total(most for _, most in by_endpoint.values())
    if best == worst:
        assessment = counted(slo, objective, best)
        return locust_file.with_worst(assessment, {endpoint: least for endpoint, (least, _) in by_endpoint.items()})
    shares = [text.share(counts.good / counts.total, counts.total) for counts in (worst, best)]
    missed = is_missed(objective, best)
    is_decidable = missed == is_missed(objective, worst)
    told, why = " to ".join(shares), threshold.unclear(f"{worst.bad - best.bad:,} of them")
    result = decided(slo, objective, Counts(best.total), missed if is_decidable else None, why=why, told=told)
    return Assessment(result, {"": (Fraction(best.bad, best.total), Fraction(worst.bad, worst.total))})
