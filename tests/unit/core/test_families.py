"""Tests of the families: every number of a snapshot, with its name and labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from locust_otel.core import catalogue
from locust_otel.core.catalogue import CATALOGUE, Scope
from locust_otel.core.families import ALL_SCOPES, MASTER_SCOPES, WORKER_SCOPES, HistogramPoint, families
from locust_otel.core.snapshot import SeriesKey, Snapshot
from tests.unit.factories import Load, health, record, rich_load, rich_snapshot, snapshot, worker


def values(taken: Snapshot, scopes: frozenset[Scope] = ALL_SCOPES) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values by name and label values; the value of a histogram is its count."""
    by_name: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families(taken, scopes):
        points = by_name.setdefault(family.metric.name, {})
        for point in family.points:
            assert len(point.labels) == len(family.label_names)
            assert point.labels not in points
            points[point.labels] = sum(point.counts.values()) if isinstance(point, HistogramPoint) else point.value
    return by_name


def test_values_of_a_rich_snapshot() -> None:
    """Each number of the snapshot has its name and labels."""
    expected: Mapping[str, dict[tuple[str, ...], float]] = {
        "locust_requests_total": {
            ("run-1", "GET", "/", "Shopper", "success"): 6,
            ("run-1", "GET", "/", "Shopper", "failure"): 2,
            ("run-1", "POST", "/buy", "Admin", "success"): 2,
            ("run-1", "POST", "/buy", "Admin", "failure"): 0,
            ("run-1", "POST", "/buy", "", "success"): 3,
            ("run-1", "POST", "/buy", "", "failure"): 0,
        },
        "locust_request_duration_seconds": {
            ("run-1", "GET", "/", "Shopper", "success"): 6,
            ("run-1", "GET", "/", "Shopper", "failure"): 2,
            ("run-1", "POST", "/buy", "Admin", "success"): 2,
            ("run-1", "POST", "/buy", "", "success"): 1,
        },
        "locust_request_errors_total": {
            ("run-1", "GET", "/", "500"): 1,
            ("run-1", "GET", "/", "ConnectTimeout"): 1,
        },
        "locust_slow_requests_total": {
            ("run-1", "GET", "/", "Shopper"): 2,
            ("run-1", "POST", "/buy", "Admin"): 0,
            ("run-1", "POST", "/buy", ""): 0,
        },
        "locust_response_body_bytes_total": {("run-1", "GET", "/"): 6_020, ("run-1", "POST", "/buy"): 14},
        "locust_user_errors_total": {("run-1", "Shopper", "KeyError"): 9},
        "locust_users": {("run-1", "Shopper"): 7, ("run-1", "Admin"): 2},
        "locust_users_target": {("run-1", "Shopper"): 10, ("run-1", "Admin"): 3},
        "locust_run_state": {
            ("run-1", "spawning"): 0, ("run-1", "running"): 1, ("run-1", "stopping"): 0, ("run-1", "stopped"): 0,
            ("run-1", "lost"): 0,
        },
        "locust_run_info": {("run-1", "http://shop", "shop.py", "p"): 1},
        "locust_run_start_time_seconds": {("run-1",): 1_764_000_000.25},
        "locust_run_elapsed_seconds": {("run-1",): 61.5},
        "locust_run_active": {("run-1",): 1},
        "locust_run_valid": {("run-1",): 0},
        "locust_run_invalid": {("run-1", "cpu"): 0, ("run-1", "lag"): 0, ("run-1", "workers"): 1},
        "locust_marks_total": {("run-1", "deploy v2", "deployment"): 2},
        "locust_slo_events_total": {
            ("run-1", "availability", "shop", "good"): 11, ("run-1", "availability", "shop", "bad"): 2,
            ("run-1", "latency", "shop", "good"): 9, ("run-1", "latency", "shop", "bad"): 2,
        },
        "locust_slo_mean_seconds_total": {("run-1", "mean", "shop"): 73.13345},
        "locust_slo_mean_requests_total": {("run-1", "mean", "shop"): 11},
        "locust_slo_objective_ratio": {
            ("run-1", "availability", "shop"): 0.99, ("run-1", "latency", "shop"): 0.75,
        },
        "locust_slo_threshold_seconds": {("run-1", "latency", "shop"): 0.3, ("run-1", "mean", "shop"): 0.5},
        "locust_slo_min_requests": {("run-1", name, "shop"): 10 for name in ("availability", "latency", "mean")},
        "locust_slo_status": {
            ("run-1", name, "shop", status): status == ("met" if name == "latency" else "missed")
            for name in ("availability", "latency", "mean")
            for status in ("met", "missed", "undecided", "invalid")
        },
        "locust_workers": {
            ("run-1", "ready"): 0, ("run-1", "spawning"): 0, ("run-1", "running"): 2, ("run-1", "missing"): 1,
        },
        "locust_workers_expected": {("run-1",): 3},
        "locust_worker_cpu_utilization_ratio": {("run-1", "host-0"): 0.25, ("run-1", "host-1"): 0.25},
        "locust_worker_memory_bytes": {("run-1", "host-0"): 64_000_000, ("run-1", "host-1"): 64_000_000},
        "locust_worker_users": {("run-1", "host-0"): 7, ("run-1", "host-1"): 7},
        "locust_generator_lag_seconds": {("run-1", "host-0"): 1, ("run-1", "host-1"): 2},
        "locust_schedule_lag_seconds": {("run-1", "host-1"): 3},
        "locust_otel_exports_total": {("prometheus", "success"): 5, ("prometheus", "failure"): 2},
        "locust_otel_export_seconds_total": {("prometheus", "success"): 0.125, ("prometheus", "failure"): 0.5},
        "locust_otel_last_export_timestamp_seconds": {("prometheus",): 1_764_000_123.5},
        "locust_otel_rejected_points_total": {("otlp_metrics",): 9},
        "locust_otel_folded_requests_total": {(): 3},
        "locust_otel_listener_errors_total": {(): 4},
        "locust_otel_series": {(): 4},
        "locust_otel_unreconciled_requests": {(): -6},
        "locust_otel_exporter_restarts_total": {(): 2},
        "locust_otel_reports_merged_total": {(): 7},
        "locust_otel_build_info": {("0.1.0", "3.11.2"): 1},
    }  # fmt: skip
    assert values(rich_snapshot()) == expected


def test_sums_are_those_of_the_requests() -> None:
    """The sum of a histogram is the sum of its durations in seconds."""
    sums = {
        (family.metric, *point.labels): point.sum
        for family in families(rich_snapshot())
        for point in family.points
        if isinstance(point, HistogramPoint)
    }
    endpoint = (catalogue.REQUEST_DURATION, "run-1", "GET", "/", "Shopper")
    assert sums[*endpoint, "success"] == pytest.approx(3.1254)
    assert sums[*endpoint, "failure"] == pytest.approx(70.005)
    assert sums[catalogue.GENERATOR_LAG, "run-1", "host-1"] == pytest.approx(0.32)
    assert sums[catalogue.SCHEDULE_LAG, "run-1", "host-1"] == pytest.approx(4.0)


def test_before_the_first_run() -> None:
    """Before the first run there are health and workers, but no requests and no run."""
    taken = snapshot(None, workers=(worker(),), worker_states={"ready": 1}, workers_expected=2)
    exported = values(taken)
    assert exported["locust_workers"]["", "ready"] == 1
    assert exported["locust_workers_expected"] == {("",): 2}
    assert exported["locust_worker_users"] == {("", "host-0"): 7}
    assert exported["locust_otel_series"] == {(): 0}
    assert not [name for name in exported if name.startswith(("locust_request", "locust_run", "locust_users"))]


def test_a_local_run_without_slo_file() -> None:
    """A local run has no worker states and its own process as the generator; no SLO file means no objectives."""
    exported = values(snapshot(rich_load(), workers=(worker(),)))
    assert not [name for name in exported if name.startswith(("locust_workers", "locust_slo_"))]
    assert exported["locust_worker_users"] == {("run-1", "host-0"): 7}


def test_unmeasured_values_are_absent() -> None:
    """A value without a measurement has no point instead of 0."""
    taken = snapshot(rich_load(), workers=(worker(cpu_ratio=None, memory_bytes=None),))
    taken = dataclasses.replace(taken, health=health(unreconciled=None, last_exports={}))
    exported = values(taken)
    assert exported["locust_worker_cpu_utilization_ratio"] == {}
    assert exported["locust_worker_memory_bytes"] == {}
    assert exported["locust_otel_last_export_timestamp_seconds"] == {}
    assert "locust_otel_unreconciled_requests" not in exported


def test_measured_zeros_are_present() -> None:
    """Measured zeros have points."""
    taken = snapshot(Load(slow_s=5, max_names=5), workers=(worker(cpu_ratio=0.0, users=0),))
    taken = dataclasses.replace(taken, health=health(unreconciled=0))
    exported = values(taken)
    assert exported["locust_worker_cpu_utilization_ratio"] == {("run-1", "host-0"): 0}
    assert exported["locust_otel_unreconciled_requests"] == {(): 0}
    assert exported["locust_requests_total"] == {}


@pytest.mark.parametrize(("reasons", "is_valid"), [((), 1), (("lag",), 0)])
def test_one_slow_generator_makes_a_run_invalid(reasons: tuple[str, ...], is_valid: int) -> None:
    """A run is valid while each of its generators keeps up."""
    taken = snapshot(rich_load(), workers=(worker(), worker("host-1", reasons=reasons)))
    assert values(taken)["locust_run_valid"] == {("run-1",): is_valid}


@pytest.mark.parametrize("state", ["spawning", "running", "stopping", "stopped", "lost"])
def test_state_and_activity(state: str) -> None:
    """The current state is 1 and the others are 0."""
    is_active = state not in {"stopped", "lost"}
    exported = values(snapshot(rich_load(), state=state, active=is_active))
    assert {labels[1] for labels, value in exported["locust_run_state"].items() if value} == {state}
    assert len(exported["locust_run_state"]) == 5
    assert exported["locust_run_active"] == {("run-1",): int(is_active)}


def test_run_labels_of_the_user() -> None:
    """The user's labels are labels of the info metric only."""
    info = {"host": "h", "locustfile": "f", "profile": "", "version": "2.47", "git_sha": "3f9a", "team": "a b"}
    for family in families(snapshot(rich_load(), info=info)):
        if family.metric.name == "locust_run_info":
            assert family.label_names == ("run_id", *info)
            assert [point.labels for point in family.points] == [("run-1", *info.values())]
        else:
            assert family.label_names == family.metric.labels


def test_a_failure_alone_has_its_success_at_zero() -> None:
    """An outcome without requests has a point at 0, because a failure ratio needs both outcomes."""
    aggregate = Load(slow_s=5, max_names=5)
    record(aggregate, SeriesKey("GET", "/", "", "failure"), [1])
    assert values(snapshot(aggregate))["locust_requests_total"] == {
        ("run-1", "GET", "/", "", "success"): 0,
        ("run-1", "GET", "/", "", "failure"): 1,
    }


@pytest.mark.parametrize("scopes", [ALL_SCOPES, MASTER_SCOPES, WORKER_SCOPES, frozenset({Scope.HEALTH})], ids=len)
def test_scopes(scopes: frozenset[Scope]) -> None:
    """A process exports all metrics of its scopes, and no others."""
    exported = [family.metric for family in families(rich_snapshot(), scopes)]
    assert exported == [metric for metric in CATALOGUE if metric.scope in scopes]


def test_with_workers_exporting_each_number_has_one_source() -> None:
    """Master and workers share only the scope of their own health."""
    assert {Scope.HEALTH} == MASTER_SCOPES & WORKER_SCOPES
    assert MASTER_SCOPES | WORKER_SCOPES == ALL_SCOPES


@pytest.mark.parametrize("has_run", [True, False])
def test_start_times(has_run: bool) -> None:
    """Metrics of a run start with the run, and metrics of health with the process, like all before the first run."""
    source = snapshot(rich_load() if has_run else None, workers=(worker(),))
    starts = {family.metric: family.start_time for family in families(source)}
    assert starts[catalogue.WORKER_USERS] == (1_764_000_000.25 if has_run else 1_763_999_990.5)
    assert starts[catalogue.LISTENER_ERRORS] == 1_763_999_990.5
