"""A load shape: 2 users, then 6, then the end. It registers us itself, twice."""

from locust import LoadTestShape

import locust_otel
from tests.e2e.locustfiles.calm import Calm

locust_otel.register()
locust_otel.register()

__all__ = ["Calm", "Steps"]


class Steps(LoadTestShape):
    """Two steps."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and spawn rate."""
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]  # so it is
        return None if seconds > 4 else (2, 10.0) if seconds < 2 else (6, 10.0)
