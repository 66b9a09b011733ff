"""Users with a schedule: `/metrics` has the delay of their tasks, in local and in distributed runs."""

from __future__ import annotations

import pytest

from tests.backends.servers import free_port
from tests.e2e.harness import LOCUSTFILES, Outcome, Stage, in_modes, load, played
from tests.e2e.pages import Metrics

pytestmark = pytest.mark.slow

PACED = LOCUSTFILES / "paced.py"
USERS = 5
LAGS = ("locust_schedule_lag_seconds", "locust_generator_lag_seconds")


def _paced(stage: Stage, mode: str, *faults: str) -> Outcome:
    """Play a run of five users, each with a schedule of five requests a second."""
    shop, port = stage.shop(*faults), free_port()
    arguments = load(shop.url, file=PACED, users=USERS, run_time="8s")
    process = stage.run_in(mode, *arguments, "--prometheus-port", str(port))
    outcome = stage.finished(process, stage.scrape(port))
    # The last page that has the metric: the series of a worker are removed when it has left.
    pages = (Metrics(page) for page in reversed(outcome.more["pages"]))
    outcome.metrics = next((page for page in pages if "locust_schedule_lag_seconds_count" in page.names), None)
    return outcome


def slow_shop(stage: Stage, mode: str) -> Outcome:
    """Each answer takes half a second more."""
    return _paced(stage, mode, "latency:added_s=0.5")


def fast_shop(stage: Stage) -> Outcome:
    """Answers come in some milliseconds."""
    return _paced(stage, "local")


@played(*in_modes(slow_shop, "local", "forked"))
def test_delay_of_tasks(outcome: Outcome) -> None:
    """A task that takes longer than the 0.2 s of the schedule makes the next task late by the difference."""
    page = outcome.last
    late = page.value("locust_schedule_lag_seconds_count")
    mean_s = page.value("locust_request_duration_seconds_sum") / page.value("locust_request_duration_seconds_count")
    assert mean_s >= 0.5
    assert 30 <= late <= page.requests
    assert page.value("locust_schedule_lag_seconds_sum") / late == pytest.approx(mean_s - 0.2, abs=0.05, rel=0.05)


@played(fast_shop)
def test_tasks_in_time_are_not_late(outcome: Outcome) -> None:
    """If answers come in time, tasks begin on time, except when Locust's event loop is late."""
    page = outcome.last
    tasks, wake_ups = (page.value(f"{name}_count") for name in LAGS)
    on_time, loop_on_time = (page.value(f"{name}_bucket", le="0.025") for name in LAGS)
    assert tasks >= 40
    assert on_time / tasks >= 0.9 * loop_on_time / wake_ups
