"""Three kinds of clients in one run, by weight: of 1,000 users 300 are API consumers, 100 admins, 600 phones.

Shows several user classes, each with its own pace, an API key, a login, and a URL whose date is not part of the
request's name. Start the demo shop, then run it either way:

    python -m locust_otel.demo.shop --port 8765
    locust-otel run -f locustfiles/mixed.py --headless --users 100 --spawn-rate 20 --run-time 2m
    locust -f locustfiles/mixed.py
"""

import time
from datetime import UTC, datetime, timedelta

from locust import HttpUser, between, constant, task

import locust_otel

locust_otel.register()

SHOP = "http://127.0.0.1:8765"


class APIConsumer(HttpUser):
    """A program that polls, 0.1 s after each answer."""

    host = SHOP
    weight = 3
    wait_time = constant(0.1)

    def on_start(self) -> None:
        """Send the key with every request."""
        self.client.headers["X-API-Key"] = "demo-key"

    @task
    def fetch_data(self) -> None:
        """Fetch the data."""
        self.client.get("/api/v1/data")


class AdminUser(HttpUser):
    """An admin: few requests, but expensive ones."""

    host = SHOP
    weight = 1
    wait_time = between(3, 10)

    def on_start(self) -> None:
        """Log in, and retry until it works: without a token every request would fail."""
        while not self.log_in():
            time.sleep(1)

    def log_in(self) -> bool:
        """Send the token with every later request; return whether there is one."""
        response = self.client.post("/api/login", json={"username": "admin", "password": "locust"})
        if not response.ok:
            return False
        self.client.headers["Authorization"] = f"Bearer {response.json()['token']}"
        return True

    @task(3)
    def dashboard(self) -> None:
        """Open the dashboard."""
        self.client.get("/admin/dashboard")

    @task(1)
    def monthly_report(self) -> None:
        """Download the month as CSV."""
        self.client.get("/admin/reports/monthly", params={"format": "csv"}, name="/admin/reports/monthly")


class MobileUser(HttpUser):
    """A phone that fetches the news since yesterday."""

    host = SHOP
    weight = 6
    wait_time = between(2, 8)

    def on_start(self) -> None:
        """Send the User-Agent of the app."""
        self.client.headers["User-Agent"] = "WebshopApp/3.2 (Android 15)"

    @task
    def feed(self) -> None:
        """Fetch the news; `name` keeps the date out of the statistics."""
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        self.client.get("/api/mobile/feed", params={"since": yesterday.isoformat()}, name="/api/mobile/feed")
