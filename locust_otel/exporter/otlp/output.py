"""OTLP as an output: one push of metrics and one of events, in a thread each."""

from __future__ import annotations

import logging
from threading import Thread
from time import monotonic

from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.otlp.push import Kept, LogsPush, MetricsPush, Push
from locust_otel.exporter.output import Output
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Session
from locust_otel.exporter.settings import Settings

logger = logging.getLogger(__name__)

FLUSH_S = 1.8
"""Longest push of the final values, in seconds."""


class OtlpOutput(Output):
    """Pushes the metrics and events of this process."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pushes: list[Push] = []
        self._kept = Kept()

    def start(self, settings: Settings) -> None:
        """Start to push."""
        otlp, session = settings.otlp, self._session
        if otlp is None or not session.scopes:
            return
        self._kept = session.keep("otlp", self._kept)
        if otlp.metrics is not None:
            self._pushes.append(MetricsPush(session, otlp, otlp.metrics, self._kept))
        if otlp.logs is not None and not session.origin.is_worker:  # the master pushes its events
            self._pushes.append(LogsPush(session, otlp, otlp.logs, self._kept))
        for push in self._pushes:
            push.start()

    def collect(self, snapshot: Snapshot) -> None:  # noqa: ARG002
        """Report pushes that have waited too long for an answer."""
        for push in self._pushes:
            push.check()

    def finish(self, run: Run) -> None:  # noqa: ARG002
        """Push the final values, for at most `FLUSH_S`."""
        started_s = monotonic()
        threads = [Thread(target=push.push_last, args=(FLUSH_S,), daemon=True) for push in self._pushes]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and monotonic() < started_s + FLUSH_S and not self._session.hurry.is_set():
                thread.join(0.02)
        waited_s = monotonic() - started_s
        for push, thread in zip(self._pushes, threads, strict=True):
            if thread.is_alive():
                push.abandon()
                self._session.exports.note(push.exporter, ok=False, seconds=waited_s)
                logger.warning("OTLP: the last push to %s had no answer within %.1f s: cancelled", push.url, waited_s)

    def stop(self, deadline_s: float) -> None:  # noqa: ARG002
        """End."""
        for push in self._pushes:
            push.stopped.set()

    @property
    def account(self) -> str:
        """Number of requests of the run that have arrived."""
        if self._session.settings.from_workers or not any(isinstance(push, MetricsPush) for push in self._pushes):
            return ""
        total = self._kept.last_total
        return "OTLP never" if total is None else f"OTLP {total:,}"
