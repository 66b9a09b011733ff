"""Many requests of all kinds: many names, failures of every kind, slow requests, three clients.

It does not import locust-otel.
"""

import os
import time

import gevent
from locust import FastHttpUser, HttpUser, User, task

PRODUCTS = 15
ODD_NAMES = ('say "hi"', "back\\slash", "two\nlines", "naïve/日本", "{a=1}", "%s %d", "# HELP", "", " ", "/x?y=1&z=2")

BUSY_S = float(os.environ.get("TEST_BUSY_S", "3600"))
"""Seconds that each user works; then it is idle, without a request in flight."""


def quickly(user: User) -> float:
    """Return 50 ms, or a long time after `BUSY_S`."""
    began = user.__dict__.setdefault("began", time.monotonic())
    return 0.05 if time.monotonic() - began < BUSY_S else 3600


class Shopper(HttpUser):
    """Buys in the shop, with each kind of failure."""

    weight = 5
    wait_time = quickly
    number = 0

    def on_start(self) -> None:
        """Log in."""
        token = self.client.post("/api/login", json={"username": "u", "password": "locust"}).json()["token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    @task(6)
    def product(self) -> None:
        """Fetch one product after the other, each with a name of its own."""
        self.number = self.number % PRODUCTS + 1
        self.client.get(f"/api/products/{self.number}")

    @task
    def missing(self) -> None:
        """Fetch a product that does not exist: 404."""
        self.client.get("/api/products/4040", name="/api/products/[missing]")

    @task
    def checkout(self) -> None:
        """Order an empty cart: 409, marked as a failure by the test."""
        with self.client.post("/api/orders", catch_response=True) as response:
            response.failure(f"Cart was empty: {response.status_code}")

    @task
    def forgiven(self) -> None:
        """Fetch a product that does not exist, marked as a success by the test: 404."""
        with self.client.get("/api/products/0", name="/api/products/[forgiven]", catch_response=True) as response:
            response.success()

    @task
    def disliked(self) -> None:
        """Fetch the products, marked as a failure by the test: 200."""
        with self.client.get("/api/products", catch_response=True) as response:
            response.failure("not to my taste")

    @task
    def broken(self) -> None:
        """Request the route with the fault of the shop: 500."""
        self.client.post("/api/cart", json={"product_id": 1})

    @task
    def slow(self) -> None:
        """Request the slow route of the shop."""
        self.client.get("/admin/dashboard")


class Fast(FastHttpUser):
    """The other HTTP client: successes, and a 401."""

    weight = 3
    wait_time = quickly

    @task(3)
    def data(self) -> None:
        """Fetch with the key."""
        self.client.get("/api/v1/data", headers={"X-API-Key": "demo-key"}, name="/api/v1/data")

    @task
    def refused(self) -> None:
        """Fetch without the key: 401."""
        self.client.get("/api/v1/data", name="/api/v1/data (no key)")


class Queue(User):
    """Fires its own events without HTTP: odd names, failures, and requests without a duration."""

    weight = 2
    wait_time = quickly
    number = 0

    @task
    def publish(self) -> None:
        """Fire one event; every seventh is a failure, every fifth has no duration."""
        self.number += 1
        gevent.sleep(0.001)
        self.environment.events.request.fire(
            request_type="queue",
            name=ODD_NAMES[self.number % len(ODD_NAMES)],
            response_time=None if self.number % 5 == 0 else self.number % 11,
            response_length=7,
            exception=ConnectionError("gone") if self.number % 7 == 0 else None,
            context={},
        )


class Clumsy(User):
    """A user whose task raises."""

    weight = 1

    def wait_time(self) -> float:
        """Wait longer."""
        return 0.35 + quickly(self)

    @task
    def stumble(self) -> None:
        """Raise."""
        raise LookupError("stumbled")
