"""Quantiles from native histograms in Prometheus are those of the sorted list, within a bucket's width."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.backends.servers import Collector, Prometheus
from tests.e2e.harness import Process, Stage
from tests.integration.distributions import COUNT, DISTRIBUTIONS, values

LOCUSTFILE = Path(__file__).with_name("distributions.py")
WIDTH = 2 ** (1 / 16) - 1
"""Of a bucket: 4.4 %."""

WINDOW = "10m"
CLASSIC_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 15, 30, 60)


@dataclass
class Stored:
    """A run, and the servers that have its values."""

    prometheus: Prometheus
    run_id: str
    plain: Prometheus | None = None

    @property
    def histogram(self) -> str:
        """The last native histograms of the run."""
        return f'last_over_time(locust_request_duration_seconds{{run_id="{self.run_id}"}}[{WINDOW}])'


def _play(stage: Stage, run_id: str, *more: str, env: dict[str, str] | None = None) -> Process:
    process = stage.run(
        *("-f", str(LOCUSTFILE), "--headless", "-u", "1", "-t", "90s", "--only-summary", "--run-id", run_id, *more),
        env=env,
    )
    assert process.wait() == 0, process.log
    assert f"requests: Locust {COUNT * len(DISTRIBUTIONS):,} ·" in process.log
    return process


@pytest.fixture(scope="module")
def scraped(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Play a run that two Prometheus scrape: one with native histograms, one without."""
    port = prometheus.take_slot()
    target = f"127.0.0.1:{port}"
    with Prometheus([target]) as plain, Stage(tmp_path_factory.mktemp("scraped")) as stage:
        plain.wait_until("up")
        _play(stage, "quantiles-scraped", "--prometheus-port", str(port))
        yield Stored(prometheus, "quantiles-scraped", plain)


@pytest.fixture(scope="module")
def pushed(collector: Collector, prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Play a run that pushes exponential histograms to the collector, which writes them into Prometheus."""
    with Stage(tmp_path_factory.mktemp("pushed")) as stage:
        process = _play(
            stage,
            "quantiles-pushed",
            *("--prometheus-port", "off", "--otlp-endpoint", collector.http_url, "--otlp-interval", "1s"),
            env={"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"},
        )
        assert "OTLP: " not in process.log
        yield Stored(prometheus, "quantiles-pushed")


def _check(stored: Stored, read: Callable[[str], dict[str, float]]) -> None:
    assert read(f"histogram_count({stored.histogram})") == dict.fromkeys(DISTRIBUTIONS, COUNT)
    sums = read(f"histogram_sum({stored.histogram})")
    assert sums == {name: pytest.approx(sum(values(name)) / 1000) for name in DISTRIBUTIONS}
    errors = {}
    for quantile in (0.5, 0.9, 0.99):
        quantiles = read(f"histogram_quantile({quantile}, {stored.histogram})")
        for name in DISTRIBUTIONS:
            true = sorted(values(name))[math.ceil(quantile * COUNT) - 1] / 1000
            errors[name, quantile] = quantiles[name] / true - 1
    assert {key: error for key, error in errors.items() if abs(error) > WIDTH} == {}
    assert len(errors) == 30


def _reader(prometheus: Prometheus) -> Callable[[str], dict[str, float]]:
    def by_name(promql: str) -> dict[str, float]:
        samples = prometheus.query(promql)
        values_by_name = {labels["name"]: value for labels, value in samples}
        assert len(values_by_name) == len(samples)
        return values_by_name

    return by_name


def test_quantiles_of_scrapes(scraped: Stored) -> None:
    """The median, p90 and p99 of ten distributions, scraped as native histograms in protobuf."""
    _check(scraped, _reader(scraped.prometheus))


def test_quantiles_of_pushes(pushed: Stored, collector: Collector) -> None:
    """The same, pushed as exponential histograms to the collector, which writes them into Prometheus."""
    everything = COUNT * len(DISTRIBUTIONS)
    pushed.prometheus.wait_until(
        f"sum(histogram_count({pushed.histogram}))", lambda samples: bool(samples) and samples[0][1] == everything
    )
    _check(pushed, _reader(pushed.prometheus))


def test_native_histograms_have_no_classic_buckets_beside_them(scraped: Stored) -> None:
    """A Prometheus with native histograms stores each value once."""
    selector = f'locust_request_duration_seconds_bucket{{run_id="{scraped.run_id}"}}'
    assert scraped.prometheus.query(f"last_over_time({selector}[{WINDOW}])") == []


def test_without_the_feature_classic_buckets_are_scraped(scraped: Stored) -> None:
    """A Prometheus without native histograms gets the counts between the classic bounds from the same endpoint."""
    assert scraped.plain is not None
    selector = f'{{run_id="{scraped.run_id}"}}'
    samples = scraped.plain.query(f"max_over_time(locust_request_duration_seconds_bucket{selector}[{WINDOW}])")
    buckets = {(labels["name"], float(labels["le"])): value for labels, value in samples}
    assert buckets == {
        (name, bound): sum(value / 1000 <= bound for value in values(name))
        for name in DISTRIBUTIONS
        for bound in (*CLASSIC_BOUNDS_S, math.inf)
    }
    counts = scraped.plain.query(f"max_over_time(locust_request_duration_seconds_count{selector}[{WINDOW}])")
    assert {labels["name"]: value for labels, value in counts} == dict.fromkeys(DISTRIBUTIONS, COUNT)
    native = f"last_over_time(locust_request_duration_seconds{selector}[{WINDOW}])"
    assert scraped.plain.query(f"histogram_count({native})") == []
