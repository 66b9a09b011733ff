"""Objectives against a run in Prometheus: its final counters, the same numbers its own verdict was made of.

Each number is read with `max_over_time`: an instant query is empty once the target is gone. The counters of a run begin
at 0 and its id is its own, so the highest value is the final one.

A run may be stored more than once: scraped and pushed, or by two replicas of a Prometheus. All series of one exporter
have the same further labels (`job`, `instance`, …), so series are put together by those, and of several exporters that
tell of the same the one that has seen most is taken; they are never added up. Only workers that export their own
requests (`--export-from workers`) are: they have requests, but nothing of the run, and differ in `instance`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from locust_otel.core import catalogue
from locust_otel.core.catalogue import Metric
from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check.assessments import Assessment, Assessments, Source, counted, undecided, warmup_notes
from locust_otel.review.check.flags import DEFAULT_LOOKBACK
from locust_otel.review.prometheus import Prometheus, Sample, of_run
from locust_otel.slo.counts import Counts
from locust_otel.slo.objectives import Objective, Sli, Slo, plain
from locust_otel.slo.verdict import Status

_LOOKBACK = re.compile(r"(?:[0-9]{1,9}(?:ms|s|m|h|d|w|y))+")

_Exporter = frozenset[tuple[str, str]]
_Key = tuple[str, ...]
_ByExporter = Mapping[_Exporter, Mapping[_Key, float]]


class StoredRun:
    """The series of one run, each asked for once.

    Args:
        server: Where they are.
        run_id: The run.
        lookback: How far to look back, as Prometheus writes it: `7d`.
        flag: What named the run.

    Raises:
        ConfigurationError: The run id or the look-back cannot be used.
    """

    def __init__(self, server: Prometheus, run_id: str, lookback: str, flag: str = "--run-id") -> None:
        if not run_id or len(run_id) > 200 or not run_id.isprintable():
            raise ConfigurationError(
                flag, f"{run_id[:200]!r} is not the id of a run.", "It stands in Locust's log, and in "
                f"{catalogue.RUN_INFO.name}.", slug="check-run-id",
            )  # fmt: skip
        if not _LOOKBACK.fullmatch(lookback):
            raise ConfigurationError(
                "--lookback", f"{lookback[:40]!r} is not a time.", "Write 7d, or 12h.", slug="check-lookback"
            )
        self.run_id = run_id
        self.lookback = lookback
        self._server = server

    def values(
        self, metric: Metric, labels: Iterable[str] = (), *, function: str = "max_over_time", suffix: str = ""
    ) -> _ByExporter:
        """Return a value of each series, by exporter and labels."""
        names = tuple(labels)
        found: dict[_Exporter, dict[_Key, float]] = {}
        for sample in self._query(function, metric.name + suffix):
            exporter, key = _split(sample, names)
            found.setdefault(exporter, {})[key] = sample.value
        return found

    def all(self, metric: Metric, function: str) -> list[float]:
        """Return the values of a metric that every exporter has once."""
        return [value for values in self.values(metric, function=function).values() for value in values.values()]

    def _query(self, function: str, name: str) -> list[Sample]:
        return self._server.query(f"{function}({of_run(name, self.run_id)}[{self.lookback}])")


_OWN = ("run_id", "method", "name", "user_class", "outcome", "slo", "slo_service", "status", "mark", "kind", "le")


def _split(sample: Sample, names: Iterable[str]) -> tuple[_Exporter, _Key]:
    further = frozenset(pair for pair in sample.labels.items() if pair[0] not in _OWN)
    return further, tuple(sample.labels.get(name, "") for name in names)


def source(server: Prometheus, run_id: str, lookback: str = DEFAULT_LOOKBACK, flag: str = "--run-id") -> Source:
    """Return the source for a run in Prometheus.

    Raises:
        ConfigurationError: The run id or the look-back cannot be used; from the source: there is no answer.
    """
    run = StoredRun(server, run_id, lookback, flag)
    return lambda slo: _assessments(slo, run)


def _assessments(slo: Slo, run: StoredRun) -> Assessments:
    where = f"run {run.run_id}"
    elapsed = run.values(catalogue.RUN_ELAPSED)
    requests = run.values(catalogue.REQUESTS, _REQUEST)
    asked = _Asked(run)
    if not elapsed and not requests and not asked.is_judged:
        why = f"no data of run {run.run_id} in the last {run.lookback}"
        return Assessments(where, tuple(undecided(objective, why) for objective in slo.objectives))
    if why := _unusable(run):
        return Assessments(where, tuple(undecided(objective, f"not decidable: {why}") for objective in slo.objectives))
    elapsed_s = max((value for values in elapsed.values() for value in values.values()), default=0.0)
    if asked.is_judged:
        judged_s = max(0.0, elapsed_s - float(slo.warmup_s))
        return Assessments(where, tuple(asked.assessment(slo, objective, judged_s) for objective in slo.objectives))
    notes = (f"The run was made without --slo: judged by {catalogue.REQUESTS.name}.",)
    observed = _Observed(run, requests, frozenset(elapsed))
    found = tuple(observed.assessment(slo, objective) for objective in slo.objectives)
    return Assessments(where, found, (*notes, *warmup_notes(slo, "counters from the start of the run")))


def _unusable(run: StoredRun) -> str:
    """Return why the numbers of a run are not those of one run from its start to its end; empty where they are."""
    starts = [*run.all(catalogue.RUN_START, "min_over_time"), *run.all(catalogue.RUN_START, "max_over_time")]
    if starts and max(starts) - min(starts) > 1:
        return f"more than one run had the id {run.run_id} in the last {run.lookback}"
    if min(run.all(catalogue.RUN_ACTIVE, "last_over_time"), default=0):
        return "the run has not ended, or its end never reached Prometheus"
    return ""


class _Asked:
    """What a run with --slo says of its objectives."""

    def __init__(self, run: StoredRun) -> None:
        self._run = run
        self._events = run.values(catalogue.SLO_EVENTS, ("slo", "outcome"))
        self._mean_s = run.values(catalogue.SLO_MEAN_SECONDS, ("slo",))
        self._mean_requests = run.values(catalogue.SLO_MEAN_REQUESTS, ("slo",))
        self.is_judged = bool(self._events or self._mean_requests)
        if self.is_judged:
            self._targets = run.values(catalogue.SLO_OBJECTIVE, ("slo",), function="last_over_time")
            self._thresholds = run.values(catalogue.SLO_THRESHOLD, ("slo",), function="last_over_time")
            self._status = run.values(catalogue.SLO_STATUS, ("slo", "status"), function="last_over_time")
            self._marks = run.values(catalogue.MARKS, ("kind", "mark"))

    def assessment(self, slo: Slo, objective: Objective, judged_s: float) -> Assessment:
        """Return the run's own counts, judged by the file."""
        of_run = self._counts(objective)
        if of_run is None:
            return undecided(objective, "not decidable: the run had no such objective in its SLO file")
        for what, wanted, values in (
            ("target", objective.target, self._targets),
            ("within", objective.within_s, self._thresholds),
        ):
            own = {each[objective.name,] for each in values.values() if (objective.name,) in each}
            if own != (set() if wanted is None else {float(wanted)}):
                told = "another" if not own else " and ".join(f"{value:g}" for value in sorted(own))
                asked = "none" if wanted is None else plain(wanted)
                return undecided(
                    objective, f"not decidable: the run was judged with {what} {told}, the file has {asked}"
                )
        is_invalid = any(each.get((objective.name, Status.INVALID.value)) for each in self._status.values())
        invalid = "the load generator was too slow for its numbers to be believed" if is_invalid else ""
        found = counted(slo, objective, of_run, judged_s=judged_s, invalid=invalid)
        is_aborted = any(each.get(("abort", f"slo-abort {objective.name}")) for each in self._marks.values())
        if is_aborted and not is_invalid:
            result = replace(found.result, status=Status.MISSED, note="--slo-abort ended the run over it")
            return replace(found, result=result)
        return found

    def _counts(self, objective: Objective) -> Counts | None:
        """Return the counts of the exporter that has seen most of them; None where there is none."""
        name = objective.name
        if objective.sli is Sli.MEAN:
            several = [
                Counts(int(each[name,]), 0, self._mean_s[exporter][name,])
                for exporter, each in self._mean_requests.items()
                if (name,) in each and (name,) in self._mean_s.get(exporter, {})
            ]
        else:
            several = [
                Counts(int(each[name, "good"]), int(each[name, "bad"]))
                for each in self._events.values()
                if (name, "good") in each and (name, "bad") in each
            ]
        return max(several, key=lambda counts: counts.total, default=None)


_REQUEST = ("method", "name", "user_class", "outcome")


class _Observed:
    """What a run without --slo says: its requests, and its histogram where a threshold is one of the edges."""

    def __init__(self, run: StoredRun, requests: _ByExporter, of_run: frozenset[_Exporter]) -> None:
        self._run = run
        self._requests = requests
        self._exporters, self._why = _exporters(requests, of_run)
        self._buckets: _ByExporter | None = None

    def assessment(self, slo: Slo, objective: Objective) -> Assessment:
        """Return the requests of the whole run, judged by the file."""
        if self._why:
            return undecided(objective, self._why)
        if objective.sli is Sli.SUCCESS:
            good = self._sum(self._requests, objective, lambda key: key[3] == "success")
            bad = self._sum(self._requests, objective, lambda key: key[3] == "failure")
            return counted(slo, objective, Counts(int(good), int(bad)))
        timed = int(self._sum(self._of_histogram("_count"), objective))
        if objective.sli is Sli.MEAN:
            return counted(slo, objective, Counts(timed, 0, self._sum(self._of_histogram("_sum"), objective)))
        within_s = objective.within_s or Decimal(0)
        edges = self._edges()
        series = {(exporter, key[:4]) for exporter, each in edges.items() for key in each}
        at_edge = {(exporter, key[:4]) for exporter, each in edges.items() for key in each if _is_at(key, within_s)}
        if timed and (series != at_edge or not series):
            why = f"not decidable: {plain(within_s * 1000)} ms is no edge of the run's histogram"
            return undecided(objective, why)
        good = int(self._sum(edges, objective, lambda key: _is_at(key, within_s)))
        return counted(slo, objective, Counts(good, timed - good))

    def _of_histogram(self, suffix: str) -> _ByExporter:
        return self._run.values(catalogue.REQUEST_DURATION, _REQUEST, suffix=suffix)

    def _edges(self) -> _ByExporter:
        if self._buckets is None:
            self._buckets = self._run.values(catalogue.REQUEST_DURATION, (*_REQUEST, "le"), suffix="_bucket")
        return self._buckets

    def _sum(self, values: _ByExporter, objective: Objective, wanted: Callable[[_Key], bool] = lambda _: True) -> float:
        return sum(
            value
            for exporter in self._exporters
            for key, value in values.get(exporter, {}).items()
            if objective.match.covers(*key[:3]) and not (objective.only_success and key[3] == "failure") and wanted(key)
        )


def _is_at(key: _Key, edge_s: Decimal) -> bool:
    """Return whether a bucket ends there, by number: a scrape says 5.0, OTLP says 5."""
    try:
        return float(key[4]) == float(edge_s)
    except ValueError:
        return False


def _exporters(requests: _ByExporter, of_run: frozenset[_Exporter]) -> tuple[list[_Exporter], str]:
    """Return the exporters whose requests add up to those of the run; or why nobody can know."""
    whole = [exporter for exporter in requests if exporter in of_run]
    if whole:
        return [max(whole, key=lambda exporter: sum(requests[exporter].values()))], ""
    if len({dict(exporter).get("job") for exporter in requests}) > 1:
        return [], "not decidable: several jobs have requests of this run, which may be the same ones twice"
    return list(requests), ""
