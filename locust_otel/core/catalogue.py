"""Every metric this package exports: name, type, unit, labels and help text, spelled once.

Exporters, rules, dashboards and `docs/metrics.md` take them from here. The two names of a metric translate into each
other by the rules OpenTelemetry states for Prometheus: dots become underscores, the unit is appended in words, and
`_total` ends a counter.
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

OTHER = "_OTHER"
"""The label value that takes what went over a limit; OpenTelemetry uses it the same way."""


class Kind(Enum):
    """Type of a metric, in the words of the Prometheus exposition."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scope(Enum):
    """What a metric tells of, and so which process exports it: each number has one source.

    With one merged endpoint the master (or a local run) exports all of them. Where workers export too, each of them
    has its own `REQUESTS`, `GENERATOR` and `HEALTH`, and the master only `RUN`, `SLO` and its own `HEALTH`.
    """

    REQUESTS = "requests"
    RUN = "run"
    SLO = "objectives"
    GENERATOR = "load generator"
    HEALTH = "health of the bridge"


_UNIT_WORDS = {"s": "seconds", "By": "bytes"}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        otlp: Name over OTLP, `locust.request.duration`.
        kind: Its type.
        scope: What it tells of.
        help: One sentence, as it stands in the exposition.
        labels: Label names in their order; `run labels` of the user come on top for `RUN_INFO`.
        unit: UCUM code, `s`, `By` or `1`; empty for what has no unit.
    """

    otlp: str
    kind: Kind
    scope: Scope
    help: str
    labels: tuple[str, ...] = ("run_id",)
    unit: str = ""

    @property
    def name(self) -> str:
        """Name on Prometheus, `locust_request_duration_seconds`."""
        name = self.otlp.replace(".", "_")
        if self.unit in _UNIT_WORDS:
            name += f"_{_UNIT_WORDS[self.unit]}"
        elif self.unit == "1" and self.kind is Kind.GAUGE:
            name += "_ratio"
        return f"{name}_total" if self.kind is Kind.COUNTER else name


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ENDPOINT = ("run_id", "method", "name")

REQUESTS = Metric(
    "locust.requests", _C, Scope.REQUESTS, "Requests of the run, by outcome as Locust judged it.",
    (*_ENDPOINT, "user_class", "outcome"),
)  # fmt: skip
REQUEST_DURATION = Metric(
    "locust.request.duration", _H, Scope.REQUESTS, "Response times, of all requests that have one.",
    (*_ENDPOINT, "user_class", "outcome"), "s",
)  # fmt: skip
REQUEST_ERRORS = Metric(
    "locust.request.errors", _C, Scope.REQUESTS,
    "Failed requests, by HTTP status from 400 up or else by the class of the exception.",
    (*_ENDPOINT, "error_type"),
)  # fmt: skip
SLOW_REQUESTS = Metric(
    "locust.slow_requests", _C, Scope.REQUESTS, "Requests slower than --slow-request, failed ones too.",
    (*_ENDPOINT, "user_class"),
)  # fmt: skip
RESPONSE_BODY = Metric(
    "locust.response.body", _C, Scope.REQUESTS, "Bytes of response bodies, as far as Locust knows their length.",
    _ENDPOINT, "By",
)  # fmt: skip
USER_ERRORS = Metric(
    "locust.user_errors", _C, Scope.REQUESTS, "Exceptions that escaped from a user's task.",
    ("run_id", "user_class", "error_type"),
)  # fmt: skip

USERS = Metric("locust.users", _G, Scope.RUN, "Simulated users running now.", ("run_id", "user_class"))
USERS_TARGET = Metric(
    "locust.users.target", _G, Scope.RUN, "Simulated users asked for; 0 once the run has stopped.",
    ("run_id", "user_class"),
)  # fmt: skip
RUN_STATE = Metric(
    "locust.run.state", _G, Scope.RUN, "1 for the state the run is in, 0 for the others.", ("run_id", "state")
)
RUN_INFO = Metric(
    "locust.run.info", _G, Scope.RUN, "Always 1; what is run, with Locust's version and the labels of --run-label.",
    ("run_id", "host", "locustfile", "profile", "version"),
)  # fmt: skip
RUN_START = Metric("locust.run.start_time", _G, Scope.RUN, "When the run started, in Unix time.", unit="s")
RUN_ELAPSED = Metric(
    "locust.run.elapsed",
    _G,
    Scope.RUN,
    "Seconds since the run started; stands still once it has stopped.",
    unit="s",
)
RUN_ACTIVE = Metric("locust.run.active", _G, Scope.RUN, "1 from the start of the run to its stop, then 0.")
RUN_VALID = Metric(
    "locust.run.valid", _G, Scope.RUN,
    "1 while the load generator keeps up; 0 while it is too slow for its latencies to be believed.",
)  # fmt: skip
RUN_INVALID = Metric(
    "locust.run.invalid", _G, Scope.RUN,
    "1 for each reason for which locust_run_valid is 0: no CPU left, a late event loop, workers missing.",
    ("run_id", "reason"),
)  # fmt: skip
WORKERS = Metric(
    "locust.workers", _G, Scope.RUN, "Workers by state, as Locust's master sees them.", ("run_id", "state")
)
WORKERS_EXPECTED = Metric(
    "locust.workers.expected", _G, Scope.RUN, "Workers asked for, or those there and missing where more came."
)

_OBJECTIVE = ("run_id", "slo", "slo_service")
SLO_EVENTS = Metric(
    "locust.slo.events", _C, Scope.SLO, "Requests judged since the warm-up, by objective.", (*_OBJECTIVE, "outcome")
)
SLO_MEAN_SECONDS = Metric(
    "locust.slo.mean", _C, Scope.SLO, "Sum of the durations judged since the warm-up, of objectives on the mean.",
    _OBJECTIVE, "s",
)  # fmt: skip
SLO_MEAN_REQUESTS = Metric(
    "locust.slo.mean.requests", _C, Scope.SLO, "Requests judged since the warm-up, of objectives on the mean.",
    _OBJECTIVE,
)  # fmt: skip
SLO_OBJECTIVE = Metric(
    "locust.slo.objective", _G, Scope.SLO, "Share of good requests that is asked for.", _OBJECTIVE, "1"
)
SLO_THRESHOLD = Metric(
    "locust.slo.threshold", _G, Scope.SLO, "Duration that is asked for: of a request, or on average.", _OBJECTIVE, "s"
)
SLO_MIN_REQUESTS = Metric(
    "locust.slo.min_requests", _G, Scope.SLO, "Judged requests below which nothing is decided.", _OBJECTIVE
)
SLO_STATUS = Metric(
    "locust.slo.status", _G, Scope.SLO, "1 for how the objective stands so far, 0 for the others.",
    (*_OBJECTIVE, "status"),
)  # fmt: skip
MARKS = Metric(
    "locust.marks", _C, Scope.RUN, "What was marked in the run: faults, deployments, an abort.",
    ("run_id", "mark", "kind"),
)  # fmt: skip

WORKER_CPU = Metric(
    "locust.worker.cpu.utilization", _G, Scope.GENERATOR,
    "Share of one CPU core the generating process used over the last second; it can use no more than 1.",
    ("run_id", "worker"), "1",
)  # fmt: skip
WORKER_MEMORY = Metric(
    "locust.worker.memory",
    _G,
    Scope.GENERATOR,
    "Resident memory of the generating process.",
    ("run_id", "worker"),
    "By",
)
WORKER_USERS = Metric(
    "locust.worker.users", _G, Scope.GENERATOR, "Simulated users on this worker.", ("run_id", "worker")
)
GENERATOR_LAG = Metric(
    "locust.generator.lag", _H, Scope.GENERATOR,
    "How late the event loop of the generating process wakes up what is due; added to latencies it measures.",
    ("run_id", "worker"), "s",
)  # fmt: skip

SCHEDULE_LAG = Metric(
    "locust.schedule.lag", _H, Scope.GENERATOR,
    "How late tasks of users with constant_pacing or constant_throughput begin; what was asked less often meanwhile.",
    ("run_id", "worker"), "s",
)  # fmt: skip

_HEALTH: tuple[str, ...] = ()
EXPORTS = Metric(
    "locust_otel.exports",
    _C,
    Scope.HEALTH,
    "Scrapes answered and pushes made, by outcome.",
    ("exporter", "outcome"),
)
EXPORT_DURATION = Metric(
    "locust_otel.export", _C, Scope.HEALTH, "Seconds spent on exports, waits for the network included.",
    ("exporter", "outcome"), "s",
)  # fmt: skip
LAST_EXPORT = Metric(
    "locust_otel.last_export.timestamp", _G, Scope.HEALTH, "When an export last succeeded, in Unix time.",
    ("exporter",), "s",
)  # fmt: skip
REJECTED_POINTS = Metric(
    "locust_otel.rejected_points", _C, Scope.HEALTH,
    "Points and records that the other side took a push without, and said so.", ("exporter",),
)  # fmt: skip
EXPORTER_RESTARTS = Metric(
    "locust_otel.exporter.restarts", _C, Scope.HEALTH,
    "Times that the exporter process was replaced after it had died.", _HEALTH,
)  # fmt: skip
REPORTS_MERGED = Metric(
    "locust_otel.reports.merged", _C, Scope.HEALTH,
    "Reports merged into the next one because the exporter had not read the last one yet.", _HEALTH,
)  # fmt: skip
FOLDED_REQUESTS = Metric(
    "locust_otel.folded_requests", _C, Scope.HEALTH,
    "Requests counted under the name _OTHER since --max-request-names was reached.", _HEALTH,
)  # fmt: skip
LISTENER_ERRORS = Metric(
    "locust_otel.listener_errors", _C, Scope.HEALTH, "Events and worker reports this bridge could not make sense of.",
    _HEALTH,
)  # fmt: skip
SERIES = Metric(
    "locust_otel.series",
    _G,
    Scope.HEALTH,
    "Request series held: method, name, user class and outcome.",
    _HEALTH,
)
UNRECONCILED = Metric(
    "locust_otel.unreconciled_requests", _G, Scope.HEALTH,
    "Requests Locust counted in this run less the requests recorded here; anything but 0 is a fault.", _HEALTH,
)  # fmt: skip
BUILD_INFO = Metric(
    "locust_otel.build_info", _G, Scope.HEALTH, "Always 1; versions of this bridge and of Python.",
    ("version", "python_version"),
)  # fmt: skip

CATALOGUE: tuple[Metric, ...] = tuple(m for m in dict(globals()).values() if isinstance(m, Metric))
"""All of them, in the order of export."""

RUN_STATES = ("spawning", "running", "stopping", "stopped", "lost")
WORKER_STATES = ("ready", "spawning", "running", "missing")
OUTCOMES = ("success", "failure")
INVALID_REASONS = ("cpu", "lag", "workers")
SLO_STATUSES = ("met", "missed", "undecided", "invalid")
