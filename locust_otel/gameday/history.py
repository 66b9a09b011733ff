"""What Prometheus has stored of a run: its counters at every scrape, its alerts at every evaluation, its marks.

Samples are read as they were stored, at their own times, not at the steps of a range query: a time in the scorecard is
that of a scrape or of an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from locust_otel.core import catalogue
from locust_otel.review.prometheus import Prometheus, SampleSeries, of_run
from locust_otel.slo.counts import Counts
from locust_otel.slo.rules import names
from locust_otel.slo.rules.promql import selector

GAP = 2.5
"""Evaluations without a sample after which an alert is over."""


class Episode(NamedTuple):
    """An alert from its first evaluation to its last; Unix times.

    Attributes:
        pending_at: When its condition first held.
        firing_at: When it first fired; None where it never did.
        resolved_at: The first evaluation without it; None where it goes on.
    """

    labels: Mapping[str, str]
    pending_at: float
    firing_at: float | None
    resolved_at: float | None

    @property
    def name(self) -> str:
        """The alert."""
        return self.labels.get("alertname", "")


class StoredMark(NamedTuple):
    """A mark of the run: its Unix time, name and kind."""

    at: float
    name: str
    kind: str


@dataclass(frozen=True)
class History:
    """A run as it was observed.

    Attributes:
        begin: Unix time of its start.
        end: Unix time up to which it was looked at.
        interval_s: From scrape to scrape, as it was.
        counts: By Unix time of the scrape: judged requests by objective.
        failed: By Unix time of the scrape: failed requests, to date, and all requests.
        scrapes: Unix times at which there was a sample of the run.
        rules: Alerts that Prometheus has rules for; None where it does not say.
        is_valid: Whether the load generator kept up.
        sees_alerts: Whether alerts could be seen at all.
    """

    run_id: str
    begin: float
    end: float
    interval_s: float = 1.0
    counts: Mapping[float, Mapping[str, Counts]] = field(default_factory=dict)
    failed: Sequence[tuple[float, int, int]] = ()
    scrapes: Sequence[float] = ()
    episodes: Sequence[Episode] = ()
    marks: Sequence[StoredMark] = ()
    rules: frozenset[str] | None = None
    is_valid: bool = True
    sees_alerts: bool = True

    @property
    def elapsed_s(self) -> float:
        """How long the run was, as far as it was seen."""
        return max((at - self.begin for at in self.scrapes), default=0.0)

    def gap(self, begin: float, end: float) -> bool:
        """Return whether there is a hole between two times in which an alert might have come and gone unseen."""
        if not self.sees_alerts:
            return True
        patience = max(5 * self.interval_s, 3.0)
        times = [begin, *(at for at in self.scrapes if begin < at < end), end]
        return any(after - before > patience for before, after in pairwise(times))


def start_of(server: Prometheus, run_id: str, lookback: str = "7d") -> float | None:
    """Return the Unix time at which a run started; None where Prometheus does not know it.

    Raises:
        ConfigurationError: Prometheus does not answer.
    """
    found = server.query(f"max_over_time({of_run(catalogue.RUN_START.name, run_id)}[{lookback}])")
    return max((value for _, value in found), default=None)


def observed(server: Prometheus, run_id: str, begin: float, end: float, own_alerts: Iterable[str] = ()) -> History:
    """Return what is known of a run between two Unix times.

    Raises:
        ConfigurationError: Prometheus does not answer.
    """

    def stored(name: str) -> list[SampleSeries]:
        return server.stored(of_run(name, run_id), begin, end)

    scrapes = sorted({at for series in stored(catalogue.RUN_ACTIVE.name) for at, _ in series.samples})
    interval_s = _interval(scrapes) or 1.0
    alerts = [series for series in stored("ALERTS") if series.labels.get("alertname") != names.RUN_ACTIVE]
    for name in sorted(own_alerts):
        found = server.stored(selector("ALERTS", alertname=name), begin, end)
        alerts += [series for series in found if series.labels.get("run_id", "") in {"", run_id}]
    rules = server.alert_rules()
    return History(
        run_id=run_id,
        begin=begin,
        end=end,
        interval_s=interval_s,
        counts=_counts(stored(catalogue.SLO_EVENTS.name)),
        failed=_failed(stored(catalogue.REQUESTS.name)),
        scrapes=scrapes,
        episodes=episodes(alerts, end, interval_s),
        marks=_marks(stored(catalogue.MARKS.name)),
        rules=None if rules is None else frozenset(rules),
        is_valid=all(value for series in stored(catalogue.RUN_VALID.name) for _, value in series.samples),
    )


def _interval(times: Sequence[float]) -> float | None:
    return median(after - before for before, after in pairwise(times)) if len(times) > 2 else None


def _one_exporter(several: Iterable[SampleSeries], *keys: str) -> dict[tuple[str, ...], SampleSeries]:
    """Return one series for each set of labels: a run that is both scraped and pushed is there twice."""
    found: dict[tuple[str, ...], SampleSeries] = {}
    for series in several:
        key = tuple(series.labels.get(label, "") for label in keys)
        if series.samples and (key not in found or len(series.samples) > len(found[key].samples)):
            found[key] = series
    return found


def _counts(several: Iterable[SampleSeries]) -> dict[float, dict[str, Counts]]:
    found: dict[float, dict[str, Counts]] = {}
    for (slo, outcome), series in _one_exporter(several, "slo", "outcome").items():
        for at, value in series.samples:
            counts = Counts(int(value), 0) if outcome == "good" else Counts(0, int(value))
            objectives = found.setdefault(at, {})
            objectives[slo] = objectives.get(slo, Counts()).plus(counts)
    return dict(sorted(found.items()))


def _failed(several: Iterable[SampleSeries]) -> list[tuple[float, int, int]]:
    found: dict[float, list[int]] = {}
    keys = ("method", "name", "user_class", "outcome")
    for (*_, outcome), series in _one_exporter(several, *keys).items():
        for at, value in series.samples:
            both = found.setdefault(at, [0, 0])
            both[0] += int(value) if outcome == "failure" else 0
            both[1] += int(value)
    return [(at, failed, total) for at, (failed, total) in sorted(found.items())]


def _marks(several: Iterable[SampleSeries]) -> list[StoredMark]:
    found = []
    for (name, kind), series in _one_exporter(several, "mark", "kind").items():
        before = 0.0
        for at, value in series.samples:
            if value > before:
                found.append(StoredMark(at, name, kind))
            before = value
    return sorted(found)


def episodes(alerts: Iterable[SampleSeries], end: float, interval_s: float) -> list[Episode]:
    """Return each alert from its beginning to its end, by time, from the samples of `ALERTS`."""
    times: dict[tuple[tuple[str, str], ...], dict[float, bool]] = {}
    for series in alerts:
        labels = tuple(sorted((key, value) for key, value in series.labels.items() if key != "alertstate"))
        is_firing = series.labels.get("alertstate") == "firing"
        for at, value in series.samples:
            if value:
                times.setdefault(labels, {})[at] = is_firing
    step_s = max(interval_s, median([_interval(sorted(each)) or interval_s for each in times.values()] or [0.0]))
    found = []
    for labels, states in times.items():
        moments = sorted(states)
        begins = [i for i, at in enumerate(moments) if not i or at - moments[i - 1] > GAP * step_s]
        for first, after in zip(begins, [*begins[1:], len(moments)], strict=True):
            part = moments[first:after]
            firing = next((at for at in part if states[at]), None)
            is_over = part[-1] + GAP * step_s < end
            found.append(Episode(dict(labels), part[0], firing, part[-1] + step_s if is_over else None))
    return sorted(found, key=lambda episode: episode.pending_at)
