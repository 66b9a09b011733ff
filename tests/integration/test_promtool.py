"""Prometheus' own linter accepts a page of a run with odd names."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from locust_otel.core.catalogue import CATALOGUE
from tests.backends.servers import free_port, promtool
from tests.e2e.harness import EXAMPLES, SHOP_FAULTS, Distributed, Stage, load
from tests.e2e.locustfiles.quick import ODD_NAMES
from tests.e2e.pages import Metrics

SLO = str(EXAMPLES / "slo.yaml")


@pytest.fixture(scope="module")
def page(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    """Give a page of a master with two workers that has every metric."""
    backend("promtool")
    with Stage(Path(tmp_path_factory.mktemp("promtool"))) as stage:
        shop, port = stage.shop(*SHOP_FAULTS), free_port()
        labels = ["--run-label", 'note=say "hi" \\ naïve', "--run-label", "git_sha=3f9a2c1"]
        processes = Distributed(
            stage, *load(shop.url, run_time="50s"), "--prometheus-port", str(port), *labels, "--slo", SLO
        )
        scraper = stage.scrape(port)
        full = scraper.wait_for(lambda page: len(page.totals) >= 34, "all names")
        processes.master.send(signal.SIGTERM)
        processes.wait()
        return full


def test_promtool_is_silent(page: Metrics) -> None:
    """`promtool check metrics` ends with 0 and prints nothing."""
    checked = promtool("check", "metrics", stdin=page.text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_promtool_finds_a_planted_fault(page: Metrics) -> None:
    """The page has all odd names and most metrics, and promtool finds a fault that is planted in it."""
    assert {name for method, name in page.totals if method == "queue"} == set(ODD_NAMES)
    exported = {name.removesuffix("_count") for name in page.names}
    missing = {metric.name for metric in CATALOGUE} - exported
    # There are no marks and no schedules; the series of workers begin with a worker's second report.
    assert missing - {"locust_worker_cpu_utilization_ratio", "locust_worker_memory_bytes"} <= {
        "locust_marks_total",
        "locust_schedule_lag_seconds",
    }
    planted = page.text.replace("locust_requests_total", "locust_requests")
    assert "locust_requests counter metrics should" in promtool("check", "metrics", stdin=planted).stderr
