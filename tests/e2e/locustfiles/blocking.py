"""A user whose task blocks the event loop: a load generator that is too slow. It does not import us."""

import os
import time

from gevent import monkey
from locust import User, constant, task

BURNS = bool(os.environ.get("TEST_BURN"))
BLOCK_S = 0.15 if BURNS else 0.3  # a shorter time with CPU, so that scrapes are answered in between

_sleep = monkey.get_original("time", "sleep")


class Blocking(User):
    """Fires events of `/api/orders` without requests; every third one is a failure, after a long time."""

    wait_time = constant(0.01)
    number = 0

    @task
    def block(self) -> None:
        """Block the loop, with CPU or, to leave the CPU to other processes, without."""
        if BURNS:
            until = time.perf_counter() + BLOCK_S
            while time.perf_counter() < until:
                pass
        else:
            _sleep(BLOCK_S)
        for _ in range(20):
            self.number += 1
            has_failed = self.number % 3 == 0
            self.environment.events.request.fire(
                request_type="POST",
                name="/api/orders",
                response_time=2500 if has_failed else BLOCK_S * 1000,
                response_length=0,
                exception=ConnectionError("gone") if has_failed else None,
                context={},
            )
