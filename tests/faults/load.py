"""The load that a fault may disturb: 200 requests a second at a constant pace, each with the time at which it ended.

It does not import locust-otel. Its own figures are in `load.json` in the working directory.
"""

import json
import os
import time
from array import array
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, constant_pacing, events, task

NAMES = 40
"""Names of requests, so that a push is of several pieces."""

PAUSE_S = float(os.environ.get("LOAD_PAUSE_S", "0.1"))
PARTS = 20
ended = array("d")
users = iter(range(10_000))


class Steady(FastHttpUser):
    """Requests one page after the other, ten a second."""

    wait_time = constant_pacing(PAUSE_S)

    def on_start(self) -> None:
        """Begin a little later than the user before, so that the load is even."""
        self.number = next(users)
        gevent.sleep(self.number % PARTS * PAUSE_S / PARTS)

    @task
    def page(self) -> None:
        """Request a page."""
        self.number += 1
        self.client.get("/", name=f"/page/{self.number % NAMES}")


def most_memory() -> int:
    """Return the peak memory of this process in bytes; `ru_maxrss` includes the parent's before the exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def note(**_: Any) -> None:
    """Record the time at which a request ended."""
    ended.append(time.monotonic())


def stopped(**_: Any) -> None:
    """Write the figures."""
    figures = {
        "ended": list(ended),
        "stopped": time.monotonic(),
        "max_rss": most_memory(),
    }
    part = Path(f"load.{os.getpid()}.part")
    part.write_text(json.dumps(figures))
    part.rename("load.json")


events.request.add_listener(note)
events.test_stop.add_listener(stopped)
