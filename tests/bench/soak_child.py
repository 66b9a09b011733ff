"""A load test that goes on and on at a constant rate. Run as a script by `soak.py`.

Users of a real runner fire what `HttpUser` would, each event at a time fixed from the start, and Locust keeps its own
statistics, but for one part: it has a count for each name and second, which grow with a run and by jumps when their
dictionaries do. Those older than `SECONDS_KEPT` are thrown away, so that what grows is to be seen.

The script writes a line with its URL, empty without the bridge, when it begins; for each line it reads it answers with
what it knows of itself, as JSON; once it has read `end` it ends.
"""

# First of all imports: it patches sockets and locks.
import gc
import itertools
import json
import random
import sys
from pathlib import Path
from time import monotonic, process_time, time
from typing import Any

import gevent
import gevent.fileobject
import greenlet
import locust  # noqa: F401
from locust import User, task
from locust.env import Environment
from locust.event import Events
from locust.stats import RequestStats

from tests.bench import load, slo

NAMES, FAILING = 500, 7
"""Each name succeeds and fails: 1,000 series."""

SECONDS_KEPT = 20


class Soaking(User):
    """Fires its share of the events of all users."""

    users = 0
    rate = 0.0
    total = 0
    began = 0.0
    endpoints: tuple[load.Endpoint, ...] = ()
    numbers = itertools.count()

    def on_start(self) -> None:
        """Take a place among the users."""
        self._place = next(self.numbers)
        self._rng = random.Random(self._place)

    @task
    def fire(self) -> None:
        """Fire all of its events."""
        fire: Any = self.environment.events.request.fire
        rng = self._rng
        for number in range(self._place, self.total, self.users):
            late = monotonic() - self.began - number / self.rate
            if late < 0:
                gevent.sleep(-late)
            endpoint = self.endpoints[number % NAMES]
            fire(**(endpoint.failed_event(rng) if number % FAILING == 0 else endpoint.event(rng)))
        while True:
            gevent.sleep(3600)


def forget(stats: RequestStats) -> None:
    """Throw away Locust's counts of seconds long past, from time to time."""
    while True:
        gevent.sleep(SECONDS_KEPT)
        oldest = int(time()) - SECONDS_KEPT
        for entry in [stats.total, *stats.entries.values()]:
            for counts in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
                for second in [second for second in counts if second < oldest]:
                    del counts[second]


def main(what: str, users: int, total: int, seconds: float, folder: Path) -> None:
    """Do it."""
    environment = Environment(user_classes=[Soaking], events=Events())
    runner = environment.create_local_runner()
    Soaking.endpoints = tuple(load.endpoints(NAMES, traceparent=load.SAMPLED))
    Soaking.users, Soaking.rate, Soaking.total = users, total / seconds, total
    url, bridge = "", None
    if what == "bridged":
        import locust_otel

        bridge = locust_otel.attach(
            environment,
            prometheus_port=0,
            max_request_names=NAMES,
            slo=str(slo.write(folder)),
            run_record=str(folder / "records"),
        )
        url = bridge.url or ""
    Soaking.began = monotonic() + 1
    gevent.spawn(forget, environment.stats)
    runner.start(users, spawn_rate=users)
    print(url, flush=True)
    commands = gevent.fileobject.FileObject(sys.stdin.fileno(), "r", close=False)
    for line in commands:
        told: dict[str, Any] = {
            "requests": environment.stats.total.num_requests,
            "greenlets": sum(isinstance(each, greenlet.greenlet) and not each.dead for each in gc.get_objects()),
            "cpu_s": process_time(),
        }
        if bridge is not None:
            snapshot = bridge.snapshot()
            assert snapshot.run is not None
            told |= {
                "series": len(snapshot.run.requests.series),
                "recorded": snapshot.run.requests.total,
                "unreconciled": snapshot.health.unreconciled,
                "errors": snapshot.health.listener_errors,
                "record_bytes": sum(path.stat().st_size for path in (folder / "records").iterdir()),
            }
        print(json.dumps(told), flush=True)
        if line.strip() == "end":
            break
    runner.quit()
    if bridge is not None:
        bridge.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
