"""`--export-from workers` in a real Prometheus: check, analyze and gameday count each worker's requests once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from locust_otel.gameday.history import observed, start_of
from locust_otel.review import prometheus as reader
from locust_otel.review.analysis import readers
from locust_otel.review.check import stored_run
from tests.backends.servers import Prometheus, free_port
from tests.e2e.harness import SHOP_FAULTS, Distributed, Stage, load
from tests.e2e.pages import Totals, total
from tests.unit.check_files import slo

RUN_ID = "workers"


class Run(NamedTuple):
    """A finished run: the Prometheus that has it, Locust's own totals, and its requests without a duration."""

    prometheus: Prometheus
    locust: Totals
    untimed: int

    @property
    def server(self) -> reader.Prometheus:
        """The client of our commands for this Prometheus."""
        return reader.Prometheus(self.prometheus.url)


@pytest.fixture(scope="module")
def run(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Play a run of two workers; two jobs of one Prometheus scrape the master and each worker."""
    backend("prometheus")
    port = free_port(3)
    targets = [f"127.0.0.1:{port + index}" for index in range(3)]
    again = f"- job_name: again\n  static_configs: [{{targets: {targets}}}]"
    flags = ["--export-from", "workers", "--prometheus-port", str(port), "--run-id", RUN_ID]
    with Prometheus(targets, scrape_configs=again) as server, Stage(Path(tmp_path_factory.mktemp("workers"))) as stage:
        server.wait_until("count(up)", lambda answer: bool(answer) and answer[0][1] == 6)
        shop = stage.shop(*SHOP_FAULTS)
        processes = Distributed(stage, *load(shop.url, run_time="12s"), everywhere=flags)
        processes.wait()
        yield Run(server, *stage.totals())


def test_each_worker_has_a_part(run: Run) -> None:
    """Each worker has a part of the requests, the master has none."""
    parts = run.prometheus.query(
        f'sum by (job, instance) (max_over_time(locust_requests_total{{run_id="{RUN_ID}"}}[5m]))'
    )
    assert len(parts) == 4
    assert max(value for _, value in parts) < 0.9 * total(run.locust)


def test_check(run: Run) -> None:
    """The counts of an objective are Locust's own."""
    objectives = "all: {sli: success, target: 99%}, timed: {sli: mean, within: 1s}"
    judged, timed = stored_run.source(run.server, RUN_ID, lookback="7d")(slo(objectives)).results
    failed = sum(failures for _, failures in run.locust.values())
    assert judged.counts[:2] == (total(run.locust) - failed, failed)
    assert timed.counts.total == total(run.locust) - run.untimed


def test_analyze(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests and the buckets of the timeline are those of one job, without a scrape at either end."""
    monkeypatch.setattr(readers, "_STEP_S", 1.0)
    timeline = readers.from_prometheus(run.server, RUN_ID)
    start = start_of(run.server, RUN_ID)
    assert start is not None

    def rise(metric: str) -> float:
        query = f'sum({metric}{{run_id="{RUN_ID}", job="locust"}}) or vector(0)'
        first, last = (
            run.prometheus.value(query, start + float(at)) for at in (timeline.start_s[0], timeline.end_s[-1])
        )
        return last - first

    assert timeline.end_s[-1] >= 9
    requests = rise("locust_requests_total")
    assert requests > 0.5 * total(run.locust)
    assert sum(float(endpoint.requests.sum()) for endpoint in timeline.endpoints) == pytest.approx(requests, rel=0.15)
    timed = rise("locust_request_duration_seconds_count")
    assert sum(float(endpoint.weights.sum()) for endpoint in timeline.endpoints) == pytest.approx(timed, rel=0.15)


def test_gameday(run: Run) -> None:
    """The last counts of the history are Locust's own, and never fall."""
    begin = start_of(run.server, RUN_ID)
    assert begin is not None
    history = observed(run.server, RUN_ID, begin, begin + 60)
    failed = sum(failures for _, failures in run.locust.values())
    assert history.failed[-1][1:] == (failed, total(run.locust))
    counts = [requests for _, _, requests in history.failed]
    assert counts == sorted(counts)
