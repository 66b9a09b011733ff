"""Tests of the catalogue: names by the rules, and nothing in it that is not exported."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

import pytest
from prometheus_client.metrics_core import METRIC_TYPES

from locust_otel.core import catalogue
from locust_otel.core.catalogue import CATALOGUE, Kind, Metric, Scope
from locust_otel.core.families import HistogramPoint, families
from tests.unit.factories import Load, rich_snapshot, snapshot

_UNITS = {"s": "_seconds", "By": "_bytes", "1": "", "": ""}

DESIGN = """
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
locust_workers gauge run_id state
locust_workers_expected gauge run_id
locust_worker_cpu_utilization_ratio gauge run_id worker
locust_worker_memory_bytes gauge run_id worker
locust_worker_users gauge run_id worker
locust_generator_lag_seconds histogram run_id worker
locust_run_valid gauge run_id
locust_slo_events_total counter run_id slo slo_service outcome
locust_slo_objective_ratio gauge run_id slo slo_service
locust_slo_threshold_seconds gauge run_id slo slo_service
locust_slo_min_requests gauge run_id slo slo_service
locust_slo_status gauge run_id slo slo_service status
locust_marks_total counter run_id mark kind
locust_otel_exports_total counter exporter outcome
locust_otel_export_seconds_total counter exporter outcome
locust_otel_last_export_timestamp_seconds gauge exporter
locust_otel_folded_requests_total counter
locust_otel_listener_errors_total counter
locust_otel_exporter_restarts_total counter
locust_otel_reports_merged_total counter
locust_otel_series gauge
locust_otel_unreconciled_requests gauge
locust_otel_build_info gauge version python_version
"""


def test_names_types_and_labels_are_those_of_the_design() -> None:
    """Each metric of the design is there, under its name, with its type and labels."""
    found = {" ".join((m.name, m.kind.value, *m.labels)) for m in CATALOGUE}
    assert set(DESIGN.strip().splitlines()) <= found


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda m: m.otlp)
def test_the_two_names_translate(metric: Metric) -> None:
    """The Prometheus name is the OTLP name by OpenTelemetry's rules: underscores, unit, and the suffix of the type."""
    expected = re.sub(r"[^a-zA-Z0-9:_]", "_", metric.otlp) + _UNITS[metric.unit]
    if metric.unit == "1" and metric.kind is Kind.GAUGE:
        expected += "_ratio"
    if metric.kind is Kind.COUNTER:
        expected += "_total"
    assert metric.name == expected
    assert re.fullmatch(r"locust(_otel)?(_[a-z]+)+", metric.name)
    assert re.fullmatch(r"locust(_otel)?(\.[a-z_]+)+", metric.otlp)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.name.count("_total") == (metric.kind is Kind.COUNTER)
    assert metric.kind.value in METRIC_TYPES


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda m: m.otlp)
def test_base_units(metric: Metric) -> None:
    """No name speaks of milliseconds, kilobytes or percent, and none has a unit twice."""
    assert not re.search(r"milli|_ms|kilo|mega|_kb|_mb|percent|minutes|avg|average|median|_p\d|rate", metric.name)
    for unit in ("seconds", "bytes", "ratio"):
        assert metric.name.split("_").count(unit) <= 1


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda m: m.otlp)
def test_labels(metric: Metric) -> None:
    """Label names are plain, not reserved, and each once; what is of a run begins with its id."""
    reserved = {"job", "instance", "le", "quantile"}
    assert not reserved & set(metric.labels)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)
    assert (metric.labels[:1] == ("run_id",)) == (metric.scope is not Scope.HEALTH)
    assert metric.name.startswith("locust_otel_") == (metric.scope is Scope.HEALTH)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda m: m.otlp)
def test_help_is_one_sentence(metric: Metric) -> None:
    """The help text is one line that ends in a full stop."""
    assert re.fullmatch(r"[A-Z0-9][^\n]+\.", metric.help)


def test_no_name_twice() -> None:
    """No two metrics share a name on either path, or one that differs by a suffix Prometheus adds only."""
    assert not [n for n, times in Counter(m.otlp for m in CATALOGUE).items() if times > 1]
    samples: Counter[str] = Counter()
    for metric in CATALOGUE:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        samples.update(metric.name + suffix for suffix in suffixes)
        samples[metric.name.removesuffix("_total") + " (family)"] += 1
    assert not [n for n, times in samples.items() if times > 1]


def test_locusts_own_names_are_not_reused() -> None:
    """The names of Locust's `--otel` mean other things."""
    assert not {"locust.client.duration", "locust.users.count"} & {m.otlp for m in CATALOGUE}


def test_the_catalogue_is_what_the_module_names() -> None:
    """No metric is forgotten in the list, and the order is that of the module."""
    assert list(CATALOGUE) == [m for m in vars(catalogue).values() if isinstance(m, Metric)]


def test_everything_exported_is_in_the_catalogue() -> None:
    """A rich snapshot gives each metric of the catalogue, in its order, once, and nothing else."""
    assert [family.metric for family in families(rich_snapshot())] == list(CATALOGUE)


def test_every_metric_has_a_value_that_is_not_zero() -> None:
    """No metric is there for show: a rich snapshot, or a valid one, gives each a value other than zero."""
    seen = set()
    for family in chain(families(rich_snapshot()), families(snapshot(Load(slow_s=1, max_names=1)))):
        for point in family.points:
            value = sum(point.counts.values()) * point.sum if isinstance(point, HistogramPoint) else point.value
            if value:
                seen.add(family.metric)
    assert seen == set(CATALOGUE)
