"""The steady load, and a user that forks and starts programs during it."""

import multiprocessing
import os
import subprocess
import time

from locust import User, constant_pacing, task

from tests.faults.load import Steady

__all__ = ["Forking", "Steady"]


def _busy() -> None:
    time.sleep(0.2)


class Forking(User):
    """Forks, runs programs and starts processes, twice a second."""

    wait_time = constant_pacing(0.5)
    fixed_count = 1

    @task
    def fork(self) -> None:
        """Fork a child that lives a little longer than the next request."""
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    @task
    def program(self) -> None:
        """Run a program."""
        subprocess.run(["true"], check=True)

    @task
    def work(self) -> None:
        """Start a process with multiprocessing."""
        process = multiprocessing.get_context("fork").Process(target=_busy)
        process.start()
        process.join()
