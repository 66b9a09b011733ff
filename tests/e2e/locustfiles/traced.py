"""Both HTTP clients of Locust, with the client's name in the path of each request."""

from locust import FastHttpUser, HttpUser, constant, task


class Plain(HttpUser):
    """The client on requests."""

    wait_time = constant(0.05)

    @task
    def get(self) -> None:
        """Fetch, with a header of its own."""
        self.client.get("/plain", headers={"X-Own": "1"})

    @task
    def post(self) -> None:
        """Send."""
        self.client.post("/plain/posted", json={"a": 1})


class Fast(FastHttpUser):
    """The client on geventhttpclient."""

    wait_time = constant(0.05)

    @task
    def get(self) -> None:
        """Fetch, with a header of its own."""
        self.client.get("/fast", headers={"X-Own": "1"})

    @task
    def post(self) -> None:
        """Send."""
        self.client.post("/fast/posted", json={"a": 1})
