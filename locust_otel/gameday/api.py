"""Ask the servers that a game day watches: JSON over HTTP, credentials from the environment, no redirect followed."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError

TIMEOUT_S = 10.0
MAX_BYTES = 64 << 20


class NoAnswer(LocustOtelError):  # noqa: N818
    """A server does not answer, or not as it should."""


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
        if not web.is_server(url) or "@" in url or not url.isascii() or not url.isprintable() or " " in url:
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
        self._opener = web.opener()

    def ask(self, path: str, body: Any = None) -> Any:
        """Return what the server answers; a JSON body makes it a POST.

        Raises:
            NoAnswer: It does not; `__cause__` is an `HTTPError` where it has refused.
        """
        data = None if body is None else json.dumps(body).encode()
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
            raise NoAnswer(f"{self.url}{path} gives no answer: {web.reason(error)}.") from None


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
