"""What a dashboard may ask Prometheus for: metrics and their labels, each spelled once.

Metrics of the catalogue are taken from there, and recorded ones from the rules.
"""

from __future__ import annotations

from locust_otel.core import catalogue
from locust_otel.core.catalogue import CATALOGUE, Kind, Scope
from locust_otel.slo.rules.names import OBJECTIVE, RECORDED

SLO_SERIES: dict[str, tuple[str, ...]] = {
    **{metric.name: metric.labels for metric in CATALOGUE if metric.scope is Scope.SLO or metric is catalogue.MARKS},
    **RECORDED,
    # What Prometheus makes of the alerts.
    "ALERTS": (*OBJECTIVE, "alertname", "alertstate", "severity"),
}
"""Series that a run without an SLO file, marks and rules does not have, with their labels."""

TARGET_LABELS = ("job", "instance")
"""Given by Prometheus to all of a target; metrics of our own health have no run_id, and are found by these."""


def known_series() -> dict[str, frozenset[str]]:
    """Return the labels of every series a query may name; the parts of a histogram are series of their own."""
    known = {name: frozenset(labels) for name, labels in SLO_SERIES.items()}
    known["up"] = frozenset(TARGET_LABELS)  # of the service under test: Prometheus' own series
    for metric in CATALOGUE:
        if metric.name in known:
            continue
        labels = frozenset((*metric.labels, *TARGET_LABELS))
        known[metric.name] = labels
        if metric.kind is Kind.HISTOGRAM:
            known[f"{metric.name}_bucket"] = labels | {"le"}
    return known


def needs_slo(expression: str) -> bool:
    """Whether a query asks for what a run without an SLO file does not have."""
    return any(name in expression for name in SLO_SERIES)


REQUESTS = catalogue.REQUESTS.name
MARKS = catalogue.MARKS.name
DURATION = catalogue.REQUEST_DURATION.name
ERRORS = catalogue.REQUEST_ERRORS.name
SLOW = catalogue.SLOW_REQUESTS.name
USERS = catalogue.USERS.name
TARGET = catalogue.USERS_TARGET.name
STATE = catalogue.RUN_STATE.name
INFO = catalogue.RUN_INFO.name
START = catalogue.RUN_START.name
ELAPSED = catalogue.RUN_ELAPSED.name
ACTIVE = catalogue.RUN_ACTIVE.name
VALID = catalogue.RUN_VALID.name
WORKERS = catalogue.WORKERS.name
WORKERS_EXPECTED = catalogue.WORKERS_EXPECTED.name
CPU = catalogue.WORKER_CPU.name
MEMORY = catalogue.WORKER_MEMORY.name
WORKER_USERS = catalogue.WORKER_USERS.name
LAG = catalogue.GENERATOR_LAG.name
EXPORTS = catalogue.EXPORTS.name
EXPORT_SECONDS = catalogue.EXPORT_DURATION.name
LAST_EXPORT = catalogue.LAST_EXPORT.name
REJECTED = catalogue.REJECTED_POINTS.name
EXPORTER_RESTARTS = catalogue.EXPORTER_RESTARTS.name
REPORTS_MERGED = catalogue.REPORTS_MERGED.name
FOLDED = catalogue.FOLDED_REQUESTS.name
LISTENER_ERRORS = catalogue.LISTENER_ERRORS.name
SERIES = catalogue.SERIES.name
UNRECONCILED = catalogue.UNRECONCILED.name
