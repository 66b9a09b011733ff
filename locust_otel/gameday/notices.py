"""Who was told of which alert, and when: what Alertmanager's API shows, and what its webhook sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any

from locust_otel.core.errors import ConfigurationError

_MAX_BODY = 4 << 20


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert as Alertmanager has it; all times are Unix times, None for what was not seen.

    Attributes:
        starts_at: When it began to fire, by Prometheus.
        arrived_at: When it was first seen in Alertmanager, by our clock.
        updated_at: When Alertmanager had it last before that, by its own clock.
        notified_at: When the webhook told of it, by our clock.
        ended_at: When the webhook told that it is over, by our clock.
        inhibited_by: Labels of the alerts that keep it quiet; one without any label stands for a silence.
    """

    labels: Mapping[str, str]
    starts_at: float
    arrived_at: float | None = None
    updated_at: float | None = None
    notified_at: float | None = None
    ended_at: float | None = None
    inhibited_by: tuple[Mapping[str, str], ...] = ()


@dataclass
class Notices:
    """What was seen so far; any thread may add to it.

    Attributes:
        has_webhook: Whether somebody listens for notifications.
        has_alertmanager: Whether somebody asks Alertmanager.
    """

    has_webhook: bool = False
    has_alertmanager: bool = False
    clock: Callable[[], float] = time
    _known: dict[tuple[str, float], Notice] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Note the alerts that Alertmanager's API has just shown."""
        now, alerts = self.clock(), list(alerts)
        by_fingerprint = {str(each.get("fingerprint")): dict(each["labels"]) for each in alerts}
        for each in alerts:
            status = each.get("status", {})
            quiet = [by_fingerprint.get(str(one), {}) for one in status.get("inhibitedBy", ())]
            quiet += [{} for _ in status.get("silencedBy", ())]
            with self._lock:
                key, known = self._find(each)
                self._known[key] = replace(
                    known,
                    arrived_at=known.arrived_at or now,
                    updated_at=known.updated_at or unix(each.get("updatedAt")),
                    inhibited_by=tuple(quiet) or known.inhibited_by,
                )

    def told(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Note the alerts of a notification that has just come."""
        now = self.clock()
        for each in alerts:
            with self._lock:
                key, known = self._find(each)
                if each.get("status") == "resolved":
                    self._known[key] = replace(known, ended_at=known.ended_at or now)
                else:
                    self._known[key] = replace(known, notified_at=known.notified_at or now)

    def all(self) -> list[Notice]:
        """Return what is known, by time."""
        with self._lock:
            return sorted(self._known.values(), key=lambda notice: notice.starts_at)

    def _find(self, each: Mapping[str, Any]) -> tuple[tuple[str, float], Notice]:
        starts_at = unix(each.get("startsAt")) or 0.0
        labels = {str(key): str(value) for key, value in each["labels"].items()}
        key = (json.dumps(labels, sort_keys=True), starts_at)
        return key, self._known.get(key) or Notice(labels, starts_at)


def unix(text: object) -> float | None:
    """Return the Unix time of `2026-11-22T07:17:03.123456789Z`; None for what is none, and for Go's zero time."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None and moment.year > 1970 else None


def written(notices: Iterable[Notice]) -> list[dict[str, Any]]:
    """Return notices as JSON has them."""
    return [asdict(notice) for notice in notices]


def read(values: Iterable[Mapping[str, Any]]) -> list[Notice]:
    """Return notices from JSON."""
    return [Notice(**{**each, "inhibited_by": tuple(each["inhibited_by"])}) for each in values]


class Webhook:
    """Takes the notifications of Alertmanager, from construction to `close`.

    Args:
        address: `PORT` or `HOST:PORT`; without a host 127.0.0.1.
        notices: Where they go.

    Raises:
        ConfigurationError: The address cannot be used.
    """

    def __init__(self, address: str, notices: Notices) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), _handler(notices))
        except (OSError, ValueError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "that is no port"
            raise ConfigurationError(
                "--webhook-port", f"{address!r}: {why}.", "Give a free port: 9095.", slug="gameday-webhook"
            ) from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()
        notices.has_webhook = True

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler(notices: Notices) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            code = 200
            try:
                length = int(self.headers.get("Content-Length", "0"))
                body = json.loads(self.rfile.read(min(length, _MAX_BODY)))
                notices.told([each for each in body["alerts"] if isinstance(each["labels"], dict)])
            except (ValueError, KeyError, TypeError, AttributeError):
                code = 400
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's signature
            """Write no line for each request."""

    return Handler
