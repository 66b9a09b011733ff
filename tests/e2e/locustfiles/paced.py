"""Users with a schedule, which they miss if the shop is slow."""

from locust import HttpUser, constant_throughput, task


class Paced(HttpUser):
    """Sends five requests a second, if the answers come in time."""

    wait_time = constant_throughput(5)

    @task
    def ask(self) -> None:
        """Request the list of products."""
        self.client.get("/api/products")
