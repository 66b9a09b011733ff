"""Catalogue of all exported metrics: name, type, unit, labels and help text.

Exporters, rules, dashboards and `docs/metrics.md` read it. The Prometheus name follows from the OTLP name by
OpenTelemetry's rules: dots become underscores, the unit is appended as a word, and a counter ends with `_total`.
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial

OTHER = "_OTHER"
"""Label value for all values beyond a limit, as in OpenTelemetry."""


class Kind(Enum):
    """Type of a metric, in the words of the Prometheus exposition."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scope(Enum):
    """Subject of a metric; it decides which process exports the metric, so that each number has one source.

    With one merged endpoint the master (or a local run) exports all scopes. If workers export too, each worker exports
    its own `REQUESTS`, `GENERATOR` and `HEALTH`, and the master only `RUN`, `SLO` and its own `HEALTH`.
    """

    REQUESTS = "requests"
    RUN = "run"
    SLO = "objectives"
    GENERATOR = "load generator"
    HEALTH = "health of locust-otel"


UNIT_WORDS = {"s": "seconds", "By": "bytes", "1": "ratio"}
"""Suffixes of Prometheus names, by unit."""


@dataclass(frozen=True)
class Metric:
    """One metric."""

    scope: Scope
    kind: Kind
    otlp: str  # name over OTLP, `locust.request.duration`
    labels: tuple[str, ...]  # label names in order; `RUN_INFO` has the user's run labels after them
    unit: str  # UCUM code `s`, `By` or `1`; empty without a unit
    help: str  # one sentence, as in the exposition

    @cached_property
    def name(self) -> str:
        """Name on Prometheus, `locust_request_duration_seconds`."""
        name = self.otlp.replace(".", "_")
        if self.unit and (self.unit != "1" or self.kind is Kind.GAUGE):
            name += f"_{UNIT_WORDS[self.unit]}"
        return f"{name}_total" if self.kind is Kind.COUNTER else name


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_request = partial(Metric, Scope.REQUESTS)
_run = partial(Metric, Scope.RUN)
_slo = partial(Metric, Scope.SLO)
_generator = partial(Metric, Scope.GENERATOR)
_health = partial(Metric, Scope.HEALTH)

_RUN = ("run_id",)
_ENDPOINT = ("run_id", "method", "name")
_SERIES = (*_ENDPOINT, "user_class", "outcome")
_OBJECTIVE = ("run_id", "slo", "slo_service")
_WORKER = ("run_id", "worker")
_EXPORT = ("exporter", "outcome")

# A table: kind, name, labels and unit in the first line of each metric, its help in the second.
# fmt: off
REQUESTS = _request(_C, "locust.requests", _SERIES, "",
    "Requests of the run, by the outcome that Locust recorded.")
REQUEST_DURATION = _request(_H, "locust.request.duration", _SERIES, "s",
    "Response times of all requests that have one.")
REQUEST_ERRORS = _request(_C, "locust.request.errors", (*_ENDPOINT, "error_type"), "",
    "Failed requests, by HTTP status (400 or above) or else by the class of the exception.")
SLOW_REQUESTS = _request(_C, "locust.slow_requests", (*_ENDPOINT, "user_class"), "",
    "Requests slower than --slow-request, including failed requests.")
RESPONSE_BODY = _request(_C, "locust.response.body", _ENDPOINT, "By",
    "Bytes of response bodies whose length Locust knows.")
USER_ERRORS = _request(_C, "locust.user_errors", ("run_id", "user_class", "error_type"), "",
    "Exceptions that a user's task did not catch.")

USERS = _run(_G, "locust.users", ("run_id", "user_class"), "",
    "Simulated users running now.")
USERS_TARGET = _run(_G, "locust.users.target", ("run_id", "user_class"), "",
    "Requested simulated users; 0 once the run has stopped.")
RUN_STATE = _run(_G, "locust.run.state", ("run_id", "state"), "",
    "1 for the current state of the run, 0 for the others.")
RUN_INFO = _run(_G, "locust.run.info", ("run_id", "host", "locustfile", "profile", "version"), "",
    "Always 1; its labels are the host, locustfile, profile, Locust's version and the labels of --run-label.")
RUN_START = _run(_G, "locust.run.start_time", _RUN, "s",
    "Start of the run, in Unix time.")
RUN_ELAPSED = _run(_G, "locust.run.elapsed", _RUN, "s",
    "Seconds since the start of the run; constant once the run has stopped.")
RUN_ACTIVE = _run(_G, "locust.run.active", _RUN, "",
    "1 from the start of the run to its stop, then 0.")
RUN_VALID = _run(_G, "locust.run.valid", _RUN, "",
    "1 while the load generator keeps up; 0 while it is too slow, or workers are missing.")
RUN_INVALID = _run(_G, "locust.run.invalid", ("run_id", "reason"), "",
    "1 for each reason why locust_run_valid is 0: no free CPU, a late event loop, missing workers.")
WORKERS = _run(_G, "locust.workers", ("run_id", "state"), "",
    "Workers by state, as reported by Locust's master.")
WORKERS_EXPECTED = _run(_G, "locust.workers.expected", _RUN, "",
    "Requested workers, or the connected and missing workers if these are more.")

SLO_EVENTS = _slo(_C, "locust.slo.events", (*_OBJECTIVE, "outcome"), "",
    "Requests judged since the warm-up, by objective.")
SLO_MEAN_SECONDS = _slo(_C, "locust.slo.mean", _OBJECTIVE, "s",
    "Sum of the durations judged since the warm-up, for objectives on the mean.")
SLO_MEAN_REQUESTS = _slo(_C, "locust.slo.mean.requests", _OBJECTIVE, "",
    "Requests judged since the warm-up, for objectives on the mean.")
SLO_OBJECTIVE = _slo(_G, "locust.slo.objective", _OBJECTIVE, "1",
    "Target share of good requests.")
SLO_THRESHOLD = _slo(_G, "locust.slo.threshold", _OBJECTIVE, "s",
    "Target duration, of each request or of the mean.")
SLO_MIN_REQUESTS = _slo(_G, "locust.slo.min_requests", _OBJECTIVE, "",
    "Number of judged requests below which the objective is undecided.")
SLO_STATUS = _slo(_G, "locust.slo.status", (*_OBJECTIVE, "status"), "",
    "1 for the current status of the objective, 0 for the others.")

MARKS = _run(_C, "locust.marks", ("run_id", "mark", "kind"), "",
    "Marks of the run: faults, deployments, an abort.")

WORKER_CPU = _generator(_G, "locust.worker.cpu.utilization", _WORKER, "1",
    "Share of one CPU core that the generating process used over the last second; at most 1.")
WORKER_MEMORY = _generator(_G, "locust.worker.memory", _WORKER, "By",
    "Resident memory of the generating process.")
WORKER_USERS = _generator(_G, "locust.worker.users", _WORKER, "",
    "Simulated users on this worker.")
GENERATOR_LAG = _generator(_H, "locust.generator.lag", _WORKER, "s",
    "Delay of the event loop of the generating process; the measured latencies include it.")
SCHEDULE_LAG = _generator(_H, "locust.schedule.lag", _WORKER, "s",
    "Delay of tasks of users with constant_pacing or constant_throughput; these users then send fewer requests.")

EXPORTS = _health(_C, "locust_otel.exports", _EXPORT, "",
    "Scrapes and pushes, by outcome.")
EXPORT_DURATION = _health(_C, "locust_otel.export", _EXPORT, "s",
    "Seconds spent on exports, including waits for the network.")
LAST_EXPORT = _health(_G, "locust_otel.last_export.timestamp", ("exporter",), "s",
    "Time of the last successful export, in Unix time.")
REJECTED_POINTS = _health(_C, "locust_otel.rejected_points", ("exporter",), "",
    "Data points and log records rejected by the OTLP receiver (partial success).")
EXPORTER_RESTARTS = _health(_C, "locust_otel.exporter.restarts", (), "",
    "Restarts of the exporter process after it died.")
REPORTS_MERGED = _health(_C, "locust_otel.reports.merged", (), "",
    "Reports merged into the next report because the exporter had not read the previous one yet.")
FOLDED_REQUESTS = _health(_C, "locust_otel.folded_requests", (), "",
    "Requests counted under the name _OTHER because --max-request-names was reached.")
LISTENER_ERRORS = _health(_C, "locust_otel.listener_errors", (), "",
    "Events and worker reports that locust-otel could not process.")
SERIES = _health(_G, "locust_otel.series", (), "",
    "Request series in memory; each is a method, name, user class and outcome.")
UNRECONCILED = _health(_G, "locust_otel.unreconciled_requests", (), "",
    "Requests that Locust counted in this run minus the requests recorded here; any value but 0 is a fault.")
BUILD_INFO = _health(_G, "locust_otel.build_info", ("version", "python_version"), "",
    "Always 1; versions of locust-otel and of Python.")
# fmt: on

CATALOGUE: tuple[Metric, ...] = tuple(m for m in dict(globals()).values() if isinstance(m, Metric))
"""All metrics, in the order of export."""

RUN_STATES = ("spawning", "running", "stopping", "stopped", "lost")
WORKER_STATES = ("ready", "spawning", "running", "missing")
OUTCOMES = ("success", "failure")
INVALID_REASONS = ("cpu", "lag", "workers")
SLO_STATUSES = ("met", "missed", "undecided", "invalid")
