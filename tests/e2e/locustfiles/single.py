"""`run_single_user`, which is for debugging: 20 requests, then two seconds for a scrape."""

import gevent
from locust import HttpUser, constant, run_single_user, task
from locust.exception import StopUser

import locust_otel

locust_otel.register()


class Single(HttpUser):
    """Sends 20 requests."""

    wait_time = constant(0.01)
    sent = 0

    @task
    def data(self) -> None:
        """Fetch, or stop."""
        if self.sent == 20:
            raise StopUser
        self.sent += 1
        self.client.get("/api/v1/data", headers={"X-API-Key": "demo-key"})


if __name__ == "__main__":
    run_single_user(Single)
    gevent.sleep(2)
