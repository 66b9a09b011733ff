"""A steady load without a server: users fire the events of `HttpUser`, and one user measures its wake-ups.

Once a second a line of JSON is appended to the file `FIGURES`: the process's figures, and for how long a user was held
up. The first line is the time of the first request. At the end a full garbage collection is timed.
"""

from __future__ import annotations

import gc
import json
import os
import random
from pathlib import Path
from time import monotonic, process_time, thread_time, time
from typing import Any

import gevent
from locust import User, constant, events, task
from requests.exceptions import HTTPError

from tests.bench import load
from tests.bench.sidebyside import Stopwatch

SERIES, USERS, BATCH = (int(os.environ[name]) for name in ("SERIES", "USERS", "BATCH"))
WAIT_S = float(os.environ["WAIT_S"])
BEAT_S = 0.001
FAILING = 100  # one request in so many fails, all under one name
SECONDS_KEPT = 20

if os.environ["BRIDGED"]:
    import locust_otel

    locust_otel.register()

rng = random.Random(1)
endpoint = load.endpoints(1, traceparent=load.SAMPLED)[0]
error = HTTPError("503 Server Error", response=endpoint.failure)
names = [f"/api/v1/resources/{number:04}/items" for number in range(SERIES - 1)]
order = [rng.randrange(SERIES - 1) for _ in range(1 << 16)]
times_ms = [rng.lognormvariate(4, 1) for _ in range(1 << 12)]
file = Path(os.environ["FIGURES"]).open("a", buffering=1)  # noqa: SIM115  # open as long as the process
full_s: list[float] = []


class Busy(User):
    """Makes requests, and waits."""

    wait_time = constant(WAIT_S)
    fixed_count = USERS
    made = 0

    def on_start(self) -> None:
        """Begin at a random time."""
        if not Busy.made:
            write(monotonic())
        gevent.sleep(rng.random() * WAIT_S)

    @task
    def work(self) -> None:
        """Make requests."""
        fire: Any = self.environment.events.request.fire
        for _ in range(BATCH):
            number = Busy.made = Busy.made + 1
            is_failed = number % FAILING == 0
            fire(
                request_type="GET",
                response_time=times_ms[number & 4095],
                name="/api/v1/failing" if is_failed else names[order[number & 65535]],
                context={},
                response=endpoint.failure if is_failed else endpoint.response,
                exception=error if is_failed else None,
                start_time=time(),
                url="http://127.0.0.1/api/v1",
                response_length=1234,
            )


class Heart(User):
    """Measures for how long a user is held up.

    Attributes:
        held_s: The longest time in which a user waited while this thread did something else.
        calm_s: The same outside full garbage collections.
        late_s: The longest time in which a user waited, without the time in which this thread had no CPU.
        collections: Full garbage collections so far.
    """

    fixed_count = 1
    held_s = calm_s = late_s = 0.0
    collections = 0

    @task
    def beat(self) -> None:
        """Sleep for a millisecond again and again, and measure the delay."""
        while True:
            collections = Heart.collections
            cpu_s, watch = thread_time(), Stopwatch()
            gevent.sleep(BEAT_S)
            late_s = watch.seconds() - BEAT_S
            held_s = min(late_s, thread_time() - cpu_s)
            Heart.late_s = max(Heart.late_s, late_s)
            Heart.held_s = max(Heart.held_s, held_s)
            if Heart.collections == collections:
                Heart.calm_s = max(Heart.calm_s, held_s)


def write(value: object) -> None:
    """Write a line."""
    file.write(json.dumps(value) + "\n")


def write_seconds(environment: Any) -> None:
    """Write a line a second."""
    Heart.held_s = Heart.calm_s = Heart.late_s = 0.0
    due = monotonic()
    while True:
        due += 1
        gevent.sleep(max(due - monotonic(), 0.001))
        line = [monotonic(), process_time(), Busy.made, Heart.held_s, Heart.calm_s, Heart.late_s, full_s.copy()]
        full_s.clear()
        Heart.held_s = Heart.calm_s = Heart.late_s = 0.0
        write(line)
        if "FORGET" in os.environ and int(due) % SECONDS_KEPT == 0:
            forget(environment.stats)


def forget(stats: Any) -> None:
    """Delete Locust's counts of old seconds, which grow with a run."""
    oldest = int(time()) - SECONDS_KEPT
    for entry in [stats.total, *stats.entries.values()]:
        for counts in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
            for second in [second for second in counts if second < oldest]:
                del counts[second]


began_s = 0.0


def on_collection(phase: str, info: dict[str, int]) -> None:
    """Record the time of a full collection."""
    global began_s  # noqa: PLW0603
    if info["generation"] == 2:
        if phase == "start":
            began_s = thread_time()
        else:
            full_s.append(thread_time() - began_s)
            Heart.collections += 1


@events.init.add_listener  # type: ignore[untyped-decorator]
def on_init(environment: Any, **_: object) -> None:
    """Measure, once all users are there."""

    def on_spawning_complete(**_: object) -> None:
        gc.callbacks.append(on_collection)
        gevent.spawn_later(0.5, write_seconds, environment)

    environment.events.spawning_complete.add_listener(on_spawning_complete)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def on_quitting(**_: object) -> None:
    """Time a full collection of all that there is."""
    full_s.clear()
    gc.collect()
    write(max(full_s, default=0.0))
