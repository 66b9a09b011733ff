"""Quick users, and one that forks children, which live longer than Locust. It does not import locust-otel."""

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
    """Write a child into the file."""
    with Path("children.txt").open("a") as file:
        file.write(f"{kind} {pid}\n")


class Forking(User):
    """Forks a child without gevent, starts a program and, when the others are idle, forks a child with gevent."""

    fixed_count = 1
    wait_time = constant(3600)

    @task
    def fork(self) -> None:
        """Fork and start them."""
        began = time.monotonic()
        if (pid := os.fork()) == 0:
            _sleep(CHILD_S)
            os._exit(0)
        note("still", pid)
        note("program", subprocess.Popen(["sleep", str(CHILD_S)]).pid)
        gevent.sleep(BUSY_S + 1 - (time.monotonic() - began))
        if (pid := os.fork()) == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # without its log
            gevent.sleep(CHILD_S)  # with copies of the greenlets of users, of the runner, and of ours
            os._exit(0)
        note("running", pid)
