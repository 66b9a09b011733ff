"""More and more users who send requests to the demo shop, until their own process is the slow one."""

from __future__ import annotations

import os

from locust import HttpUser, LoadTestShape, constant_throughput, task


class Asking(HttpUser):
    """Requests the list of products, ten times a second if it can."""

    wait_time = constant_throughput(10)

    @task
    def ask(self) -> None:
        """Request it once."""
        self.client.get("/api/products")


class Ramp(LoadTestShape):
    """Adds users in steps, up to many more than one process can run."""

    step_s = float(os.environ.get("STEP_S", "6"))
    steps = tuple(map(int, os.environ.get("STEPS", "5,10,20,30,40,50,60,70,80").split(",")))

    def tick(self) -> tuple[int, float] | None:
        """Return the users of the step that it is time for."""
        step = int(self.get_run_time() // self.step_s)  # type: ignore[no-untyped-call]
        return (self.steps[step], 100) if step < len(self.steps) else None
