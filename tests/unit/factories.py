"""Factories for tests: users, events, loads, snapshots, and the samples of an exposition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import gevent
from locust import User
from locust.env import Environment
from locust.event import EventHook
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from locust_otel.core.cardinality import Names
from locust_otel.core.catalogue import Kind, Scope
from locust_otel.core.families import ALL_SCOPES, HistogramPoint, families
from locust_otel.core.histogram import layout
from locust_otel.core.snapshot import (
    ExportCount,
    HealthSnapshot,
    RequestsSnapshot,
    RunSnapshot,
    SeriesKey,
    Snapshot,
    WorkerSnapshot,
)
from locust_otel.exporter.merged import Merged
from locust_otel.plugin.reporter import Reporter
from locust_otel.plugin.series import Requests, Series
from locust_otel.slo.objectives import Objective, Sli, Slo
from locust_otel.slo.progress import Progress, Standing
from locust_otel.wire.report import decode

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"

ODD_TEXTS = (
    "plain", "", 'quo"ted', "new\nline", "back\\slash", "\\n", 'all "\\\n of\\ them"', "ünïcödé 🦗", "100%", "%s %d %%",
    "{curly}", "a,b=c", " blank ", "tab\tand\rreturn", "line\u2028separator", "nul\x00", "# EOF", "_OTHER",
)  # fmt: skip


class Shopper(User):
    """A simulated user."""

    weight = 3


class Admin(User):
    """Another simulated user."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return an environment of Locust without a runner."""
    return Environment(user_classes=[Shopper, Admin])


def user(user_class: type[User] = Shopper) -> User:
    """Return a user in the environment."""
    return user_class(environment())


def fire(listener: Callable[..., None], events: Iterable[Mapping[str, Any]], *greenlet_args: object) -> None:
    """Fire events at the listener in a greenlet with these arguments; assert that the listener raises nothing."""
    raised: list[BaseException] = []

    def guarded(**event: Any) -> None:
        try:
            listener(**event)
        except BaseException as error:
            raised.append(error)
            raise

    hook = EventHook()
    hook.add_listener(guarded)

    def run(*_: object) -> None:
        for event in events:
            hook.fire(**event)

    gevent.spawn(run, *greenlet_args).get()
    assert not raised, raised


def event(**changes: Any) -> dict[str, Any]:
    """Return a request event of Locust's own clients: a success of 12 ms."""
    return {
        "request_type": "GET", "name": "/", "response_time": 12, "response_length": 100, "response": None,
        "exception": None, "context": {}, "start_time": 1.0, "url": "http://shop/", **changes,
    }  # fmt: skip


class Load:
    """Requests that are counted as in Locust's process, reported, and merged as in the exporter."""

    def __init__(
        self,
        *,
        slow_s: float = 5.0,
        max_names: int = 200,
        thresholds_s: Iterable[float] = (),
        group_names: bool = False,
        source: str = "host-0",
    ) -> None:
        self.requests = Requests(slow_s=slow_s, max_names=max_names, thresholds_s=thresholds_s, group_names=group_names)
        self.merged = Merged(self.requests.layout, slow_s, Names(max_names))
        self._reporter = Reporter("run-1", self.requests)
        self._source = source

    def of(self, key: SeriesKey) -> Series:
        """Return a series; tests may add requests to its `pending` list."""
        series = self.requests.of(key)
        self.requests.dirty[series] = None
        return series

    def count_error(self, method: str, name: str, error_type: str, count: int = 1) -> None:
        """Count failed requests."""
        for _ in range(count):
            self.requests.count_error(method, name, error_type)

    def count_user_error(self, user_class: str, error_type: str, count: int = 1) -> None:
        """Count exceptions of users' tasks."""
        for _ in range(count):
            self.requests.count_user_error(user_class, error_type)

    def tally(self) -> None:
        """Count, report and merge all pending requests."""
        self.requests.tally()
        for piece in (*self._reporter.pieces(), self._reporter.last(None)):
            self.merged.merge(self._source, decode(piece))

    def snapshot(self) -> RequestsSnapshot:
        """Return the snapshot of the exporter."""
        self.tally()
        return self.merged.snapshot()

    def total(self) -> int:
        """Return the number of requests."""
        return self.snapshot().total


def record(aggregate: Load, key: SeriesKey, times_ms: Iterable[float], length: int = 0) -> None:
    """Add requests to a series."""
    pending = aggregate.of(key).pending
    for time_ms in times_ms:
        pending += (time_ms, length)
    aggregate.tally()


def totals(requests: RequestsSnapshot) -> dict[tuple[str, ...], int]:
    """Return the number of requests by series."""
    return {tuple(series.key): series.total for series in requests.series}


def worker(
    name: str = "host-0", *, lags_s: Iterable[float] = (0.001,), late_s: Iterable[float] = (), **changes: Any
) -> WorkerSnapshot:
    """Return a generating process with these delays of its event loop and of its users' schedules."""
    lags, late = list(lags_s), list(late_s)
    values: dict[str, Any] = {"cpu_ratio": 0.25, "memory_bytes": 64_000_000, "users": 7, **changes}
    if late:
        values |= {"schedule_counts": _counted(late), "schedule_sum_s": sum(late)}
    return WorkerSnapshot(worker=name, lag_counts=_counted(lags), lag_sum_s=sum(lags), **values)


def _counted(seconds: Iterable[float]) -> Counter[int]:
    bounds = layout().bounds
    return Counter(next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds)) for value in seconds)


def health(**changes: Any) -> HealthSnapshot:
    """Return a health in which no value is zero."""
    values: dict[str, Any] = {
        "exports": (ExportCount("prometheus", "success", 5, 0.125), ExportCount("prometheus", "failure", 2, 0.5)),
        "last_exports": {"prometheus": 1_764_000_123.5},
        "rejected_points": {"otlp_metrics": 9},
        "folded_requests": 3,
        "listener_errors": 4,
        "unreconciled": -6,
        "restarts": 2,
        "merged_reports": 7,
        "versions": {"version": "0.1.0", "python_version": "3.11.2"},
        **changes,
    }
    return HealthSnapshot(**values)


def snapshot(
    aggregate: Load | None,
    *,
    run_id: str = "run-1",
    info: Mapping[str, str] | None = None,
    workers: tuple[WorkerSnapshot, ...] = (),
    worker_states: Mapping[str, int] | None = None,
    workers_expected: int | None = None,
    **run_changes: Any,
) -> Snapshot:
    """Return the snapshot of a process with this load, or with None before its first run."""
    run = None
    if aggregate is not None:
        values: dict[str, Any] = {
            "state": "running",
            "active": True,
            "start_time": 1_764_000_000.25,
            "elapsed_s": 61.5,
            "users": {"Shopper": 7, "Admin": 2},
            "users_target": {"Shopper": 10, "Admin": 3},
            **run_changes,
        }
        run = RunSnapshot(
            run_id=run_id,
            info=info if info is not None else {"host": "http://shop", "locustfile": "shop.py", "profile": "p"},
            requests=aggregate.snapshot(),
            **values,
        )
    return Snapshot(
        time=1_764_000_061.75,
        process_start_time=1_763_999_990.5,
        run=run,
        worker_states=worker_states or {},
        workers_expected=workers_expected,
        workers=workers,
        health=health(),
    )


def rich_load() -> Load:
    """Return a load in which no number is zero: outcomes, errors, slow requests, bodies, user errors."""
    aggregate = Load(slow_s=2.0, max_names=5, thresholds_s=(0.3,))
    record(aggregate, SeriesKey("GET", "/", "Shopper", "success"), [1, 12, 12.5, 299.9, 300, 2500], 1_000)
    record(aggregate, SeriesKey("GET", "/", "Shopper", "failure"), [5, 70_000], 10)
    record(aggregate, SeriesKey("POST", "/buy", "Admin", "success"), [0, 0.05], 7)
    record(aggregate, SeriesKey("POST", "/buy", "", "success"), [3])
    aggregate.of(SeriesKey("POST", "/buy", "", "success")).unmeasured = 2
    aggregate.count_error("GET", "/", "500", 1)
    aggregate.count_error("GET", "/", "ConnectTimeout", 1)
    aggregate.count_user_error("Shopper", "KeyError", 9)
    return aggregate


def objectives(**changes: Any) -> Slo:
    """Return an SLO file with an objective of each kind; `within` of the latency is 0.3 s."""
    values: dict[str, Any] = {
        "service": "shop", "period_s": Decimal(1800), "scrape_interval_s": Decimal(5), "warmup_s": Decimal(0),
        "min_requests": 10, "slow_s": Decimal(2), "windows": (),
        "objectives": (
            Objective("availability", Sli.SUCCESS, Decimal("0.99")),
            Objective("latency", Sli.LATENCY, Decimal("0.75"), Decimal("0.3")),
            Objective("mean", Sli.MEAN, within_s=Decimal("0.5")),
        ),
        **changes,
    }  # fmt: skip
    return Slo(**values)


def judged(aggregate: Load) -> Standing:
    """Return the state of the objectives after these requests, in a run without a warm-up."""
    return Progress(objectives(), 1_764_000_000.25).judge(aggregate.snapshot(), 61.5)


MARKS = {("deploy v2", "deployment"): 2}
"""Marks of `rich_snapshot`."""


def rich_snapshot() -> Snapshot:
    """Return a snapshot of a distributed run in which every metric has a value other than zero."""
    aggregate = rich_load()
    return snapshot(
        aggregate,
        slo=judged(aggregate).points(),
        marks=MARKS,
        workers=(worker(), worker("host-1", lags_s=(0.02, 0.3), late_s=(0.0, 1.5, 2.5))),
        worker_states={"running": 2, "missing": 1},
        workers_expected=3,
    )


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Values by sample name and labels; `le` is a number, because parsers return 1 or 1.0."""


def sample_key(name: str, labels: Mapping[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return a key of `Samples`; a label with an empty value is left out."""
    texts = {k: repr(float(v)) if k == "le" else v for k, v in labels.items() if v != ""}
    return name, frozenset(texts.items())


def expected_samples(taken: Snapshot, scopes: frozenset[Scope] = ALL_SCOPES) -> Samples:
    """Return the samples of a snapshot's families, with buckets counted independently of the layout."""
    samples: Samples = {}
    for family in families(taken, scopes):
        name = family.metric.name
        for point in family.points:
            labels = dict(zip(family.label_names, point.labels, strict=True))
            if not isinstance(point, HistogramPoint):
                samples[sample_key(name, labels)] = float(point.value)
                continue
            assert family.metric.kind is Kind.HISTOGRAM
            bounds = [*point.layout.bounds, float("inf")]
            for edge in [*point.layout.classic_bounds, float("inf")]:
                below = sum(n for index, n in point.counts.items() if bounds[index] <= edge)
                samples[sample_key(f"{name}_bucket", {**labels, "le": repr(edge)})] = below
            samples[sample_key(f"{name}_sum", labels)] = point.sum
            samples[sample_key(f"{name}_count", labels)] = sum(point.counts.values())
    return samples


def parsed_samples(text: str, *, openmetrics: bool) -> Samples:
    """Return the samples that prometheus_client's parser reads; a duplicate sample is an error."""
    samples: Samples = {}
    for family in (parse_openmetrics if openmetrics else parse_text)(text):
        for sample in family.samples:
            key = sample_key(sample.name, sample.labels)
            assert key not in samples, key
            samples[key] = float(sample.value)
    return samples
