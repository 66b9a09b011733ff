"""Quick users, and one that leaves children behind, which live longer than Locust. It does not know locust-otel."""

import os
import subprocess
import time
from pathlib import Path

import gevent
from gevent import monkey
from locust import User, constant, task

from tests.e2e.locustfiles.quick import BUSY_S, Clumsy, Fast, Queue, Shopper

__all__ = ["Clumsy", "Fast", "Forking", "Queue", "Shopper"]

CHILD_S = 40

_sleep = monkey.get_original("time", "sleep")


def note(kind: str, pid: int) -> None:
    """Note a child."""
    with Path("children.txt").open("a") as file:
        file.write(f"{kind} {pid}\n")


class Forking(User):
    """Leaves a child that never lets gevent run, a program and, when the others are done, a child that does."""

    fixed_count = 1
    wait_time = constant(3600)

    @task
    def fork(self) -> None:
        """Leave them."""
        began = time.monotonic()
        if (pid := os.fork()) == 0:
            _sleep(CHILD_S)
            os._exit(0)
        note("still", pid)
        note("program", subprocess.Popen(["sleep", str(CHILD_S)]).pid)
        gevent.sleep(BUSY_S + 1 - (time.monotonic() - began))
        if (pid := os.fork()) == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what it logs is of no interest
            gevent.sleep(CHILD_S)  # with a copy of every greenlet: of users, of the runner, and ours
            os._exit(0)
        note("running", pid)
