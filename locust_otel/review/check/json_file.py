"""Objectives against what Locust's `--json-file` (or `--json`) wrote: its histogram of rounded response times.

Success and the mean are exact. The counts at a rounded time that a threshold lies in may be good or bad; what both
readings agree on is decided.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import files
from locust_otel.review.check.assessments import (
    Assessment,
    Assessments,
    Source,
    counted,
    decided,
    of_locust,
    undecided,
    warmup_notes,
)
from locust_otel.review.check.rounding import Threshold
from locust_otel.slo import text
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo
from locust_otel.slo.verdict import is_missed, worst

_SLUG = "check-json"
_ENDING = ".json"
_MAX_COUNT = 10**18


@dataclass(frozen=True, slots=True)
class Entry:
    """One endpoint.

    Attributes:
        total_ms: Sum of the response times in ms; may be NaN.
        times: Requests by their rounded response time in ms; those without a time are in `requests` alone.
    """

    method: str
    name: str
    requests: int
    failures: int
    total_ms: Decimal
    times: Mapping[int, int]

    def slower(self, threshold: Threshold) -> tuple[Counts, Counts]:
        """Return the requests with a time against a threshold: as many bad ones as there must be, and as can be."""
        least, most, timed = 0, 0, sum(self.times.values())
        for ms, count in self.times.items():
            exceeded = threshold.is_exceeded(ms)
            least += count if exceeded else 0
            most += 0 if exceeded is False else count
        return Counts(timed - least, least), Counts(timed - most, most)


def source(name: str, flag: str = "--json-file") -> Source:
    """Return the source for the name given to Locust's `--json-file`, or the file itself.

    Raises:
        ConfigurationError: It cannot be read, or is no such file.
    """
    path = files.found(name, _ENDING)
    entries = parse(files.read(path, flag, _SLUG), str(path))

    def assessments(slo: Slo) -> Assessments:
        found = tuple(_assessment(slo, objective, entries) for objective in slo.objectives)
        return Assessments(str(path), found, warmup_notes(slo, "a JSON file of Locust"))

    return assessments


def parse(content: str, name: str) -> tuple[Entry, ...]:
    """Return what a file of Locust's says; `name` stands in errors.

    Raises:
        ConfigurationError: It is no such file, or not a whole one.
    """
    try:
        values = json.loads(content, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError):  # ValueError: also a number of thousands of digits
        raise _refused(name, "This is not JSON, or not all of it.", "syntax") from None
    if not isinstance(values, list):
        raise _refused(name, "This is not a list.", "type")
    return tuple(_entry(value, f"{name}: entry {position}") for position, value in enumerate(values, 1))


def _refused(where: str, found: str, slug: str) -> ConfigurationError:
    return ConfigurationError(
        where, found, "Name the file that locust --json-file NAME wrote, as it is.", slug=f"{_SLUG}-{slug}"
    )


def _entry(value: Any, where: str) -> Entry:
    if not isinstance(value, dict):
        raise _refused(where, "This is not a mapping.", "type")

    def count(found: object, what: str) -> int:
        if type(found) is not int or not 0 <= found <= _MAX_COUNT:
            raise _refused(where, f"{what} is not a number of requests.", "value")
        return found

    missing = [key for key in ("method", "name", "num_requests", "num_failures", "response_times") if key not in value]
    if missing:
        raise _refused(where, f"There is no {missing[0]}.", "keys")
    requests, failures = count(value["num_requests"], "num_requests"), count(value["num_failures"], "num_failures")
    total_ms = value.get("total_response_time")
    if type(total_ms) is not int and not isinstance(total_ms, Decimal):
        raise _refused(where, "total_response_time is not a number.", "value")
    if not isinstance(value["response_times"], dict):
        raise _refused(where, "response_times is not a mapping.", "type")
    times: dict[int, int] = {}
    for written, found in value["response_times"].items():
        key = written.removesuffix(".0")  # as earlier Locusts write it
        if not key.isascii() or not key.isdigit() or len(key) > 18:
            raise _refused(where, "response_times has a key that is no response time in ms.", "value")
        times[int(key)] = times.get(int(key), 0) + count(found, "response_times")
    if sum(times.values()) + count(value.get("num_none_requests", 0), "num_none_requests") != requests:
        raise _refused(where, "response_times does not add up to num_requests.", "sum")
    if failures > requests:
        raise _refused(where, "More requests have failed than there were.", "sum")
    method = value["method"]
    return Entry(
        "" if method is None else str(method), str(value["name"]), requests, failures, Decimal(total_ms), times
    )


def _assessment(slo: Slo, objective: Objective, entries: Sequence[Entry]) -> Assessment:
    if why := of_locust(objective):
        return undecided(objective, why)
    matching = [entry for entry in entries if objective.match.covers(entry.method, entry.name, "")]
    if objective.sli is Sli.MEAN:
        return _mean(slo, objective, matching)
    if objective.sli is Sli.LATENCY:
        return _latency(slo, objective, matching)
    by_endpoint = {
        (entry.method, entry.name): Counts(entry.requests - entry.failures, entry.failures) for entry in matching
    }
    found = counted(slo, objective, _sum(list(by_endpoint.values())))
    return replace(found, result=replace(found.result, worst=worst(objective, by_endpoint)))


def _sum(several: Sequence[Counts]) -> Counts:
    result = Counts()
    for counts in several:
        result = result.plus(counts)
    return result


def _mean(slo: Slo, objective: Objective, entries: Sequence[Entry]) -> Assessment:
    requests = sum(sum(entry.times.values()) for entry in entries)
    total_ms = sum((entry.total_ms for entry in entries), Decimal(0))
    if not total_ms.is_finite():
        why = "not decidable: there is no mean in the file"
        return Assessment(decided(slo, objective, Counts(requests), None, why=why, told="–"), is_share=False)
    missed = total_ms > (objective.within_s or Decimal(0)) * 1000 * requests
    result = decided(slo, objective, Counts(requests, 0, float(total_ms / 1000)), missed)
    if not requests:
        return Assessment(result, is_share=False)
    value = Fraction(total_ms) / 1000 / requests
    return Assessment(result, {"": (value, value)}, is_share=False)


def _latency(slo: Slo, objective: Objective, entries: Sequence[Entry]) -> Assessment:
    threshold = Threshold(objective.within_s or Decimal(0))
    by_endpoint = {(entry.method, entry.name): entry.slower(threshold) for entry in entries}
    best = _sum([least for least, _ in by_endpoint.values()])
    worse = _sum([most for _, most in by_endpoint.values()])
    if not best.total:
        return Assessment(decided(slo, objective, best, None))
    measured = {"": (Fraction(best.bad, best.total), Fraction(worse.bad, worse.total))}
    missed: bool | None = is_missed(objective, best)
    if missed != is_missed(objective, worse):
        missed = None
    told = why = ""
    if best != worse:
        told = (
            f"{text.share(worse.good / worse.total, worse.total)} to {text.share(best.good / best.total, best.total)}"
        )
        why = (
            f"not decidable: Locust rounds response times, and {worse.bad - best.bad:,} of them may be above or below "
            f"{threshold.ms} ms"
        )
    result = decided(slo, objective, best if best == worse else Counts(best.total), missed, why=why, told=told)
    if best == worse:
        result = replace(result, worst=worst(objective, {key: least for key, (least, _) in by_endpoint.items()}))
    return Assessment(result, measured)
