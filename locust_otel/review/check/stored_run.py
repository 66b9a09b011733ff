"""Source for a run in Prometheus: objectives are judged by its final counters, as in the run itself.

Numbers of one run from several exporters are never added up: those of the exporter with the highest are taken. Only
requests of workers that export their own are added (`exporters_of_requests`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache

from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.marks import ABORT_KIND, ABORT_TEXT
from locust_otel.review.check.assessments import Assessment, Assessments, Source, counted, undecided
from locust_otel.review.prometheus import Exporter, Prometheus, Sample, by_exporter, exporters_of_requests, of_run
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo, plain, spoken
from locust_otel.slo.verdict import Status

_LOOKBACK = re.compile(r"(?:[0-9]{1,9}(?:ms|s|m|h|d|w|y))+")

_LATE = "The generator was late at times, or workers were missing: see the log or the record of the run for when."

_Key = tuple[str, ...]
_ByExporter = Mapping[Exporter, Mapping[_Key, float]]
_REQUEST = ("method", "name", "user_class", "outcome")
_EVENTS = (catalogue.SLO_EVENTS, ("slo", "outcome"))
_MEAN_S = (catalogue.SLO_MEAN_SECONDS, ("slo",))
_MEAN_REQUESTS = (catalogue.SLO_MEAN_REQUESTS, ("slo",))


def source(server: Prometheus, run_id: str, flag: str = "--run-id", *, lookback: str) -> Source:
    """Return the source for a run within the look-back, `7d`.

    Raises:
        ConfigurationError: The run id or the look-back cannot be used. From the source: a query fails.
    """
    if not run_id or len(run_id) > 200 or not run_id.isprintable():
        found, remedy = f"{run_id[:200]!r} is not the id of a run.", f"See Locust's log, or {catalogue.RUN_INFO.name}."
        raise ConfigurationError(flag, found, remedy, slug="check-run-id")
    if not _LOOKBACK.fullmatch(lookback):
        found = f"{lookback[:40]!r} is not a time."
        raise ConfigurationError("--lookback", found, "Write 7d, or 12h.", slug="check-lookback")
    return lambda slo: _assessments(slo, _StoredRun(server, run_id, lookback))


class _StoredRun:
    """Values of a run within the look-back, each read at most once."""

    def __init__(self, server: Prometheus, run_id: str, lookback: str) -> None:
        self.run_id = run_id
        self.lookback = lookback
        self._server = server
        self.latest = cache(self._latest)
        self.values = cache(self._values)

    def _latest(self, metric: Metric, function: str = "max_over_time", suffix: str = "") -> list[Sample]:
        return self._server.latest(of_run(metric.name + suffix, self.run_id), self.lookback, function)

    def _values(self, metric: Metric, labels: _Key, suffix: str = "") -> _ByExporter:
        """Return the highest value of each series, by exporter and labels."""
        return {
            exporter: {tuple(sample.labels.get(label, "") for label in labels): sample.value for sample in samples}
            for exporter, samples in by_exporter(metric, self.latest(metric, suffix=suffix)).items()
        }


def _assessments(slo: Slo, run: _StoredRun) -> Assessments:
    def all_undecided(why: str, *notes: str) -> Assessments:
        return Assessments(where, tuple(undecided(objective, why) for objective in slo.objectives), notes)

    where = f"run {run.run_id}"
    elapsed = run.latest(catalogue.RUN_ELAPSED)
    requests = run.values(catalogue.REQUESTS, _REQUEST)
    has_slo = run.values(*_EVENTS) or run.values(*_MEAN_REQUESTS)
    if not elapsed and not requests and not has_slo:
        return all_undecided(f"no data of run {run.run_id} in the last {run.lookback}")
    first, last = (run.latest(catalogue.RUN_START, function) for function in ("min_over_time", "max_over_time"))
    if first and max(value for _, value in last) - min(value for _, value in first) > 1:
        return all_undecided(f"not decidable: more than one run had the id {run.run_id} in the last {run.lookback}")
    if min((value for _, value in run.latest(catalogue.RUN_ACTIVE, "last_over_time")), default=0):
        return all_undecided("not decidable: the run is still running, or its end did not reach Prometheus")
    if has_slo:
        judged_s = max(0.0, max((value for _, value in elapsed), default=0.0) - float(slo.warmup_s))
        judged = tuple(_judged(slo, objective, run, judged_s) for objective in slo.objectives)
        was_valid = min((value for _, value in run.latest(catalogue.RUN_VALID, "min_over_time")), default=1)
        return Assessments(where, judged, () if was_valid else (_LATE,))
    notes = [f"The run had no --slo: judged by {catalogue.REQUESTS.name}."]
    if slo.warmup_s:
        notes.append(f"Judged over the whole run: its counters include the warm-up of {spoken(slo.warmup_s)}.")
    totals = {exporter: sum(values.values()) for exporter, values in requests.items()}
    exporters, is_certain = exporters_of_requests(totals, by_exporter(catalogue.RUN_ELAPSED, elapsed))
    if not is_certain:
        return all_undecided("not decidable: several jobs have requests of this run, maybe the same ones twice", *notes)
    observed = tuple(_observed(slo, objective, run, exporters) for objective in slo.objectives)
    return Assessments(where, observed, tuple(notes))


def _judged(slo: Slo, objective: Objective, run: _StoredRun, judged_s: float) -> Assessment:
    """Return the assessment by the run's own counts of an objective."""
    counts = _own_counts(objective, run)
    if counts is None:
        return undecided(objective, "not decidable: the run had no such objective in its SLO file")

    def own(metric: Metric) -> list[Sample]:
        samples = run.latest(metric, "last_over_time")
        return [sample for sample in samples if sample.labels.get("slo") == objective.name]

    for key, metric, wanted in (
        ("target", catalogue.SLO_OBJECTIVE, objective.target),
        ("within", catalogue.SLO_THRESHOLD, objective.within_s),
    ):
        used = {value for _, value in own(metric)}
        if used != (set() if wanted is None else {float(wanted)}):
            judged = " and ".join(f"{value:g}" for value in sorted(used)) or "another"
            asked = "none" if wanted is None else plain(wanted)
            why = f"not decidable: the run was judged with {key} {judged}, the file has {asked}"
            return undecided(objective, why)
    statuses = own(catalogue.SLO_STATUS)
    final = {labels.get("status") for labels, value in statuses if value}
    assessment = counted(slo, objective, counts, judged_s=judged_s)
    marks = {(labels.get("kind"), labels.get("mark")) for labels, value in run.latest(catalogue.MARKS) if value}
    if Status.INVALID in final:
        return _with_status(assessment, Status.INVALID, "the load generator did not keep up, or workers were missing")
    if (ABORT_KIND, ABORT_TEXT + objective.name) in marks:
        return _with_status(assessment, Status.MISSED, "--slo-abort ended the run because of it")
    if Status.UNDECIDED in final and assessment.result.status is not Status.UNDECIDED:
        why = "undecided by the run: too little of the target load, or requests counted as _OTHER"
        return _with_status(assessment, Status.UNDECIDED, why)
    return assessment


def _with_status(assessment: Assessment, status: Status, note: str) -> Assessment:
    """Return an assessment with the status that the run itself has exported."""
    return replace(assessment, result=replace(assessment.result, status=status, note=note))


def _own_counts(objective: Objective, run: _StoredRun) -> Counts | None:
    """Return the highest counts that an exporter has; None if there are no counts."""
    name = objective.name
    if objective.sli is Sli.MEAN:
        seconds = run.values(*_MEAN_S)
        several = [
            Counts(int(requests[name,]), 0, seconds[exporter][name,])
            for exporter, requests in run.values(*_MEAN_REQUESTS).items()
            if (name,) in requests and (name,) in seconds.get(exporter, {})
        ]
    else:
        several = [
            Counts(int(events[name, "good"]), int(events[name, "bad"]))
            for events in run.values(*_EVENTS).values()
            if (name, "good") in events and (name, "bad") in events
        ]
    return max(several, key=lambda counts: counts.total, default=None)


def _observed(slo: Slo, objective: Objective, run: _StoredRun, exporters: Sequence[Exporter]) -> Assessment:
    """Return the assessment by the requests of a run without --slo.

    Latency is decidable if the threshold is an edge of the histogram.
    """

    def total(values: _ByExporter, wanted: Callable[[_Key], bool] = lambda _: True) -> float:
        return sum(
            value
            for exporter in exporters
            for key, value in values.get(exporter, {}).items()
            if objective.match.covers(*key[:3]) and not (objective.only_success and key[3] == "failure") and wanted(key)
        )

    requests = run.values(catalogue.REQUESTS, _REQUEST)
    uncertain = objective.match.uncertain
    if uncertain is not None and any(uncertain.covers(*key[:3]) for values in requests.values() for key in values):
        return undecided(objective, "not decidable: requests that are counted as _OTHER may match too")
    if objective.sli is Sli.SUCCESS:
        good, bad = total(requests, lambda key: key[3] == "success"), total(requests, lambda key: key[3] == "failure")
        return counted(slo, objective, Counts(int(good), int(bad)))
    timed = int(total(run.values(catalogue.REQUEST_DURATION, _REQUEST, "_count")))
    if objective.sli is Sli.MEAN:
        seconds = total(run.values(catalogue.REQUEST_DURATION, _REQUEST, "_sum"))
        return counted(slo, objective, Counts(timed, 0, seconds))
    within_s = objective.within_s or Decimal(0)
    edges = run.values(catalogue.REQUEST_DURATION, (*_REQUEST, "le"), "_bucket")
    keys = [(exporter, key) for exporter, values in edges.items() for key in values]
    series = {(exporter, key[:4]) for exporter, key in keys}
    at_edge = {(exporter, key[:4]) for exporter, key in keys if _is_at(key, within_s)}
    if timed and (series != at_edge or not series):
        return undecided(objective, f"not decidable: {plain(within_s * 1000)} ms is no edge of the run's histogram")
    good = int(total(edges, lambda key: _is_at(key, within_s)))
    return counted(slo, objective, Counts(good, timed - good))


def _is_at(key: _Key, edge_s: Decimal) -> bool:
    """Return whether a bucket has this edge; scraped edges are written as 5.0, edges from OTLP as 5."""
    try:
        return float(key[4]) == float(edge_s)
    except ValueError:
        return False
