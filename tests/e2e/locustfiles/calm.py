"""One user class, three names, no failure. It does not import locust-otel."""

import os
import time

from locust import HttpUser, tag, task

BUSY_S = float(os.environ.get("TEST_BUSY_S", "3600"))
"""Seconds that each user works; then it is idle, without a request in flight."""


class Calm(HttpUser):
    """Sends three requests in turn."""

    def wait_time(self) -> float:
        """Return 0.1 s, or a long time after `BUSY_S`."""
        began = self.__dict__.setdefault("began", time.monotonic())
        return 0.1 if time.monotonic() - began < BUSY_S else 3600

    @tag("read")
    @task
    def data(self) -> None:
        """Fetch with the key."""
        self.client.get("/api/v1/data", headers={"X-API-Key": "demo-key"})

    @tag("write")
    @task
    def login(self) -> None:
        """Log in."""
        self.client.post("/api/login", json={"username": "u", "password": "locust"})

    @tag("read")
    @task
    def feed(self) -> None:
        """Fetch the news."""
        self.client.get("/api/mobile/feed?since=2026-01-31", name="/api/mobile/feed")
