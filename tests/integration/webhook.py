"""A webhook that keeps the notifications of Alertmanager, or marks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from gevent.pywsgi import WSGIServer

from tests.backends.servers import free_port


class Message(NamedTuple):
    """One notification.

    Attributes:
        at: Unix time of its arrival.
        path: Path of the URL, by which the tests know the receiver.
        content: The body, from JSON.
    """

    at: float
    path: str
    content_type: str
    content: dict[str, Any]

    @property
    def status(self) -> str:
        """`firing` while any of its alerts is firing, else `resolved`."""
        return str(self.content["status"])

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Its alerts: `status`, `labels`, `annotations`."""
        alerts: list[dict[str, Any]] = self.content["alerts"]
        return alerts

    @property
    def names(self) -> set[str]:
        """Names of its alerts."""
        return {alert["labels"]["alertname"] for alert in self.alerts}

    @property
    def objectives(self) -> set[tuple[str, str]]:
        """Names and objectives of its alerts; the objective is empty for alerts without one."""
        return {(alert["labels"]["alertname"], alert["labels"].get("slo", "")) for alert in self.alerts}

    def resolves(self, name: str, objective: str) -> bool:
        """Return whether it resolves an alert on an objective."""
        return self.status == "resolved" and (name, objective) in self.objectives


class Webhook:
    """Listens on a port of 127.0.0.1; a context manager.

    Attributes:
        messages: Notifications in order of arrival.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._server = WSGIServer(("127.0.0.1", free_port()), self._take, log=None)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(timeout=1)

    @property
    def url(self) -> str:
        """URL without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        body = json.loads(environ["wsgi.input"].read())
        self.messages.append(Message(time.time(), environ["PATH_INFO"], environ["CONTENT_TYPE"], body))
        start_response("200 OK", [])
        return [b"{}"]
