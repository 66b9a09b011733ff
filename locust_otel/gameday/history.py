"""The history of a run: from Prometheus, counters at each scrape and alerts at each evaluation; or from its record.

Samples are read as they were stored, at their own times, and not at the steps of a range query: a time in the scorecard
is that of a scrape or of an evaluation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.review.prometheus import Prometheus, SampleSeries, by_exporter, exporters_of_requests, of_run
from locust_otel.review.record.reader import Record
from locust_otel.slo.counts import Counts
from locust_otel.slo.rules import names
from locust_otel.slo.rules.names import ALERTS
from locust_otel.slo.rules.promql import selector

GAP = 2.5
"""Evaluations without a sample after which an alert is over."""


class Episode(NamedTuple):
    """An alert from its first evaluation to its last; Unix times."""

    labels: Mapping[str, str]
    pending_at: float  # when its condition first held
    firing_at: float | None  # when it first fired; None if it never did
    resolved_at: float | None  # the first evaluation without it; None if it is still active

    @property
    def name(self) -> str:
        """The alert."""
        return self.labels.get("alertname", "")

    @property
    def title(self) -> str:
        """Name, severity and objective: `LocustSLOBudgetBurn (critical, availability)`."""
        details = ", ".join(filter(None, (self.labels.get("severity"), self.labels.get("slo"))))
        return f"{self.name} ({details})" if details else self.name


class StoredMark(NamedTuple):
    """A mark of the run: its Unix time, name and kind."""

    at: float
    name: str
    kind: str


@dataclass(frozen=True)
class History:
    """The observed values of a run.

    Attributes:
        end: Unix time up to which samples were asked for.
        interval_s: Median time from scrape to scrape.
        counts: Judged requests to date by objective, by Unix time of the scrape.
        failed: Unix time of the scrape, failed requests to date, and all requests to date.
        elapsed_s: Seconds from the start of the run to its stop, or to its last sample.
        scrapes: Unix times at which there was a sample of the run.
        rules: Alerts that Prometheus has rules for; None if it does not list them.
        is_valid: Whether the load generator kept up.
        sees_alerts: Whether the source has alerts.
        evaluation_s: Median time from evaluation to evaluation of the alerts.
    """

    begin: float
    end: float
    interval_s: float = 1.0
    counts: Mapping[float, Mapping[str, Counts]] = field(default_factory=dict)
    failed: Sequence[tuple[float, int, int]] = ()
    elapsed_s: float = 0.0
    scrapes: Sequence[float] = ()
    episodes: Sequence[Episode] = ()
    marks: Sequence[StoredMark] = ()
    rules: frozenset[str] | None = None
    is_valid: bool = True
    sees_alerts: bool = True
    evaluation_s: float = 1.0

    @property
    def delay_s(self) -> float:
        """Seconds from a request until an alert can show it: a scrape and an evaluation."""
        return self.interval_s + self.evaluation_s

    def has_gap(self, begin: float, end: float) -> bool:
        """Return whether samples are missing between two times, so that an alert may have come and gone unseen."""
        if not self.sees_alerts:
            return True
        patience = max(5 * self.interval_s, 3.0)
        times = [begin, *(at for at in self.scrapes if begin < at < end), end]
        return any(after - before > patience for before, after in pairwise(times))


def start_of(server: Prometheus, run_id: str, lookback: str = "7d") -> float | None:
    """Return the Unix time at which a run started; None if Prometheus does not know it.

    Raises:
        ConfigurationError: Prometheus does not answer.
    """
    samples = server.latest(of_run(catalogue.RUN_START.name, run_id), lookback)
    return max((value for _, value in samples), default=None)


def observed(server: Prometheus, run_id: str, begin: float, end: float, own_alerts: Iterable[str] = ()) -> History:
    """Return the history of a run between two Unix times, by Prometheus.

    `own_alerts` are alerts of the user's rules, which may lack the label `run_id`.

    Raises:
        ConfigurationError: Prometheus does not answer.
    """

    def stored(metric: Metric) -> list[SampleSeries]:
        return server.stored(of_run(metric.name, run_id), begin, end)

    active = stored(catalogue.RUN_ACTIVE)
    scrapes = sorted({at for series in active for at, _ in series.samples})
    interval_s = _interval(scrapes) or 1.0
    alerts = server.stored(of_run(ALERTS, run_id), begin, end)
    for name in sorted(own_alerts):
        named = server.stored(selector(ALERTS, alertname=name), begin, end)
        alerts += [series for series in named if series.labels.get("run_id", "") in {"", run_id}]
    alerts = [series for series in alerts if names.is_counted(series.labels)]
    evaluation_s = _evaluation_s(alerts, interval_s)
    rules = server.alert_rules()
    events = by_exporter(catalogue.SLO_EVENTS, stored(catalogue.SLO_EVENTS))
    requests = by_exporter(catalogue.REQUESTS, stored(catalogue.REQUESTS))
    sizes = {exporter: _size(group) for exporter, group in requests.items()}
    exporters, _ = exporters_of_requests(sizes, by_exporter(catalogue.RUN_ACTIVE, active))
    return History(
        begin=begin,
        end=end,
        interval_s=interval_s,
        evaluation_s=evaluation_s,
        counts={
            at: {slo: Counts(totals[slo, "good"], totals[slo, "bad"]) for slo, _ in totals}
            for at, totals in _totals(max(events.values(), key=_size, default=[]), "slo", "outcome")
        },
        failed=[
            (at, totals["failure",], totals.total())
            for at, totals in _totals([series for exporter in exporters for series in requests[exporter]], "outcome")
        ],
        elapsed_s=max((value for series in stored(catalogue.RUN_ELAPSED) for _, value in series.samples), default=0.0),
        scrapes=scrapes,
        episodes=episodes(alerts, end, evaluation_s),
        marks=_marks(stored(catalogue.MARKS)),
        rules=None if rules is None else frozenset(rule.name for rule in rules),
        is_valid=all(value for series in stored(catalogue.RUN_VALID) for _, value in series.samples),
    )


def recorded(record: Record, alerts: History | None = None) -> History:
    """Return the history of a run by its record, exact and a second apart, with the alerts of another history.

    Without one, alerts cannot be judged.
    """
    begin = record.start_time
    counts: dict[float, dict[str, Counts]] = {}
    failed: list[tuple[float, int, int]] = []
    bad = total = 0
    for interval in record.intervals:
        at = begin + interval.end_s
        if interval.slo is not None:
            counts[at] = {name: Counts(count.good, count.bad) for name, count in interval.slo.items()}
        for position, delta in interval.counts.items():
            requests = delta.measured + delta.unmeasured
            total += requests
            bad += requests if record.series[position].outcome == "failure" else 0
        failed.append((at, bad, total))
    times = [at for at, _, _ in failed]
    return replace(
        alerts or History(begin, max(times, default=begin), scrapes=times, sees_alerts=False),
        begin=begin,
        interval_s=record.interval_s,
        counts=counts,
        failed=failed,
        elapsed_s=record.elapsed_s,
        marks=sorted(StoredMark(begin + mark.time_s, mark.mark, mark.kind) for mark in record.marks),
        is_valid=not any(interval.reasons for interval in record.intervals),
    )


def _interval(times: Sequence[float]) -> float | None:
    return median(after - before for before, after in pairwise(times)) if len(times) > 2 else None


def _size(group: Iterable[SampleSeries]) -> int:
    return sum(len(series.samples) for series in group)


def _totals(group: Iterable[SampleSeries], *labels: str) -> Iterator[tuple[float, Counter[tuple[str, ...]]]]:
    """Yield the sums of counters by labels at the time of each sample; the others keep their last value."""
    by_time: dict[float, list[tuple[int, tuple[str, ...], int]]] = {}
    for position, series in enumerate(group):
        key = tuple(series.labels.get(label, "") for label in labels)
        for at, value in series.samples:
            by_time.setdefault(at, []).append((position, key, int(value)))
    last: dict[int, int] = {}
    totals: Counter[tuple[str, ...]] = Counter()
    for at, samples in sorted(by_time.items()):
        for position, key, value in samples:
            totals[key] += value - last.get(position, 0)
            last[position] = value
        yield at, totals


def _marks(group: Iterable[SampleSeries]) -> list[StoredMark]:
    """Return each mark of a run once: Prometheus stores it twice if the run is both scraped and pushed."""
    fullest = {
        (series.labels.get("mark", ""), series.labels.get("kind", "")): series.samples
        for series in sorted(group, key=lambda series: len(series.samples))
    }
    return sorted(
        StoredMark(at, name, kind)
        for (name, kind), samples in fullest.items()
        for (_, before), (at, value) in pairwise([(0.0, 0.0), *samples])
        if value > before
    )


def _evaluation_s(alerts: Iterable[SampleSeries], interval_s: float) -> float:
    """Return the median time between evaluations, from the samples of `ALERTS`; at least that between scrapes."""
    times: dict[tuple[tuple[str, str], ...], set[float]] = {}
    for series in alerts:
        times.setdefault(_identity(series), set()).update(at for at, value in series.samples if value)
    return max(interval_s, median([_interval(sorted(moments)) or interval_s for moments in times.values()] or [0.0]))


def _identity(series: SampleSeries) -> tuple[tuple[str, str], ...]:
    """Return the labels of an alert, the same in each of its states."""
    return tuple(sorted((key, value) for key, value in series.labels.items() if key != "alertstate"))


def episodes(alerts: Iterable[SampleSeries], end: float, evaluation_s: float) -> list[Episode]:
    """Return each alert from its first evaluation to its last, by time, from the samples of `ALERTS`."""
    times: dict[tuple[tuple[str, str], ...], dict[float, bool]] = {}
    for series in alerts:
        is_firing = series.labels.get("alertstate") == "firing"
        for at, value in series.samples:
            if value:
                times.setdefault(_identity(series), {})[at] = is_firing
    result = []
    for labels, states in times.items():
        moments = sorted(states)
        begins = [0, *(i for i in range(1, len(moments)) if moments[i] - moments[i - 1] > GAP * evaluation_s)]
        for first, after in pairwise([*begins, len(moments)]):
            part = moments[first:after]
            firing = next((at for at in part if states[at]), None)
            is_over = part[-1] + GAP * evaluation_s < end
            result.append(Episode(dict(labels), part[0], firing, part[-1] + evaluation_s if is_over else None))
    return sorted(result, key=lambda episode: episode.pending_at)
