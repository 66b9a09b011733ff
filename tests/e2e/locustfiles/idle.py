"""A user that never sends a request. It does not import locust-otel."""

from locust import User, constant, task


class Idle(User):
    """Waits."""

    wait_time = constant(0.2)

    @task
    def wait(self) -> None:
        """Do nothing."""
