"""Alertmanager: the client of its API, the webhook that receives its notifications, and the alerts known from both."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any

from locust_otel.core import web
from locust_otel.core.errors import LocustOtelError
from locust_otel.gameday.mark_client import TIMEOUT_S
from locust_otel.slo.rules import names

_AUTHORIZATION = "LOCUST_OTEL_ALERTMANAGER_AUTHORIZATION"
_MAX_BODY = 4 << 20


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert as Alertmanager has it; Unix times, None for what was not seen."""

    labels: Mapping[str, str]
    starts_at: float  # when it began to fire, by Prometheus
    arrived_at: float | None = None  # when Alertmanager first listed it, by our clock
    updated_at: float | None = None  # when Alertmanager had last updated it by then, by its own clock
    notified_at: float | None = None  # when the webhook first received it, by our clock
    ended_at: float | None = None  # when the webhook first received its end, by our clock
    inhibited_by: tuple[Mapping[str, str], ...] = ()  # labels of the first alerts that inhibit it; empty for a silence
    inhibited_at: float | None = None  # when Alertmanager first listed it as inhibited or silenced, by our clock


@dataclass
class Notices:
    """The alerts seen so far; any thread may add to them.

    Attributes:
        is_counted: Whether alerts with some labels are kept.
    """

    clock: Callable[[], float] = time
    is_counted: Callable[[Mapping[str, str]], bool] = names.is_counted
    _known: dict[tuple[str, float], Notice] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_listed(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Add the alerts that Alertmanager's API lists now."""
        now, alerts = self.clock(), list(alerts)
        labels = {str(alert.get("fingerprint")): dict(alert["labels"]) for alert in alerts}
        for alert in alerts:
            status = alert.get("status", {})
            inhibited_by = [labels.get(str(fingerprint), {}) for fingerprint in status.get("inhibitedBy", ())]
            inhibited_by += [{} for _ in status.get("silencedBy", ())]
            inhibited_at = now if inhibited_by else None
            times = {"arrived_at": now, "updated_at": unix(alert.get("updatedAt")), "inhibited_at": inhibited_at}
            self._add(alert, inhibited_by, **times)

    def add_notified(self, payload: Any) -> None:
        """Add the alerts of a notification that has just come.

        Raises:
            KeyError, TypeError, AttributeError: It is not the payload of a webhook.
        """
        now = self.clock()
        for alert in [alert for alert in payload["alerts"] if isinstance(alert["labels"], dict)]:
            self._add(alert, **{"ended_at" if alert.get("status") == "resolved" else "notified_at": now})

    def _add(self, alert: Mapping[str, Any], inhibited_by: Sequence[Any] = (), /, **times: float | None) -> None:
        """Add an alert if it counts, and keep the first value of each time."""
        starts_at = unix(alert.get("startsAt")) or 0.0
        labels = {str(key): str(value) for key, value in alert["labels"].items()}
        if not self.is_counted(labels):
            return
        key = (json.dumps(labels, sort_keys=True), starts_at)
        with self._lock:
            known = self._known.get(key) or Notice(labels, starts_at)
            first: dict[str, Any] = {name: getattr(known, name) or time for name, time in times.items()}
            self._known[key] = replace(known, inhibited_by=known.inhibited_by or tuple(inhibited_by), **first)

    def all(self) -> tuple[Notice, ...]:
        """Return the alerts, by the time they began to fire."""
        with self._lock:
            return tuple(sorted(self._known.values(), key=lambda notice: notice.starts_at))


def unix(text: object) -> float | None:
    """Return the Unix time of `2026-11-22T07:17:03.123456789Z`; None for other texts, and for Go's zero time."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None and moment.year > 1970 else None


class Alertmanager:
    """The client of Alertmanager's API v2, with credentials from the environment.

    Raises:
        ConfigurationError: The URL or the credentials cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._url = web.base_of(url, "--alertmanager", _AUTHORIZATION, "http://HOST:PORT", slug="gameday-url")
        value = os.environ.get(_AUTHORIZATION, "").strip()
        self._authorization = web.header_value(value, _AUTHORIZATION, slug="gameday-authorization")

    def alerts(self) -> list[dict[str, Any]]:
        """Return the current alerts, with the silenced and inhibited ones.

        Raises:
            LocustOtelError: There is no answer, or it is not that of an Alertmanager.
        """
        alerts = self._fetched("alerts")
        if not isinstance(alerts, list) or not all(isinstance(alert, dict) and "labels" in alert for alert in alerts):
            raise LocustOtelError(f"{self._url}/api/v2/alerts does not answer as an Alertmanager does.")
        return alerts

    def configuration(self) -> str:
        """Return its configuration as YAML; empty if it cannot be read."""
        try:
            return str(self._fetched("status")["config"]["original"])
        except (LocustOtelError, KeyError, TypeError):
            return ""

    def _fetched(self, path: str) -> Any:
        url = f"{self._url}/api/v2/{path}"
        try:
            reply = web.send(url, authorization=self._authorization, timeout_s=TIMEOUT_S)
            if reply.is_success:
                return web.decoded(reply.body.strip() or b"null")
        except web.UnreachableError as error:
            raise LocustOtelError(f"{url} does not answer: {error}.") from None
        except ValueError as error:
            raise LocustOtelError(f"{url} does not answer with JSON: {type(error).__name__}.") from None
        hint = f" Set {_AUTHORIZATION}." if reply.status in {401, 403} else ""
        raise LocustOtelError(f"{url} answers {reply.status}.{hint}")


class Webhook(ThreadingHTTPServer):
    """A server that receives Alertmanager's webhooks on any path, from construction to `close`.

    `take` gets the payload of each POST, in a thread of its own. If it raises a ValueError, KeyError, TypeError or
    AttributeError, the answer is 400. Each GET is answered with 200, for health checks.
    https://prometheus.io/docs/alerting/latest/configuration/#webhook_config

    Raises:
        OSError: The port is taken, or the address is not of this machine.
    """

    def __init__(self, take: Callable[[Any], None], host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)
        self.take = take
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its URL for this machine."""
        host = str(self.server_address[0])
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.server_port}/"  # noqa: S104  # it is compared

    def close(self) -> None:
        """Stop the server."""
        self.shutdown()
        self.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    server: Webhook
    timeout = 10

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", "0"))
            self.server.take(json.loads(self.rfile.read(min(length, _MAX_BODY))))
        except (ValueError, KeyError, TypeError, AttributeError):
            self._answer(400)
        else:
            self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's signature
        """Log nothing."""
