"""Users without a pause between requests, so that the process is saturated; it writes its rates into a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import process_time
from typing import Any

import gevent
from locust import FastHttpUser, events, task

from tests.bench.sidebyside import Stopwatch

NAMES = 20  # the most that Locust's --otel tells apart
WARM_UP_S = 1.0


class Asking(FastHttpUser):
    """Requests one page after the other."""

    @task
    def ask(self) -> None:
        """Request all pages."""
        for number in range(NAMES):
            self.client.get(f"/{number}", name=f"/api/v1/resources/{number}")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def on_test_start(environment: Any, **_: object) -> None:
    """Measure."""
    gevent.spawn(measure, environment)


def measure(environment: Any) -> None:
    """Write requests, seconds and CPU after the first second into a file, and end the run."""
    gevent.sleep(WARM_UP_S)
    total = environment.stats.total
    before, cpu_s, watch = total.num_requests, process_time(), Stopwatch()
    gevent.sleep(float(os.environ["ROUND_S"]))
    figures = {
        "requests": total.num_requests - before,
        "failures": total.num_failures,
        "seconds": watch.seconds(),
        "cpu_s": process_time() - cpu_s,
    }
    Path(os.environ["FIGURES"]).write_text(json.dumps(figures))
    environment.runner.quit()
