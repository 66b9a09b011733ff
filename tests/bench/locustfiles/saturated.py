"""Users who ask without a pause, so that the process is as busy as it can be; it says how much it got done."""

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
    """Asks for one page after the other."""

    @task
    def ask(self) -> None:
        """Ask for all of them."""
        for number in range(NAMES):
            self.client.get(f"/{number}", name=f"/api/v1/resources/{number}")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def on_test_start(environment: Any, **_: object) -> None:
    """Measure."""
    gevent.spawn(measure, environment)


def measure(environment: Any) -> None:
    """Write how many requests there were after the first second, in how many seconds and how much CPU; end the run."""
    gevent.sleep(WARM_UP_S)
    total = environment.stats.total
    before, cpu_s, watch = total.num_requests, process_time(), Stopwatch()
    gevent.sleep(float(os.environ["ROUND_S"]))
    told = {
        "requests": total.num_requests - before,
        "failures": total.num_failures,
        "seconds": watch.seconds(),
        "cpu_s": process_time() - cpu_s,
    }
    Path(os.environ["TOLD"]).write_text(json.dumps(told))
    environment.runner.quit()
