"""What is seen of alerts while a game day goes on: Prometheus and Alertmanager are asked, a webhook is told.

They are asked in a thread of its own: a slow answer may not delay an undo.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any

from locust_otel.core import catalogue, web
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.gameday.mark_client import TIMEOUT_S
from locust_otel.gameday.plan import GameDay
from locust_otel.review.prometheus import Prometheus
from locust_otel.slo.rules import names
from locust_otel.slo.rules.promql import increase, of, ratio

POLL_S = 0.5
_LONG_S = 3.0
"""Seconds between two answers of Alertmanager after which an alert may have come unseen."""

_AUTHORIZATION = "LOCUST_OTEL_ALERTMANAGER_AUTHORIZATION"
_MAX_BODY = 4 << 20


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert as Alertmanager has it; all times are Unix times, None for what was not seen."""

    labels: Mapping[str, str]
    starts_at: float  # when it began to fire, by Prometheus
    arrived_at: float | None = None  # when Alertmanager first showed it, by our clock
    updated_at: float | None = None  # when Alertmanager had last updated it by then, by its own clock
    notified_at: float | None = None  # when the webhook first notified of it, by our clock
    ended_at: float | None = None  # when the webhook first notified of its end, by our clock
    inhibited_by: tuple[Mapping[str, str], ...] = ()  # labels of the alerts that inhibit it; none for a silence


@dataclass
class Notices:
    """The alerts seen so far; any thread may add to them."""

    clock: Callable[[], float] = time
    _known: dict[tuple[str, float], Notice] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Add the alerts that Alertmanager's API has just shown."""
        now, alerts = self.clock(), list(alerts)
        by_fingerprint = {str(alert.get("fingerprint")): dict(alert["labels"]) for alert in alerts}
        for alert in alerts:
            status = alert.get("status", {})
            inhibited_by = [by_fingerprint.get(str(fingerprint), {}) for fingerprint in status.get("inhibitedBy", ())]
            inhibited_by += [{} for _ in status.get("silencedBy", ())]
            self._add(alert, inhibited_by, arrived_at=now, updated_at=unix(alert.get("updatedAt")))

    def told(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Add the alerts of a notification that has just come."""
        now = self.clock()
        for alert in alerts:
            self._add(alert, **{"ended_at" if alert.get("status") == "resolved" else "notified_at": now})

    def _add(self, alert: Mapping[str, Any], inhibited_by: Sequence[Any] = (), /, **times: float | None) -> None:
        """Add an alert; of each time the first is kept."""
        starts_at = unix(alert.get("startsAt")) or 0.0
        labels = {str(key): str(value) for key, value in alert["labels"].items()}
        key = (json.dumps(labels, sort_keys=True), starts_at)
        with self._lock:
            known = self._known.get(key) or Notice(labels, starts_at)
            first: dict[str, Any] = {name: getattr(known, name) or time for name, time in times.items()}
            self._known[key] = replace(known, inhibited_by=tuple(inhibited_by) or known.inhibited_by, **first)

    def all(self) -> list[Notice]:
        """Return the alerts, by the time they began to fire."""
        with self._lock:
            return sorted(self._known.values(), key=lambda notice: notice.starts_at)


def unix(text: object) -> float | None:
    """Return the Unix time of `2026-11-22T07:17:03.123456789Z`; None for other texts, and for Go's zero time."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None and moment.year > 1970 else None


class Alertmanager:
    """An Alertmanager, by its API v2, with credentials from the environment.

    Raises:
        ConfigurationError: The URL or the credentials cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._url = web.base_of(url, "--alertmanager", _AUTHORIZATION, "http://HOST:PORT", slug="gameday-url")
        value = os.environ.get(_AUTHORIZATION, "").strip()
        self._authorization = web.header_value(value, _AUTHORIZATION, slug="gameday-authorization")

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts it knows now, silenced and inhibited ones too.

        Raises:
            LocustOtelError: It does not answer, or not as an Alertmanager does.
        """
        alerts = self._fetched("alerts")
        if not isinstance(alerts, list) or not all(isinstance(alert, dict) and "labels" in alert for alert in alerts):
            raise LocustOtelError(f"{self._url}/api/v2/alerts answers, but not as an Alertmanager does.")
        return alerts

    def configuration(self) -> str:
        """Return its configuration as YAML; empty if it does not say."""
        try:
            return str(self._fetched("status")["config"]["original"])
        except (LocustOtelError, KeyError, TypeError):
            return ""

    def _fetched(self, path: str) -> Any:
        url = f"{self._url}/api/v2/{path}"
        try:
            reply = web.send(url, authorization=self._authorization, timeout_s=TIMEOUT_S)
        except web.UnreachableError as error:
            raise LocustOtelError(f"{url} gives no answer: {error}.") from None
        if not reply.is_success:
            hint = f" Set {_AUTHORIZATION}." if reply.status in {401, 403} else ""
            raise LocustOtelError(f"{url} answers {reply.status}.{hint}")
        try:
            return web.decoded(reply.body.strip() or b"null")
        except ValueError as error:
            raise LocustOtelError(f"{url} gives no answer: {type(error).__name__}.") from None


class Webhook(ThreadingHTTPServer):
    """A server that takes Alertmanager's notifications, from construction to `close`.

    The address is `PORT`, of 127.0.0.1, or `HOST:PORT`.

    Raises:
        ConfigurationError: The address cannot be used.
    """

    def __init__(self, address: str, notices: Notices) -> None:
        host, _, port = address.rpartition(":")
        try:
            super().__init__((host or "127.0.0.1", int(port)), _Handler)
        except (OSError, ValueError, OverflowError) as error:
            found = f"{address!r}: {getattr(error, 'strerror', None) or 'that is no port'}."
            remedy = "Give a free port: 9095."
            raise ConfigurationError("--webhook-port", found, remedy, slug="gameday-webhook") from None
        self.notices = notices
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Its URL for this machine."""
        host = str(self.server_address[0])
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}/"  # noqa: S104  # it is compared

    def close(self) -> None:
        """Stop the server."""
        self.shutdown()
        self.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    server: Webhook
    timeout = 10

    def do_POST(self) -> None:
        code = 200
        try:
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(min(length, _MAX_BODY)))
            self.server.notices.told([alert for alert in body["alerts"] if isinstance(alert["labels"], dict)])
        except (ValueError, KeyError, TypeError, AttributeError):
            code = 400
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's signature
        """Write no line for each request."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The latest answers.

    Attributes:
        alerts: Name, severity, objective and state (`pending`, `firing`).
        failure_ratio: Share of recent requests that failed; None if it is not known, or there is no stop condition.
        problem: Why there was no answer; empty if there was one.
    """

    alerts: tuple[tuple[str, ...], ...] = ()
    failure_ratio: float | None = None
    problem: str = ""


@dataclass
class Observer:
    """Asks twice a second, from `start` to `stop`; `seen` holds the latest answers.

    Attributes:
        silences: Begin and end in Unix time of each time in which Alertmanager did not answer.
    """

    server: Prometheus
    alertmanager: Alertmanager | None
    notices: Notices
    run_id: str
    day: GameDay
    seen: Seen = Seen()
    silences: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._answered_at = time()
        self._is_silent = False
        self._thread = threading.Thread(target=self._run, name="gameday-observer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._answered_at = time()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that still waits for an answer is left alone."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(POLL_S * 2)
        if self.alertmanager is not None:
            self._end_silence()

    def _run(self) -> None:
        while not self._over.wait(POLL_S):
            self._look()

    def _look(self) -> None:
        problems = []
        alerts, failed = self.seen.alerts, None
        try:
            if self.alertmanager is not None:
                self.notices.seen(alert for alert in self.alertmanager.alerts() if self._is_ours(alert["labels"]))
                self._end_silence()
        except LocustOtelError as error:
            self._is_silent = True
            problems.append(str(error))
        try:
            alerts = tuple(
                sorted(
                    tuple(labels.get(label, "") for label in ("alertname", "severity", "slo", "alertstate"))
                    for labels, _ in self.server.query("ALERTS")
                    if self._is_ours(labels) and labels["alertname"] != names.RUN_ACTIVE
                )
            )
            failed = self._failure_ratio()
        except LocustOtelError as error:
            problems.append(str(error))
        self.seen = Seen(alerts, failed, " ".join(problems))

    def _end_silence(self) -> None:
        """Note the time since the last answer of Alertmanager, if it failed to answer or was not asked for long."""
        now = time()
        if self._is_silent or now - self._answered_at > _LONG_S:
            self.silences.append((self._answered_at, now))
        self._answered_at, self._is_silent = now, False

    def _is_ours(self, labels: dict[str, str]) -> bool:
        run_id = labels.get("run_id")
        return run_id == self.run_id or (run_id is None and labels.get("alertname") in self.day.own_alerts)

    def _failure_ratio(self) -> float | None:
        if self.day.stop_when is None:
            return None
        window = f"{int(self.day.stop_when.over * 1000)}ms"
        failed = increase(of(catalogue.REQUESTS, outcome="failure", run_id=self.run_id), window)
        total = increase(of(catalogue.REQUESTS, run_id=self.run_id), window)
        samples = self.server.query(ratio(f"sum({failed})", f"sum({total})"))
        return samples[0][1] if samples else None

    def must_stop(self) -> str:
        """Return why the game day must stop; empty if it need not."""
        failed, limit = self.seen.failure_ratio, self.day.stop_when
        if limit is None or failed is None or failed < float(limit.failure_ratio):
            return ""
        return f"stop condition: {failed:.0%} of the requests failed (limit {limit.failure_ratio * Decimal(100):f} %)"
