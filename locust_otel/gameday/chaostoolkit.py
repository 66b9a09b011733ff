"""Extensions of Chaos Toolkit: a control that marks each action on the load test's run, probes for alerts and verdict.

    "controls": [{"name": "marks", "provider": {
        "type": "python", "module": "locust_otel.gameday.chaostoolkit",
        "arguments": {"metrics": "http://127.0.0.1:9646/metrics"}}}]

Chaos Toolkit calls this module by name; the module imports nothing of it. If a mark cannot be set, the control logs a
warning, and the experiment continues.
https://chaostoolkit.org/reference/extending/create-control-extension/
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from locust_otel.core import catalogue
from locust_otel.gameday.mark_client import FAULT_END, FAULT_START, TIMEOUT_S, MarkSender
from locust_otel.review.prometheus import Prometheus, of_run
from locust_otel.slo.rules.names import ALERTS
from locust_otel.slo.rules.promql import selector
from locust_otel.slo.verdict import BY_RANK

logger = logging.getLogger("chaostoolkit")  # the log of `chaos run`

DEFAULT_METRICS = "http://127.0.0.1:9646/metrics"
_POLL_S = 0.5


def before_activity_control(context: Mapping[str, Any], metrics: str = DEFAULT_METRICS, **_: object) -> None:
    """Mark the start of an action; probes are not marked."""
    _mark(context, FAULT_START, metrics)


def after_activity_control(context: Mapping[str, Any], metrics: str = DEFAULT_METRICS, **_: object) -> None:
    """Mark the end of an action, successful or not."""
    _mark(context, FAULT_END, metrics)


def _mark(context: Mapping[str, Any], kind: str, metrics: str) -> None:
    if context.get("type") != "action":
        return
    marker = MarkSender(metrics)
    marker.mark(str(context.get("name", "")), kind)
    if marker.problem:
        logger.warning(marker.problem)


def alert_is(  # noqa: PLR0913, PLR0917  # they are the arguments in an experiment
    prometheus: str, alert: str, state: str = "firing", run_id: str = "", severity: str = "", wait_s: float = 0.0
) -> bool:
    """Probe whether an alert is `firing`, `pending` or `inactive`, and wait for it up to `wait_s` seconds.

    An empty severity accepts any; an empty run_id accepts any, and alerts without the label.

    Raises:
        ConfigurationError: Prometheus does not answer.
    """
    alerts = selector(ALERTS, alertname=alert, run_id=run_id, severity=severity)
    server = Prometheus.of_environment(prometheus, timeout_s=TIMEOUT_S)
    deadline = time.monotonic() + wait_s
    while True:
        states = {labels.get("alertstate") for labels, _ in server.query(alerts)}
        if state in states or (state == "inactive" and not states):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)


def verdict(prometheus: str, run_id: str) -> str:
    """Probe the verdict on a run, the worst of its objectives: `met`, `missed`, `undecided` or `invalid`.

    Raises:
        ConfigurationError: Prometheus does not answer.
    """
    server = Prometheus.of_environment(prometheus, timeout_s=TIMEOUT_S)
    samples = server.query(of_run(catalogue.SLO_STATUS.name, run_id))
    statuses = {labels.get("status") for labels, value in samples if value}
    return next((status.value for status in BY_RANK if status in statuses), "undecided")
