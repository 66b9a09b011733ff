"""Users with a schedule that a slow shop makes them miss."""

from locust import HttpUser, constant_throughput, task


class Paced(HttpUser):
    """Asks five times a second, if it gets its answers in time."""

    wait_time = constant_throughput(5)

    @task
    def ask(self) -> None:
        """Ask for the list of products."""
        self.client.get("/api/products")
