"""Ask a Prometheus, or what speaks its query API: one question, one list of samples."""

from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any, NamedTuple

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check.flags import AUTHORIZATION

TIMEOUT_S = 30.0
MAX_BYTES = 64 << 20
_FLAG = "--prometheus"


class Sample(NamedTuple):
    """One series and its value."""

    labels: dict[str, str]
    value: float


class Series(NamedTuple):
    """One series and its values over time, each with its Unix time in seconds."""

    labels: dict[str, str]
    values: list[tuple[float, float]]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like another: followed, it would take the credentials to another host."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


class Prometheus:
    """A server that answers queries.

    Args:
        url: Where it is, with the prefix of its path if it has one.
        authorization: Value of the header of this name; empty for none. It stands in no error.

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
        self._opener = urllib.request.build_opener(_NoRedirect())

    @classmethod
    def of_environment(cls, url: str) -> Prometheus:
        """Return the server at a URL, with the credentials of the environment."""
        return cls(url, os.environ.get(AUTHORIZATION, "").strip())

    def query(self, promql: str) -> list[Sample]:
        """Return what an instant query of now finds.

        Raises:
            ConfigurationError: There is no answer, or not one of a Prometheus.
        """
        try:
            answer = json.loads(self._asked(promql))
            if answer["status"] != "success" or answer["data"]["resultType"] != "vector":
                raise self._refused("The answer is none to a query.", "Is this the URL of a Prometheus?", "answer")
            return [_sample(each) for each in answer["data"]["result"] if "value" in each]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._refused(
                "The answer is not that of a Prometheus.", "Name its URL, without /api/v1/query.", "answer"
            ) from None

    def range(self, promql: str, start: float, end: float, step_s: float) -> list[Series]:
        """Return what a range query finds: values from `start` to `end`, in Unix time, every `step_s` seconds.

        Raises:
            ConfigurationError: There is no answer, or not one of a Prometheus.
        """
        span = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
        try:
            answer = json.loads(self._asked(promql, "query_range", span))
            if answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
                raise self._refused("The answer is none to a query.", "Is this the URL of a Prometheus?", "answer")
            return [_series(each) for each in answer["data"]["result"] if "values" in each]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._refused(
                "The answer is not that of a Prometheus.", "Name its URL, without /api/v1/query.", "answer"
            ) from None

    def _asked(self, promql: str, what: str = "query", more: dict[str, str] | None = None) -> bytes:
        # partial_response: Thanos would rather answer with a part than not at all. Others do not know it.
        form = urllib.parse.urlencode({"query": promql, "partial_response": "false", **(more or {})}).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{what}", form)  # noqa: S310  # http and https only
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
            reason = getattr(error, "reason", None) or error
            told = getattr(reason, "strerror", None) or type(reason).__name__
            raise self._refused(f"It cannot be reached: {told}.", "Is it running there?", "unreachable") from None
        if len(content) > MAX_BYTES:
            raise self._refused(f"The answer is over {MAX_BYTES >> 20} MiB.", "Give requests fewer names.", "too-large")
        return content

    def _refused(self, found: str, remedy: str, slug: str) -> ConfigurationError:
        return ConfigurationError(f"{_FLAG} {self.url}", found, remedy, slug=f"check-prometheus-{slug}")


def _sample(value: Any) -> Sample:
    labels = {str(key): str(text) for key, text in value["metric"].items() if key != "__name__"}
    number = float(value["value"][1])
    if not math.isfinite(number):
        raise ValueError  # none of our metrics can be that
    return Sample(labels, number)


def _series(value: Any) -> Series:
    labels = {str(key): str(text) for key, text in value["metric"].items() if key != "__name__"}
    return Series(labels, [(float(time), float(number)) for time, number in value["values"]])


def _checked(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    has_credentials = "@" in url
    if not is_usable or has_credentials or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
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
