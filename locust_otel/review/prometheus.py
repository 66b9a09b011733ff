"""Client of a Prometheus, or of another server with its query API."""

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
_REMEDY = "Name the URL of a Prometheus, without /api/v1/query."

_T = TypeVar("_T")


class Sample(NamedTuple):
    """Series with one value."""

    labels: dict[str, str]
    value: float


class SampleSeries(NamedTuple):
    """Series with its samples: Unix time in seconds and value."""

    labels: dict[str, str]
    samples: list[tuple[float, float]]


class AlertRule(NamedTuple):
    """Alerting rule: the name of its alert, the labels that it adds, and its expression as the server writes it."""

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
    """Server that answers queries. Its URL may have a path, which is the prefix of the API.

    An empty `authorization` sends no header. No error contains its value.

    Raises:
        ConfigurationError: The URL or the value of the header cannot be used. From queries: the server cannot be
            reached, or its response is not that of a Prometheus.
    """

    def __init__(self, url: str, authorization: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = web.base_of(url, _FLAG, AUTHORIZATION, "http://prometheus:9090", slug="check-prometheus-url")
        self._authorization = web.header_value(authorization, AUTHORIZATION, slug="check-prometheus-authorization")
        self._timeout_s = timeout_s

    @classmethod
    def of_environment(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Prometheus:
        """Return the server at a URL, with the header that the environment variable holds."""
        return cls(url, os.environ.get(AUTHORIZATION, "").strip(), timeout_s=timeout_s)

    def query(self, promql: str) -> list[Sample]:
        """Return the result of an instant query at the current time."""
        return self._result("query", {"query": promql}, "vector", _sample)

    def latest(self, selector: str, lookback: str, function: str = "max_over_time") -> list[Sample]:
        """Return one value of each series within the look-back, `7d`: an instant query is empty after the run.

        Counters of a run begin at 0, and no other run has its id, so the highest value is the final one.
        """
        return self.query(f"{function}({selector}[{lookback}])")

    def range(self, promql: str, start: float, end: float, step_s: float) -> list[SampleSeries]:
        """Return the result of a range query: values from `start` to `end` (Unix time), every `step_s` seconds."""
        form = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
        return self._result("query_range", form, "matrix", _series)

    def stored(self, selector: str, begin: float, end: float) -> list[SampleSeries]:
        """Return the stored samples of series between two Unix times, each with its own time."""
        promql = f"{selector}[{max(1, math.ceil(end - begin))}s] @ {end:.3f}"
        return [
            SampleSeries(labels, [(time, value) for time, value in samples if time >= begin])
            for labels, samples in self._result("query", {"query": promql}, "matrix", _series)
        ]

    def alert_rules(self) -> list[AlertRule] | None:
        """Return its alerting rules; None if it does not serve them, as VictoriaMetrics."""
        try:
            groups = web.decoded(self._fetched("rules?type=alert"))["data"]["groups"]
            rules = [
                AlertRule(str(rule["name"]), dict(rule.get("labels") or {}), str(rule.get("query", "")))
                for group in groups
                for rule in group["rules"]
                if rule["type"] == "alerting"
            ]
            # The rules of a VictoriaMetrics are in vmalert. It responds with no group; its build has no revision.
            has_rules = rules or "revision" in web.decoded(self._fetched("status/buildinfo"))["data"]
        except (ConfigurationError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return rules if has_rules else None

    def _result(self, path: str, form: dict[str, str], kind: str, parse: Callable[[Any], _T]) -> list[_T]:
        key = "value" if kind == "vector" else "values"  # series of native histograms have other keys
        try:
            answer = web.decoded(self._fetched(path, form))
            if answer["status"] != "success" or answer["data"]["resultType"] != kind:
                raise ValueError
            return [parse(series) for series in answer["data"]["result"] if key in series]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise _refused(f"{self._url(path)} does not respond as a Prometheus.", _REMEDY, "answer") from None

    def _url(self, path: str) -> str:
        return f"{self.url}/api/v1/{path}"

    def _fetched(self, path: str, form: dict[str, str] | None = None) -> bytes:
        """Return the body of the response at a path of the API. A form is sent as a POST."""
        # Without partial_response=false Thanos responds with a part of the data. Other servers ignore the key.
        body = None if form is None else urlencode({**form, "partial_response": "false"}).encode()
        url = self._url(path)
        try:
            reply = web.send(
                url, body, content_type="application/x-www-form-urlencoded", authorization=self._authorization,
                timeout_s=self._timeout_s, max_bytes=MAX_BYTES,
            )  # fmt: skip
        except web.UnreachableError as error:
            raise _refused(f"{url} cannot be reached: {error}.", "Is it running there?", "unreachable") from None
        if reply.status in {401, 403}:
            remedy = f"Set {AUTHORIZATION} to the value of the Authorization header."
            raise _refused(f"{url} responds with {reply.status}.", remedy, "refused")
        if not reply.is_success:
            raise _refused(f"{url} responds with {reply.status}.", _REMEDY, "answer")
        if len(reply.body) > MAX_BYTES:
            raise _refused(f"{url} responds with over {MAX_BYTES >> 20} MiB.", "Use fewer request names.", "too-large")
        return reply.body


def _refused(found: str, remedy: str, slug: str) -> ConfigurationError:
    return ConfigurationError(_FLAG, found, remedy, slug=f"check-prometheus-{slug}")


def _labels(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in value["metric"].items() if key != "__name__"}


def _sample(value: Any) -> Sample:
    number = float(value["value"][1])
    if not math.isfinite(number):
        raise ValueError  # no metric of a run can be NaN or infinite
    return Sample(_labels(value), number)


def _series(value: Any) -> SampleSeries:
    return SampleSeries(_labels(value), [(float(time), float(number)) for time, number in value["values"]])


_Labelled = TypeVar("_Labelled", Sample, SampleSeries)


def by_exporter(metric: Metric, several: Iterable[_Labelled]) -> dict[Exporter, list[_Labelled]]:
    """Return the series of a metric by their exporter."""
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
    The weight of an exporter is the number of its requests. Exporters in `of_run` have series of the run itself, and so
    all of its requests: the one with the highest weight is taken. Workers that export their own requests
    (`--export-from workers`) have no such series, and are added up, each `instance` once. That is certain if one job
    has all instances. If not, a process may have another instance in each job (scraped and pushed), and the job with
    the most requests is taken.
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
