"""A user whose task does not give the event loop back: a load generator that is too slow; it does not know us."""

import os
import time

from gevent import monkey
from locust import User, constant, task

BURNS = bool(os.environ.get("TEST_BURN"))
BLOCK_S = 0.15 if BURNS else 0.3  # that which burns is scraped, one turn of the loop after the other

_sleep = monkey.get_original("time", "sleep")


class Blocking(User):
    """Calls the shop's `/api/orders` in name only; every third request has failed, after a long time."""

    wait_time = constant(0.01)
    number = 0

    @task
    def block(self) -> None:
        """Keep the loop, with CPU or, to be kinder to other processes of the machine, without."""
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
