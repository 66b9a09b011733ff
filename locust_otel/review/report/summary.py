"""Summary of a record: its figures, and its story in a few sentences; common to all formats.

The figures need no library of the extra. The story ends with the findings of the analysis if there is one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from locust_otel.core.grouping import Alike, alike
from locust_otel.core.histogram import Layout, joined
from locust_otel.core.snapshot import SeriesSnapshot
from locust_otel.core.words import duration, length
from locust_otel.review.analysis.finding import Analysis
from locust_otel.review.record.reader import Record
from locust_otel.review.record.rejudge import results
from locust_otel.slo.text import actual
from locust_otel.slo.verdict import Result, overall

MISSING = (
    "The report has no pictures and no analysis, which need numpy, scipy and matplotlib: "
    "pip install 'locust-otel[analysis]'."
)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """Endpoint over the whole run; durations are None without measured requests."""

    method: str
    name: str
    requests: int
    failures: int
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    share: float  # of the total time of all requests, in [0, 1]

    @property
    def label(self) -> str:
        """Method and name."""
        return f"{self.method} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a run."""

    record: Record
    started: datetime
    verdict: str  # `met`, `missed`, `undecided`, `invalid`, or `no objectives`
    results: tuple[Result, ...]
    whole: EndpointRow  # all requests
    endpoints: tuple[EndpointRow, ...]
    errors: tuple[tuple[str, str, int], ...]  # endpoint, kind, count; the most frequent first
    peak_users: int
    peak_rps: float
    behind: float  # share of the intervals in which the load generator was behind
    alike: tuple[Alike, ...]  # groups of endpoints that differ in their ids alone, the largest first


def summary(record: Record) -> Summary:
    """Return the figures of a record."""
    requests = record.requests()
    by_endpoint: dict[tuple[str, str], list[SeriesSnapshot]] = {}
    for series in requests.series:
        by_endpoint.setdefault((series.key.method, series.key.name), []).append(series)
    time_s = sum(series.sum_s for series in requests.series)
    rows = [_row(*endpoint, several, record.layout, time_s) for endpoint, several in by_endpoint.items()]
    judged = tuple(results(record))
    loaded = [interval for interval in record.intervals if interval.users]
    errors = [(f"{key.method} {key.name}", key.error_type, count) for key, count in requests.errors.items()]
    return Summary(
        record=record,
        started=datetime.fromtimestamp(record.start_time, UTC),
        verdict=overall(judged, is_aborted=record.is_aborted).value if judged else "no objectives",
        results=judged,
        whole=_row("", "all requests", list(requests.series), record.layout, time_s),
        endpoints=tuple(sorted(rows, key=lambda row: (-row.requests, row.label))),
        errors=tuple(sorted(errors, key=lambda error: (-error[2], error[:2]))),
        peak_users=max((sum(interval.users.values()) for interval in record.intervals), default=0),
        peak_rps=_peak_rps(record),
        behind=sum(bool(interval.reasons) for interval in loaded) / len(loaded) if loaded else 0.0,
        alike=tuple(alike(sorted(by_endpoint))),
    )


def _row(method: str, name: str, several: list[SeriesSnapshot], layout: Layout, time_s: float) -> EndpointRow:
    counts = joined(series.counts for series in several)
    measured, sum_s = sum(series.measured for series in several), sum(series.sum_s for series in several)
    p50, p95, p99 = (layout.quantile(counts, q) for q in (0.5, 0.95, 0.99))
    return EndpointRow(
        method, name, sum(series.total for series in several),
        sum(series.total for series in several if series.key.outcome == "failure"),
        sum_s / measured if measured else None, p50, p95, p99, sum_s / time_s if time_s else 0.0,
    )  # fmt: skip


def _peak_rps(record: Record) -> float:
    """Return the highest throughput in ten seconds, or that of a shorter run."""
    best, requests, span_s = 0.0, 0, 0.0
    for interval in record.intervals:
        requests += sum(delta.measured + delta.unmeasured for delta in interval.counts.values())
        span_s += interval.end_s - interval.start_s
        if span_s >= 10:
            best, requests, span_s = max(best, requests / span_s), 0, 0.0
    return best or (requests / span_s if span_s else 0.0)


def document(run: Summary) -> dict[str, Any]:
    """Return the figures as JSON values."""
    record = run.record
    return {
        "run_id": record.run_id,
        "started": run.started.isoformat(timespec="seconds"),
        "length_s": round(record.elapsed_s, 3),
        "is_complete": record.is_complete,
        "is_aborted": record.is_aborted,
        "verdict": run.verdict,
        "objectives": [
            {
                "name": result.objective.name,
                "asked": result.objective.sentence,
                "status": result.status.value,
                "actual": result.actual,
                "told": actual(result),
                "budget_spent": result.budget_spent,
                "note": result.note,
            }
            for result in run.results
        ],
        "requests": asdict(run.whole),
        "endpoints": [asdict(row) for row in run.endpoints],
        "errors": [{"endpoint": endpoint, "error": kind, "count": n} for endpoint, kind, n in run.errors],
        "peak_users": run.peak_users,
        "peak_rps": round(run.peak_rps, 2),
        "generator_behind": round(run.behind, 4),
        "alike": [
            {"method": group.method, "name": group.name, "names": len(group.names), "examples": group.names[:2]}
            for group in run.alike
        ],
        "info": record.info,
        "versions": record.versions,
    }


def analyzed(record: Record) -> Analysis | None:
    """Return the analysis of a record; None without the extra."""
    if not all(find_spec(name) for name in ("numpy", "scipy", "matplotlib")):
        return None
    from locust_otel.review.analysis.analyze import analyze  # noqa: PLC0415  # an extra
    from locust_otel.review.analysis.readers import from_record  # noqa: PLC0415  # likewise

    return analyze(from_record(record))


def story(run: Summary, analysis: Analysis | None) -> list[str]:
    """Return the story in sentences: the load, the main finding, and the advice."""
    whole = run.whole
    failed = f"{whole.failures / whole.requests:.2%}" if whole.requests else "none"
    p95 = f", 95 % of them within {duration(whole.p95_s)}" if whole.p95_s is not None else ""
    sentences = [
        f"{run.peak_users:,} users made {whole.requests:,} requests in {length(run.record.elapsed_s)}, up to "
        f"{run.peak_rps:,.0f} a second{p95}; {failed} failed."
    ]
    if run.alike:
        number = sum(len(group.names) for group in run.alike)
        sentences.append(f"{number:,} request names hold ids: {run.alike[0].sentence}.")
    if analysis is None:
        return sentences
    main = analysis.main
    advice = main.evidence[0] if main.evidence else ""
    if main.fixes:
        advice += f" To consider: {main.fixes.split(';')[0].rstrip('.')}."
    return [*sentences, main.summary, *([advice] if advice else [])]
