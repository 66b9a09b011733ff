"""Quick users of a process that takes a second to start, like one that reads test data first."""

import gevent
from locust import events

import locust_otel
from tests.e2e.locustfiles.quick import Clumsy, Fast, Queue, Shopper

__all__ = ["Clumsy", "Fast", "Queue", "Shopper"]


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust has no types for it
def read_test_data(**_: object) -> None:
    """Take a second, in which Locust's other greenlets run."""
    gevent.sleep(1)


locust_otel.register()
