"""Ask the servers that a game day watches: JSON over HTTP, credentials from the environment, no redirect followed."""

from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any, NamedTuple

from locust_otel.core.errors import ConfigurationError, LocustOtelError

TIMEOUT_S = 10.0
MAX_BYTES = 64 << 20


class NoAnswer(LocustOtelError):  # noqa: N818
    """A server does not answer, or not as it should."""


class Series(NamedTuple):
    """Labels of a series, and its samples as they were stored: Unix time and value."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would take the credentials to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Let the answer stand."""


class Api:
    """A server that speaks JSON.

    Args:
        url: Where it is, with the prefix of its path if it has one.
        flag: What named it, for errors.
        variable: Environment variable with the value of an Authorization header.
        scheme: What stands before that value: `Bearer`; empty where the value has it itself.

    Raises:
        ConfigurationError: The URL or the value cannot be used.
    """

    def __init__(self, url: str, flag: str, variable: str, scheme: str = "") -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_usable = False
        if not is_usable or "@" in url or not url.isascii() or not url.isprintable() or " " in url:
            shown = "Credentials do not belong in a URL." if "@" in url else f"{url[:200]!r} is not a server's URL."
            remedy = f"Write http://HOST:PORT; credentials go into {variable}."
            raise ConfigurationError(flag, shown, remedy, slug="gameday-url")
        self.url = url.rstrip("/")
        self.variable = variable
        self._authorization = os.environ.get(variable, "").strip()
        if not self._authorization.isascii() or (self._authorization and not self._authorization.isprintable()):
            raise ConfigurationError(
                variable, "The value is not one line of ASCII.", "Write the header's value: Bearer TOKEN.",
                slug="gameday-authorization",
            )  # fmt: skip
        if self._authorization and scheme:
            self._authorization = f"{scheme} {self._authorization}"
        self._opener = urllib.request.build_opener(_Stay())

    def ask(self, path: str, form: dict[str, str] | None = None, *, body: Any = None) -> Any:
        """Return what the server answers; a form or a JSON body make it a POST.

        Raises:
            NoAnswer: It does not; `__cause__` is an `HTTPError` where it has refused.
        """
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        data = json.dumps(body).encode() if body is not None else data
        request = urllib.request.Request(self.url + path, data)  # noqa: S310  # http and https only
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                content: bytes = response.read(MAX_BYTES + 1)
            return json.loads(content[:MAX_BYTES]) if content.strip() else None
        except urllib.error.HTTPError as error:
            error.close()
            hint = f" Set {self.variable}." if error.code in {401, 403} else ""
            raise NoAnswer(f"{self.url}{path} answers {error.code}.{hint}") from error
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            reason = getattr(error, "reason", None) or error
            told = getattr(reason, "strerror", None) or type(reason).__name__
            raise NoAnswer(f"{self.url}{path} gives no answer: {told}.") from None


class Prometheus(Api):
    """A Prometheus, or what speaks its query API."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "--prometheus", "LOCUST_OTEL_PROMETHEUS_AUTHORIZATION")

    def vector(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Return what an instant query of now finds.

        Raises:
            NoAnswer: There is none, or not one of a Prometheus.
        """
        return [(_labels(each), float(each["value"][1])) for each in self._query(promql, "vector") if "value" in each]

    def stored(self, selector: str, begin: float, end: float) -> list[Series]:
        """Return the samples of series between two Unix times as they were stored, each at its own time.

        Raises:
            NoAnswer: There is none, or not one of a Prometheus.
        """
        promql = f"{selector}[{max(1, math.ceil(end - begin))}s] @ {end:.3f}"
        return [
            Series(_labels(each), [(float(at), float(value)) for at, value in each["values"] if float(at) >= begin])
            for each in self._query(promql, "matrix")
            if "values" in each
        ]

    def alert_rules(self) -> set[str] | None:
        """Return the names of the alerts it has rules for; None where it does not say (VictoriaMetrics)."""
        try:
            groups = self.ask("/api/v1/rules?type=alert")["data"]["groups"]
            return {str(rule["name"]) for group in groups for rule in group["rules"] if rule["type"] == "alerting"}
        except (NoAnswer, KeyError, TypeError):
            return None

    def _query(self, promql: str, kind: str) -> list[dict[str, Any]]:
        answer = self.ask("/api/v1/query", {"query": promql})
        try:
            if answer["status"] == "success" and answer["data"]["resultType"] == kind:
                return list(answer["data"]["result"])
        except (KeyError, TypeError):
            pass
        raise NoAnswer(f"{self.url} answers, but not as a Prometheus does.")


def _labels(each: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in each["metric"].items() if key != "__name__"}


class Alertmanager(Api):
    """An Alertmanager, by its API v2."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "--alertmanager", "LOCUST_OTEL_ALERTMANAGER_AUTHORIZATION")

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts it knows now, silenced and inhibited ones too.

        Raises:
            NoAnswer: There is none, or not one of an Alertmanager.
        """
        answer = self.ask("/api/v2/alerts")
        if not isinstance(answer, list) or not all(isinstance(each, dict) and "labels" in each for each in answer):
            raise NoAnswer(f"{self.url} answers, but not as an Alertmanager does.")
        return answer
