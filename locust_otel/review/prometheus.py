"""The client of a Prometheus, or of another server with its query API."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from locust_otel.core import web
from locust_otel.core.catalogue import Metric
from locust_otel.core.errors import ConfigurationError

AUTHORIZATION = "LOCUST_OTEL_PROMETHEUS_AUTHORIZATION"
"""Environment variable with the value of the `Authorization` header: `Bearer …`, `Basic …`."""

TIMEOUT_S = 30.0
MAX_BYTES = 64 << 20
_FLAG = "--prometheus"

_T = TypeVar("_T")


class Sample(NamedTuple):
    """One series and its value."""

    labels: dict[str, str]
    value: float


class SampleSeries(NamedTuple):
    """Labels of a series, and its samples: Unix time in seconds and value."""

    labels: dict[str, str]
    samples: list[tuple[float, float]]


class AlertRule(NamedTuple):
    """An alerting rule: its alert, its own labels, and its expression as the server writes it."""

    name: str
    labels: dict[str, str]
    query: str


Exporter = frozenset[tuple[str, str]]
"""Labels that all series of a process in one job share: `job`, `instance`, and what the scrape or the store adds."""


def of_run(name: str, run_id: str, **labels: str) -> str:
    """Return the selector of the series of a run: `name{run_id="…"}`, with further labels if any."""
    pairs = {"run_id": run_id, **labels}.items()
    matchers = ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in pairs)
    return f"{name}{{{matchers}}}"  # PromQL quotes as JSON does


class Prometheus:
    """A server that answers queries, by its URL, with the prefix of its path if it has one.

    No error contains the value of the header `Authorization`; empty is none.

    Raises:
        ConfigurationError: The URL or the value cannot be used; from queries: there is no answer, or not one of a
            Prometheus.
    """

    def __init__(self, url: str, authorization: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = web.base_of(url, _FLAG, AUTHORIZATION, "http://prometheus:9090", slug="check-prometheus-url")
        self._authorization = web.header_value(authorization, AUTHORIZATION, slug="check-prometheus-authorization")
        self._timeout_s = timeout_s

    @classmethod
    def of_environment(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Prometheus:
        """Return the server at a URL, with the credentials of the environment."""
        return cls(url, os.environ.get(AUTHORIZATION, "").strip(), timeout_s=timeout_s)

    def query(self, promql: str) -> list[Sample]:
        """Return the result of an instant query of now."""
        return self._result("query", {"query": promql}, "vector", _sample)

    def latest(self, selector: str, lookback: str, function: str = "max_over_time") -> list[Sample]:
        """Return one value of each series of the last while; a plain instant query is empty once the target is gone.

        The counters of a run begin at 0 and its id is its own, so the highest value is the final one.
        """
        return self.query(f"{function}({selector}[{lookback}])")

    def range(self, promql: str, start: float, end: float, step_s: float) -> list[SampleSeries]:
        """Return the result of a range query: values from `start` to `end`, in Unix time, every `step_s` seconds."""
        form = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
        return self._result("query_range", form, "matrix", _series)

    def stored(self, selector: str, begin: float, end: float) -> list[SampleSeries]:
        """Return the samples of series between two Unix times as they were stored, each at its own time."""
        promql = f"{selector}[{max(1, math.ceil(end - begin))}s] @ {end:.3f}"
        return [
            SampleSeries(labels, [(at, value) for at, value in samples if at >= begin])
            for labels, samples in self._result("query", {"query": promql}, "matrix", _series)
        ]

    def alert_rules(self) -> list[AlertRule] | None:
        """Return its alerting rules; None where it does not say (VictoriaMetrics)."""
        try:
            groups = web.decoded(self._fetched("rules?type=alert"))["data"]["groups"]
            rules = [
                AlertRule(str(rule["name"]), dict(rule.get("labels") or {}), str(rule.get("query", "")))
                for group in groups
                for rule in group["rules"]
                if rule["type"] == "alerting"
            ]
            # VictoriaMetrics, whose rules are vmalert's, answers with no group, and as a Prometheus without a revision.
            says = rules or "revision" in web.decoded(self._fetched("status/buildinfo"))["data"]
        except (ConfigurationError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return rules if says else None

    def _result(self, path: str, form: dict[str, str], kind: str, parse: Callable[[Any], _T]) -> list[_T]:
        key = "value" if kind == "vector" else "values"  # native histograms have others
        said = f"The answer of {self._address(path)} is"
        try:
            answer = web.decoded(self._fetched(path, form))
            if answer["status"] != "success" or answer["data"]["resultType"] != kind:
                raise _refused(f"{said} none to a query.", "Is this the URL of a Prometheus?", "answer")
            return [parse(one) for one in answer["data"]["result"] if key in one]
        except (ValueError, TypeError, KeyError, AttributeError):
            remedy = "Name its URL, without /api/v1/query."
            raise _refused(f"{said} not that of a Prometheus.", remedy, "answer") from None

    def _address(self, path: str) -> str:
        return f"{self.url}/api/v1/{path}"

    def _fetched(self, path: str, form: dict[str, str] | None = None) -> bytes:
        """Return the answer at a path of the API; a form makes it a POST."""
        # partial_response: Thanos would rather answer with a part than not at all. Others do not know it.
        body = None if form is None else urlencode({**form, "partial_response": "false"}).encode()
        url = self._address(path)
        try:
            reply = web.send(
                url, body, content_type="application/x-www-form-urlencoded", authorization=self._authorization,
                timeout_s=self._timeout_s, max_bytes=MAX_BYTES,
            )  # fmt: skip
        except web.UnreachableError as error:
            raise _refused(f"{url} cannot be reached: {error}.", "Is it running there?", "unreachable") from None
        if reply.status in {401, 403}:
            remedy = f"Set {AUTHORIZATION} to the value of the header."
            raise _refused(f"{url} refuses with {reply.status}.", remedy, "refused")
        if not reply.is_success:
            remedy = "Name the URL of a Prometheus, without /api/v1/query."
            raise _refused(f"{url} answers {reply.status}.", remedy, "answer")
        if len(reply.body) > MAX_BYTES:
            found = f"The answer of {url} is over {MAX_BYTES >> 20} MiB."
            raise _refused(found, "Give requests fewer names.", "too-large")
        return reply.body


def _refused(found: str, remedy: str, slug: str) -> ConfigurationError:
    return ConfigurationError(_FLAG, found, remedy, slug=f"check-prometheus-{slug}")


def _labels(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in value["metric"].items() if key != "__name__"}


def _sample(value: Any) -> Sample:
    number = float(value["value"][1])
    if not math.isfinite(number):
        raise ValueError  # none of our metrics can be that
    return Sample(_labels(value), number)


def _series(value: Any) -> SampleSeries:
    return SampleSeries(_labels(value), [(float(time), float(number)) for time, number in value["values"]])


_Labelled = TypeVar("_Labelled", Sample, SampleSeries)


def by_exporter(metric: Metric, several: Iterable[_Labelled]) -> dict[Exporter, list[_Labelled]]:
    """Return series of a metric by the exporter that they come from."""
    groups: dict[Exporter, list[_Labelled]] = {}
    for series in several:
        exporter = frozenset(pair for pair in series.labels.items() if pair[0] not in {*metric.labels, "le"})
        groups.setdefault(exporter, []).append(series)
    return groups


def exporters_of_requests(
    weights: Mapping[Exporter, float], of_run: Collection[Exporter]
) -> tuple[list[Exporter], bool]:
    """Return the exporters whose requests add up to those of the run, and whether that is certain.

    A run may be stored more than once: scraped and pushed, scraped by two jobs, or by two replicas of a Prometheus.
    An exporter that has series of the run itself has all requests of it, so one of these is enough. Workers that export
    their own requests (`--export-from workers`) have none of the run itself, and are added up, each `instance` once.
    That is certain if one job has all instances. If not, a process may have one name in each job (scraped and pushed),
    and the job with the most is taken.

    A weight is how much an exporter knows of the requests; of exporters that know the same, the highest is taken.
    Those in `of_run` have series of the run itself.
    """
    whole = [exporter for exporter in weights if exporter in of_run]
    if whole:
        return [max(whole, key=weights.__getitem__)], True
    jobs: dict[str, dict[str, Exporter]] = {}
    highest: dict[str, Exporter] = {}
    for exporter in sorted(weights, key=weights.__getitem__):
        labels = dict(exporter)
        instance = labels.get("instance", "")
        jobs.setdefault(labels.get("job", ""), {})[instance] = exporter
        highest[instance] = exporter
    if not weights or any(job.keys() == highest.keys() for job in jobs.values()):
        return list(highest.values()), True
    fullest = max(jobs.values(), key=lambda job: sum(weights[exporter] for exporter in job.values()))
    return list(fullest.values()), False
