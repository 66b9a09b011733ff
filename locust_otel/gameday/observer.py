"""Looks at Prometheus and Alertmanager while a game day goes on, in a thread: nothing there may delay an undo."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from locust_otel.core import catalogue
from locust_otel.core.errors import LocustOtelError
from locust_otel.gameday.api import Alertmanager
from locust_otel.gameday.notices import Notices
from locust_otel.gameday.plan import StopWhen
from locust_otel.review.prometheus import Prometheus
from locust_otel.slo.rules import names
from locust_otel.slo.rules.promql import increase, of, ratio

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was at the last look.

    Attributes:
        alerts: Name, severity, objective and state (`pending`, `firing`).
        failure_ratio: Share of requests that failed lately; None where nobody knows or asks.
        problem: Why the last look failed; empty where it did not.
    """

    alerts: tuple[tuple[str, str, str, str], ...] = ()
    failure_ratio: float | None = None
    problem: str = ""


class Observer:
    """Looks twice a second, from `start` to `stop`; `seen` is what there was."""

    def __init__(  # noqa: PLR0913, PLR0917  # what is looked at, and for what
        self,
        server: Prometheus,
        alertmanager: Alertmanager | None,
        notices: Notices,
        run_id: str,
        own_alerts: Iterable[str],
        stop_when: StopWhen | None,
    ) -> None:
        self.seen = Seen()
        self._server = server
        self._alertmanager = alertmanager
        self._notices = notices
        self._run_id = run_id
        self._own = frozenset(own_alerts)
        self._stop_when = stop_when
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gameday-observer", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(15)

    def _run(self) -> None:
        while not self._over.wait(POLL_S):
            self.look()

    def look(self) -> None:
        """Look once."""
        problems = []
        alerts, failed = self.seen.alerts, None
        try:
            if self._alertmanager is not None:
                self._notices.seen(each for each in self._alertmanager.alerts() if self._is_ours(each["labels"]))
        except LocustOtelError as error:
            problems.append(str(error))
        try:
            found = self._server.query("ALERTS")
            alerts = tuple(
                sorted(
                    (each["alertname"], each.get("severity", ""), each.get("slo", ""), each.get("alertstate", ""))
                    for each, _ in found
                    if self._is_ours(each) and each["alertname"] != names.RUN_ACTIVE
                )
            )
            failed = self._failure_ratio()
        except LocustOtelError as error:
            problems.append(str(error))
        self.seen = Seen(alerts, failed, " ".join(problems))

    def _is_ours(self, labels: dict[str, str]) -> bool:
        run_id = labels.get("run_id")
        return run_id == self._run_id or (run_id is None and labels.get("alertname") in self._own)

    def _failure_ratio(self) -> float | None:
        if self._stop_when is None:
            return None
        window = f"{int(self._stop_when.over_s * 1000)}ms"
        labels = {"run_id": self._run_id}
        failed = increase(of(catalogue.REQUESTS, outcome="failure", **labels), window)
        every = increase(of(catalogue.REQUESTS, **labels), window)
        found = self._server.query(ratio(f"sum({failed})", f"sum({every})"))
        return found[0][1] if found else None

    def must_stop(self) -> str:
        """Return why the game day must stop; empty where it need not."""
        failed, limit = self.seen.failure_ratio, self._stop_when
        if limit is None or failed is None or failed < float(limit.failure_ratio):
            return ""
        return f"stop condition: {failed:.0%} of the requests failed (limit {limit.failure_ratio * Decimal(100):f} %)"
