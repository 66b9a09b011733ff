"""The figures of a record that need no library: what every format of the report begins with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from locust_otel.core.histogram import Layout
from locust_otel.core.snapshot import SeriesSnapshot
from locust_otel.review.record.reader import Record
from locust_otel.review.record.rejudge import results
from locust_otel.slo.text import actual
from locust_otel.slo.verdict import Result, Status
from locust_otel.wire.record import Mark

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint over the whole run; times in seconds, None where nothing was measured."""

    method: str
    name: str
    requests: int
    failures: int
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    share: float

    @property
    def label(self) -> str:
        """Method and name."""
        return f"{self.method} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures.

    Attributes:
        verdict: `met`, `missed`, `undecided`, `invalid`, or `no objectives`.
        results: How each objective stands.
        whole: All requests as one row.
        errors: Endpoint, kind, count; the most frequent first.
        behind: Share of the intervals in which the load generator was too slow.
    """

    run_id: str
    started: datetime
    length_s: float
    is_complete: bool
    is_aborted: bool
    verdict: str
    results: tuple[Result, ...]
    whole: EndpointRow
    endpoints: tuple[EndpointRow, ...]
    errors: tuple[tuple[str, str, int], ...]
    marks: tuple[Mark, ...]
    peak_users: int
    peak_rps: float
    behind: float
    info: dict[str, str]
    versions: dict[str, str]


def summary(record: Record) -> Summary:
    """Return the figures of a record."""
    requests = record.requests()
    groups: dict[tuple[str, str], list[SeriesSnapshot]] = {}
    for series in requests.series:
        groups.setdefault((series.key.method, series.key.name), []).append(series)
    time_s = sum(series.sum_s for series in requests.series)
    rows = [_row(*name, series, record.layout, time_s) for name, series in groups.items()]
    judged = tuple(results(record))
    loaded = [interval for interval in record.intervals if interval.users]
    errors = [(f"{key.method} {key.name}", key.error_type, count) for key, count in requests.errors.items()]
    return Summary(
        run_id=record.run_id,
        started=datetime.fromtimestamp(record.start_time, UTC),
        length_s=record.elapsed_s,
        is_complete=record.is_complete,
        is_aborted=record.is_aborted,
        verdict=_verdict(judged),
        results=judged,
        whole=_row("", "all requests", list(requests.series), record.layout, time_s),
        endpoints=tuple(sorted(rows, key=lambda row: (-row.requests, row.label))),
        errors=tuple(sorted(errors, key=lambda each: (-each[2], each[:2]))),
        marks=tuple(record.marks),
        peak_users=max((sum(interval.users.values()) for interval in record.intervals), default=0),
        peak_rps=_peak_rps(record),
        behind=sum(not interval.keeps_up for interval in loaded) / len(loaded) if loaded else 0.0,
        info=record.info,
        versions=record.contents.versions,
    )


def _verdict(judged: tuple[Result, ...]) -> str:
    statuses = {result.status for result in judged}
    for status in (Status.INVALID, Status.MISSED, Status.UNDECIDED, Status.MET):
        if status in statuses:
            return status.value
    return "no objectives"


def _row(method: str, name: str, series: list[SeriesSnapshot], layout: Layout, time_s: float) -> EndpointRow:
    counts = layout.empty()
    for each in series:
        for index, count in enumerate(each.counts):
            if count:
                counts[index] += count
    measured, sum_s = sum(each.measured for each in series), sum(each.sum_s for each in series)
    p50, p95, p99 = (layout.quantile(counts, q) for q in QUANTILES)
    return EndpointRow(
        method, name, sum(each.total for each in series),
        sum(each.total for each in series if each.key.outcome == "failure"),
        sum_s / measured if measured else None, p50, p95, p99, sum_s / time_s if time_s else 0.0,
    )  # fmt: skip


def _peak_rps(record: Record) -> float:
    """Return the highest throughput over about ten seconds."""
    best, requests, span_s = 0.0, 0, 0.0
    for interval in record.intervals:
        requests += sum(delta.measured + delta.unmeasured for delta in interval.counts.values())
        span_s += interval.end_s - interval.start_s
        if span_s >= 10:
            best, requests, span_s = max(best, requests / span_s), 0, 0.0
    return best or (requests / span_s if span_s else 0.0)


def document(found: Summary) -> dict[str, Any]:
    """Return the figures as JSON has them."""
    return {
        "run_id": found.run_id,
        "started": found.started.isoformat(timespec="seconds"),
        "length_s": round(found.length_s, 3),
        "is_complete": found.is_complete,
        "is_aborted": found.is_aborted,
        "verdict": found.verdict,
        "objectives": [
            {
                "name": each.objective.name,
                "asked": each.objective.sentence,
                "status": each.status.value,
                "actual": each.actual,
                "told": actual(each),
                "budget_spent": each.budget_spent,
                "note": each.note,
            }
            for each in found.results
        ],
        "requests": _row_document(found.whole),
        "endpoints": [_row_document(row) for row in found.endpoints],
        "errors": [{"endpoint": e, "error": kind, "count": count} for e, kind, count in found.errors],
        "peak_users": found.peak_users,
        "peak_rps": round(found.peak_rps, 2),
        "generator_behind": round(found.behind, 4),
        "info": found.info,
        "versions": found.versions,
    }


def _row_document(row: EndpointRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
