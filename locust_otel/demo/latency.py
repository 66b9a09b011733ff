"""The service times of the demo shop by route, and its capacity: the documented figures.

A request holds one worker for `app + database` seconds and, for the database part of it, one connection.
Both are drawn from lognormal distributions with the means below, so the capacity of a mix of routes is

    min(workers / mean(app + database), connections / mean(database))    requests/s
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

WORKERS = 16
"""Requests served at the same time, by default; the others queue."""

DB_CONNECTIONS = 8
"""Connections in the database pool, by default."""

QUEUE_TIMEOUT_S = 5.0
"""Seconds that a request waits for a worker, and then for a connection, before the answer is 503."""

QUERY_MEAN_S = 0.003
"""Mean seconds of one database query."""

_QUERY_SIGMA = 0.3


@dataclass(frozen=True, slots=True)
class Service:
    """The costs of one route, which answers one HTTP method."""

    method: str
    app_mean_s: float  # on a worker, without the database
    sigma: float  # standard deviation of the logarithm of those seconds; 0.4 puts p99 at 2.3 times the mean
    queries: int  # of `QUERY_MEAN_S` each, one after the other on one connection

    @property
    def db_mean_s(self) -> float:
        """Mean seconds on a database connection."""
        return self.queries * QUERY_MEAN_S


SERVICES: Mapping[str, Service] = {
    "/api/login": Service("POST", 0.040, 0.2, queries=1),
    "/api/products": Service("GET", 0.030, 0.4, queries=2),
    "/api/products/[id]": Service("GET", 0.015, 0.4, queries=1),
    "/api/cart": Service("POST", 0.020, 0.4, queries=2),
    "/api/orders": Service("POST", 0.060, 0.4, queries=4),
    "/api/v1/data": Service("GET", 0.005, 0.3, queries=1),
    "/admin/dashboard": Service("GET", 0.050, 0.4, queries=5),
    "/admin/reports/monthly": Service("GET", 0.090, 0.5, queries=8),
    "/api/mobile/feed": Service("GET", 0.015, 0.4, queries=2),
}
"""The routes of the shop by their templates, which `/_stats` and the faults use too."""

WEBSHOP_MIX: Mapping[str, float] = {"/api/products": 5, "/api/products/[id]": 3, "/api/cart": 1, "/api/orders": 1}
"""Task weights of `locustfiles/webshop.py`; the one login of each user is left out."""


def capacity_rps(
    mix: Mapping[str, float], *, workers: int = WORKERS, db_connections: int = DB_CONNECTIONS, time_scale: float = 1.0
) -> float:
    """Return the requests/s above which the shop's queues grow, for a mix of routes.

    An upper bound: where workers and connections are both nearly busy, they wait for each other. Measured
    with 100 clients the shop reaches 98 % of it for `WEBSHOP_MIX`: 473 of 482 requests/s on the defaults,
    174 of 175 with one connection (measured 2026-11, two cores shared with the load).

    The mix has the relative weights of routes, at least one of them above 0. The time scale is a factor on all times;
    0 means no service time at all: `inf`.

    Raises:
        KeyError: A route is not in `SERVICES`.
    """
    weight = sum(mix.values())
    db_s = time_scale * sum(share * SERVICES[route].db_mean_s for route, share in mix.items()) / weight
    app_s = time_scale * sum(share * SERVICES[route].app_mean_s for route, share in mix.items()) / weight
    return min(workers / (app_s + db_s), db_connections / db_s) if time_scale else math.inf


class LatencyModel:
    """Draws service times: the same seed has the same sequence on each route, independent of the other routes."""

    def __init__(self, seed: int, time_scale: float = 1.0) -> None:
        self._time_scale = time_scale
        # Not cryptography: a reproducible load model.
        self._rngs = {route: random.Random(f"{seed}:{route}") for route in SERVICES}  # noqa: S311

    def draw(self, route: str) -> tuple[float, float]:
        """Return the seconds on a worker without the database, and the seconds on a connection.

        Raises:
            KeyError: The route is not in `SERVICES`.
        """
        service, rng = SERVICES[route], self._rngs[route]
        app_s = _lognormal(rng, service.app_mean_s, service.sigma)
        db_s = sum(_lognormal(rng, QUERY_MEAN_S, _QUERY_SIGMA) for _ in range(service.queries))
        return self._time_scale * app_s, self._time_scale * db_s


def _lognormal(rng: random.Random, mean: float, sigma: float) -> float:
    # The mean of a lognormal is exp(mu + sigma² / 2): https://en.wikipedia.org/wiki/Log-normal_distribution
    return rng.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma)
