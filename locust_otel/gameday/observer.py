"""The observer of a game day: asks Prometheus and Alertmanager for alerts while it is played.

It asks in a thread of its own: a slow answer must not delay an undo.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import time

from locust_otel.core import catalogue
from locust_otel.core.errors import LocustOtelError
from locust_otel.core.words import percent
from locust_otel.gameday.alertmanager import Alertmanager, Notices
from locust_otel.gameday.plan import GameDay
from locust_otel.review.prometheus import Prometheus
from locust_otel.slo.rules.names import ALERTS
from locust_otel.slo.rules.promql import increase, of, ratio

POLL_S = 0.5
_LONG_S = 3.0
"""Seconds between two answers of Alertmanager in which an alert may come and go unseen."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The latest answers.

    Attributes:
        alerts: Name, severity, objective and state (`pending`, `firing`).
        failure_ratio: Share of recent requests that failed; None if it is unknown, or there is no stop condition.
        problem: Why there was no answer; empty if there was one.
    """

    alerts: tuple[tuple[str, ...], ...] = ()
    failure_ratio: float | None = None
    problem: str = ""


@dataclass
class Observer:
    """Asks twice a second, from `start` to `stop`.

    Attributes:
        silences: Begin and end in Unix time of each time in which Alertmanager did not answer.
    """

    server: Prometheus
    alertmanager: Alertmanager | None
    notices: Notices
    run_id: str
    day: GameDay
    latest: Observation = Observation()
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
        """End the thread, without waiting for an answer that is still due."""
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
        alerts, failure_ratio = self.latest.alerts, None
        try:
            if self.alertmanager is not None:
                self.notices.add_listed(self.alertmanager.alerts())
                self._end_silence()
        except LocustOtelError as error:
            self._is_silent = True
            problems.append(str(error))
        try:
            alerts = tuple(
                sorted(
                    tuple(labels.get(label, "") for label in ("alertname", "severity", "slo", "alertstate"))
                    for labels, _ in self.server.query(ALERTS)
                    if self.day.counts(labels, self.run_id)
                )
            )
            failure_ratio = self._failure_ratio()
        except LocustOtelError as error:
            problems.append(str(error))
        self.latest = Observation(alerts, failure_ratio, " ".join(problems))

    def _end_silence(self) -> None:
        """Note the time since the last answer of Alertmanager, if it failed to answer or was not asked for long."""
        now = time()
        if self._is_silent or now - self._answered_at > _LONG_S:
            self.silences.append((self._answered_at, now))
        self._answered_at, self._is_silent = now, False

    def _failure_ratio(self) -> float | None:
        if self.day.stop_when is None:
            return None
        window = f"{int(self.day.stop_when.over * 1000)}ms"
        failed = increase(of(catalogue.REQUESTS, outcome="failure", run_id=self.run_id), window)
        total = increase(of(catalogue.REQUESTS, run_id=self.run_id), window)
        samples = self.server.query(ratio(f"sum({failed})", f"sum({total})"))
        return samples[0].value if samples else None

    def must_stop(self) -> str:
        """Return why the game day must stop; empty if it need not."""
        failed, limit = self.latest.failure_ratio, self.day.stop_when
        if limit is None or failed is None or failed < float(limit.failure_ratio):
            return ""
        return f"stop condition: {percent(failed)} of the requests failed (limit {percent(float(limit.failure_ratio))})"
