"""Names of recorded series and of alerts: rules make them, dashboards and runbooks refer to them."""

from __future__ import annotations

from collections.abc import Mapping

RUNBOOKS = "https://github.com/locust-otel/locust-otel/blob/main/deploy/runbooks.md"
"""A page with a heading for each alert."""

DASHBOARDS = "http://localhost:3000/d"
"""Address of a dashboard in Grafana, without its uid."""

OBJECTIVE = ("run_id", "slo", "slo_service")
"""Labels of one objective of one run."""

ERROR_RATIO = "locust_slo:error_ratio:rate"
ERROR_RATIO_TO_DATE = "locust_slo:error_ratio:to_date"
BURN_RATE = "locust_slo:burn_rate:rate"
BURN_FACTOR = "locust_slo:burn_rate:factor"
OBJECTIVE_RATIO = "locust_slo:objective:ratio"
BUDGET = "locust_slo:error_budget:ratio"
BUDGET_SPENT = "locust_slo:error_budget:spent"
BUDGET_REMAINING = "locust_slo:error_budget:remaining"
MEAN = "locust_slo:mean_seconds:rate"
MEAN_TO_DATE = "locust_slo:mean_seconds:to_date"
THRESHOLD = "locust_slo:threshold:seconds"
JUDGED = "locust_slo:judged_requests:to_date"
INFO = "locust_slo:objective:info"

ALERTS = "ALERTS"
"""Series in which Prometheus keeps pending and firing alerts: labels of the alert, `alertname` and `alertstate`."""

BUDGET_BURN = "LocustSLOBudgetBurn"
BUDGET_EXHAUSTED = "LocustSLOBudgetExhausted"
MEAN_HIGH = "LocustSLOMeanLatencyHigh"
NO_DATA = "LocustSLONoData"
SLOW_REQUESTS = "LocustSlowRequests"
FAILURES_SPIKE = "LocustFailuresSpike"
GENERATOR_SATURATED = "LocustGeneratorSaturated"
WORKER_MISSING = "LocustWorkerMissing"
USERS_BELOW_TARGET = "LocustUsersBelowTarget"
TELEMETRY_ABSENT = "LocustTelemetryAbsent"
EXPORT_FAILING = "LocustExportFailing"
SERIES_FOLDED = "LocustSeriesFolded"
RUN_ACTIVE = "LocustRunActive"


def is_counted(labels: Mapping[str, str]) -> bool:
    """Return whether an alert counts as one; `LocustRunActive` and others of severity `none` only inhibit others."""
    return labels.get("severity") != "none" and labels.get("alertname") != RUN_ACTIVE
