"""The client of a Prometheus, or of another server with its query API."""

from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, NamedTuple, TypeVar

from locust_otel.core import web
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


def of_run(name: str, run_id: str) -> str:
    """Return the selector of the series of a run: `name{run_id="…"}`."""
    return f"{name}{{run_id={json.dumps(run_id, ensure_ascii=False)}}}"  # PromQL quotes as JSON does


class Prometheus:
    """A server that answers queries.

    Args:
        url: Where it is, with the prefix of its path if it has one.
        authorization: Value of the header of this name; empty for none. No error contains it.
        timeout_s: Seconds to wait for an answer.

    Raises:
        ConfigurationError: The URL or the value cannot be used.
    """

    def __init__(self, url: str, authorization: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = _checked(url)
        if not authorization.isascii() or not authorization.isprintable():
            raise ConfigurationError(
                AUTHORIZATION,
                "The value is not one line of ASCII.",
                "Write the value of the header: Bearer TOKEN.",
                slug="check-prometheus-authorization",
            )
        self._authorization = authorization
        self._timeout_s = timeout_s
        self._opener = web.opener()

    @classmethod
    def of_environment(cls, url: str, *, timeout_s: float = TIMEOUT_S) -> Prometheus:
        """Return the server at a URL, with the credentials of the environment."""
        return cls(url, os.environ.get(AUTHORIZATION, "").strip(), timeout_s=timeout_s)

    def query(self, promql: str) -> list[Sample]:
        """Return the result of an instant query of now.

        Raises:
            ConfigurationError: There is no answer, or not one of a Prometheus.
        """
        return self._result("query", {"query": promql}, "vector", _sample)

    def range(self, promql: str, start: float, end: float, step_s: float) -> list[SampleSeries]:
        """Return the result of a range query: values from `start` to `end`, in Unix time, every `step_s` seconds.

        Raises:
            ConfigurationError: There is no answer, or not one of a Prometheus.
        """
        form = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
        return self._result("query_range", form, "matrix", _series)

    def stored(self, selector: str, begin: float, end: float) -> list[SampleSeries]:
        """Return the samples of series between two Unix times as they were stored, each at its own time.

        Raises:
            ConfigurationError: There is no answer, or not one of a Prometheus.
        """
        promql = f"{selector}[{max(1, math.ceil(end - begin))}s] @ {end:.3f}"
        return [
            SampleSeries(labels, [(at, value) for at, value in samples if at >= begin])
            for labels, samples in self._result("query", {"query": promql}, "matrix", _series)
        ]

    def alert_rules(self) -> set[str] | None:
        """Return the names of the alerts it has rules for; None where it does not say (VictoriaMetrics)."""
        try:
            groups = json.loads(self._fetched("rules?type=alert"))["data"]["groups"]
            return {str(rule["name"]) for group in groups for rule in group["rules"] if rule["type"] == "alerting"}
        except (ConfigurationError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _result(self, path: str, form: dict[str, str], kind: str, parse: Callable[[Any], _T]) -> list[_T]:
        key = "value" if kind == "vector" else "values"  # native histograms have others
        try:
            answer = json.loads(self._fetched(path, form))
            if answer["status"] != "success" or answer["data"]["resultType"] != kind:
                raise self._refused("The answer is none to a query.", "Is this the URL of a Prometheus?", "answer")
            return [parse(one) for one in answer["data"]["result"] if key in one]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._refused(
                "The answer is not that of a Prometheus.", "Name its URL, without /api/v1/query.", "answer"
            ) from None

    def _fetched(self, path: str, form: dict[str, str] | None = None) -> bytes:
        """Return the answer at a path of the API; a form makes it a POST."""
        # partial_response: Thanos would rather answer with a part than not at all. Others do not know it.
        body = None if form is None else urllib.parse.urlencode({**form, "partial_response": "false"}).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", body)  # noqa: S310  # http and https only
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                content: bytes = response.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {401, 403}:
                remedy = f"Set {AUTHORIZATION} to the value of the header."
                raise self._refused(f"It refuses with {error.code}.", remedy, "refused") from None
            remedy = "Name the URL of a Prometheus, without /api/v1/query."
            raise self._refused(f"It answers {error.code}.", remedy, "answer") from None
        except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
            found = f"It cannot be reached: {web.reason(error)}."
            raise self._refused(found, "Is it running there?", "unreachable") from None
        if len(content) > MAX_BYTES:
            raise self._refused(f"The answer is over {MAX_BYTES >> 20} MiB.", "Give requests fewer names.", "too-large")
        return content

    def _refused(self, found: str, remedy: str, slug: str) -> ConfigurationError:
        return ConfigurationError(f"{_FLAG} {self.url}", found, remedy, slug=f"check-prometheus-{slug}")


def _labels(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in value["metric"].items() if key != "__name__"}


def _sample(value: Any) -> Sample:
    number = float(value["value"][1])
    if not math.isfinite(number):
        raise ValueError  # none of our metrics can be that
    return Sample(_labels(value), number)


def _series(value: Any) -> SampleSeries:
    return SampleSeries(_labels(value), [(float(time), float(number)) for time, number in value["values"]])


def _checked(url: str) -> str:
    has_credentials = "@" in url
    is_plain = url.isascii() and url.isprintable() and not {"?", "#"} & set(url)
    if not web.is_server(url) or has_credentials or not is_plain:
        raise ConfigurationError(
            _FLAG,
            # Quoted only where no secret can stand in it.
            "Credentials do not belong in a URL." if has_credentials else f"{url[:200]!r} is not the URL of a server.",
            f"Write http://prometheus:9090; credentials go into {AUTHORIZATION}.",
            slug="check-prometheus-url",
        )
    if " " in url:
        raise ConfigurationError(
            _FLAG, f"{url[:200]!r} has a blank in it.", "Write http://prometheus:9090.", slug="check-prometheus-url"
        )
    return url.rstrip("/")
