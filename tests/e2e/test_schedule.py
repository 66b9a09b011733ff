"""Users with a schedule: how late they begin is on `/metrics`, in local and in distributed runs."""

from __future__ import annotations

import pytest

from tests.backends.servers import free_port
from tests.e2e.harness import LOCUSTFILES, Outcome, Stage, forking, load, played
from tests.e2e.pages import Metrics

pytestmark = pytest.mark.slow

PACED = LOCUSTFILES / "paced.py"


def _paced(stage: Stage, *faults: str, processes: int = 1) -> Outcome:
    """Play a run of five users who want to ask five times a second each."""
    shop, port = stage.shop(*faults, time_scale=0.1), free_port()
    process = stage.start(
        *("locust-otel", "run", *load(shop.url, file=PACED, users=5, run_time="8s"), "--prometheus-port", str(port)),
        *(forking(processes) if processes > 1 else []),
    )
    scraper = stage.scrape(port)
    code = process.wait()
    # The last page that has them: workers that have left are on no page.
    pages = (Metrics(page) for page in reversed(scraper.pages))
    page = next((page for page in pages if "locust_schedule_lag_seconds_count" in page.names), None)
    return Outcome(code=code, log=process.log, metrics=page)


def slow_shop(stage: Stage) -> Outcome:
    """Each answer takes half a second more."""
    return _paced(stage, "latency:added_s=0.5")


def slow_shop_forked(stage: Stage) -> Outcome:
    """The same with two workers."""
    return _paced(stage, "latency:added_s=0.5", processes=2)


def fast_shop(stage: Stage) -> Outcome:
    """Answers come in some milliseconds."""
    return _paced(stage)


@played(slow_shop, slow_shop_forked)
def test_how_late_tasks_begin(outcome: Outcome) -> None:
    """An answer of half a second in a schedule of 0.2 s makes each next task 0.3 s late, and a little."""
    late = outcome.last.value("locust_schedule_lag_seconds_count")
    assert 30 <= late <= 80
    assert outcome.last.value("locust_schedule_lag_seconds_sum") / late == pytest.approx(0.31, abs=0.05)


@played(fast_shop)
def test_tasks_in_time_are_not_late(outcome: Outcome) -> None:
    """Where answers come in time, tasks begin on time, but for what the loop itself is late."""
    tasks = outcome.last.value("locust_schedule_lag_seconds_count")
    assert tasks >= 120
    assert outcome.last.value("locust_schedule_lag_seconds_bucket", le="0.025") >= 0.9 * tasks
