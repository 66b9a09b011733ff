"""Ten distributions of durations, and a locustfile whose user measures every value of each of them.

The test makes the same values from the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import gevent
from locust import User, task

COUNT = 3001
"""Values of each distribution; odd, so that no tested quantile is between two of them."""

SCRAPED_S = 4
"""Seconds after the last value in which scrapers come at least once."""

DISTRIBUTIONS: dict[str, Callable[[Random], float]] = {
    "lognormal": lambda r: r.lognormvariate(4, 0.8),
    "exponential": lambda r: r.expovariate(1 / 120) + 0.2,
    "uniform": lambda r: r.uniform(10, 900),
    "normal": lambda r: max(r.gauss(250, 40), 1),
    "pareto": lambda r: min(20 * r.paretovariate(1.3), 500_000),
    "two modes": lambda r: r.gauss(20, 2) if r.random() < 0.7 else r.gauss(2_000, 150),
    "gamma": lambda r: r.gammavariate(2, 35) + 0.2,
    "weibull": lambda r: r.weibullvariate(80, 0.7) + 0.2,
    "constant": lambda r: 123.4,  # noqa: ARG005
    "zeros and time-outs": lambda r: 0.0 if (x := r.random()) < 0.3 else 60_000 if x > 0.97 else r.uniform(0.2, 3),
}
"""Functions that return random milliseconds."""


def values(name: str) -> list[float]:
    """Return the values of a distribution in milliseconds, the same ones every time."""
    source = Random(name)
    return [DISTRIBUTIONS[name](source) for _ in range(COUNT)]


class Measuring(User):
    """Fires one request for each value, and then ends the run."""

    fixed_count = 1

    @task
    def fire(self) -> None:
        """Fire all requests."""
        for name in DISTRIBUTIONS:
            for number, value in enumerate(values(name)):
                self.environment.events.request.fire(
                    request_type="fired",
                    name=name,
                    response_time=value,
                    response_length=0,
                    exception=None,
                    context={},
                )
                if number % 200 == 0:
                    gevent.sleep(0.001)
        gevent.sleep(SCRAPED_S)
        self.environment.runner.quit()
        gevent.sleep(3600)
