"""Tests of the catalogue: names, labels and help texts, and the export of every metric."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

import pytest

from locust_otel.core.catalogue import CATALOGUE, Kind, Metric, Scope
from locust_otel.core.families import HistogramPoint, families
from tests.unit.factories import Load, rich_snapshot, snapshot

_UNITS = {"s": "_seconds", "By": "_bytes", "1": "", "": ""}

METRICS = """
locust_requests_total counter run_id method name user_class outcome
locust_request_duration_seconds histogram run_id method name user_class outcome
locust_request_errors_total counter run_id method name error_type
locust_slow_requests_total counter run_id method name user_class
locust_response_body_bytes_total counter run_id method name
locust_user_errors_total counter run_id user_class error_type
locust_users gauge run_id user_class
locust_users_target gauge run_id user_class
locust_run_state gauge run_id state
locust_run_info gauge run_id host locustfile profile version
locust_run_start_time_seconds gauge run_id
locust_run_elapsed_seconds gauge run_id
locust_run_active gauge run_id
locust_run_valid gauge run_id
locust_run_invalid gauge run_id reason
locust_workers gauge run_id state
locust_workers_expected gauge run_id
locust_slo_events_total counter run_id slo slo_service outcome
locust_slo_mean_seconds_total counter run_id slo slo_service
locust_slo_mean_requests_total counter run_id slo slo_service
locust_slo_objective_ratio gauge run_id slo slo_service
locust_slo_threshold_seconds gauge run_id slo slo_service
locust_slo_min_requests gauge run_id slo slo_service
locust_slo_status gauge run_id slo slo_service status
locust_marks_total counter run_id mark kind
locust_worker_cpu_utilization_ratio gauge run_id worker
locust_worker_memory_bytes gauge run_id worker
locust_worker_users gauge run_id worker
locust_generator_lag_seconds histogram run_id worker
locust_schedule_lag_seconds histogram run_id worker
locust_otel_exports_total counter exporter outcome
locust_otel_export_seconds_total counter exporter outcome
locust_otel_last_export_timestamp_seconds gauge exporter
locust_otel_rejected_points_total counter exporter
locust_otel_exporter_restarts_total counter
locust_otel_reports_merged_total counter
locust_otel_folded_requests_total counter
locust_otel_listener_errors_total counter
locust_otel_series gauge
locust_otel_unreconciled_requests gauge
locust_otel_build_info gauge version python_version
"""
"""Name, type and labels of each metric; users' queries depend on them."""


def test_names_types_and_labels() -> None:
    """Each metric has its name, type and labels, and there are no others."""
    assert [" ".join((m.name, m.kind.value, *m.labels)) for m in CATALOGUE] == METRICS.strip().splitlines()


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.otlp)
def test_conventions(metric: Metric) -> None:
    """Both names follow from each other by OpenTelemetry's rules; labels have plain names; help is one sentence."""
    expected = metric.otlp.replace(".", "_") + _UNITS[metric.unit]
    if metric.unit == "1" and metric.kind is Kind.GAUGE:
        expected += "_ratio"
    if metric.kind is Kind.COUNTER:
        expected += "_total"
    assert metric.name == expected
    assert re.fullmatch(r"locust(_otel)?(\.[a-z_]+)+", metric.otlp)
    assert re.fullmatch(r"[A-Z0-9][^\n]+\.", metric.help)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in metric.labels)
    assert not {"job", "instance", "le", "quantile"} & set(metric.labels)
    assert (metric.labels[:1] == ("run_id",)) == (metric.scope is not Scope.HEALTH)
    assert metric.name.startswith("locust_otel_") == (metric.scope is Scope.HEALTH)


def test_names_are_unique() -> None:
    """No two metrics share a name, also with the suffixes that Prometheus adds; Locust's `--otel` has other names."""
    names = Counter(metric.otlp for metric in CATALOGUE)
    names.update(["locust.client.duration", "locust.users.count"])
    for metric in CATALOGUE:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        names.update(metric.name + suffix for suffix in suffixes)
        names[metric.name.removesuffix("_total") + " (family)"] += 1
    assert set(names.values()) == {1}


def test_every_metric_is_exported() -> None:
    """A rich snapshot has each metric once, in the order of the catalogue, and no others."""
    assert [family.metric for family in families(rich_snapshot())] == list(CATALOGUE)


def test_every_metric_has_a_value_that_is_not_zero() -> None:
    """A rich snapshot or a valid run gives each metric a value other than zero."""
    metrics = set()
    for family in chain(families(rich_snapshot()), families(snapshot(Load(slow_s=1, max_names=1)))):
        for point in family.points:
            value = sum(point.counts.values()) * point.sum if isinstance(point, HistogramPoint) else point.value
            if value:
                metrics.add(family.metric)
    assert metrics == set(CATALOGUE)
