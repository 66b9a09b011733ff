"""A load test whose memory its parent looks at. Run as a script.

- `alone`, `bridged`: 500 names that succeed and fail, 1,000 series; 200,000 requests; with Locust's own statistics, and
  without or with the bridge.
- `million`: 50 names, 200,000 requests, then 800,000 more; the bridge without Locust's own statistics, which grow.

It writes a line with its URL (empty without the bridge) whenever it is ready to be looked at, and goes on when it reads
one.
"""

import gc
import sys
from typing import Any

# First of all imports: it patches sockets and locks.
import gevent
import gevent.fileobject
import locust  # noqa: F401

from tests.bench import load

WARM_UP, MORE = 200_000, 800_000


def main(what: str) -> None:
    """Do it."""
    environment = load.environment()
    if what != "million":
        environment.create_local_runner()
    url = ""
    bridge = None
    if what != "alone":
        import locust_otel

        bridge = locust_otel.attach(environment, prometheus_port=0, max_request_names=500)
        url = bridge.url or ""
        environment.events.test_start.fire(environment=environment)
    commands = gevent.fileobject.FileObject(sys.stdin.fileno(), "r", close=False)
    endpoints = load.endpoints(50 if what == "million" else 500, traceparent=load.SAMPLED)

    def request(count: int) -> None:
        fire: Any = environment.events.request.fire
        for number, event in enumerate(load.rotation(endpoints, count, failing=7)):
            fire(**event)
            if number % 2_000 == 0:  # a busy second, which counts what is pending
                gevent.sleep(0)
                if bridge is not None:
                    bridge.snapshot()

    for count in (WARM_UP, MORE) if what == "million" else (WARM_UP,):
        load.in_user(lambda count=count: request(count))  # type: ignore[misc]
        gc.collect()
        print(url, flush=True)
        commands.readline()
    if bridge is not None:
        bridge.close()


if __name__ == "__main__":
    main(sys.argv[1])
