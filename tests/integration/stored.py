"""Locust's totals of a run, read from a server with the query API of Prometheus."""

from __future__ import annotations

from tests.backends.servers import QueryServer
from tests.e2e.pages import Totals

WINDOW = "10m"
"""Window with all of a run: an instant query has no samples of a run that is over."""


def stored_totals(server: QueryServer, run_id: str) -> Totals:
    """Return requests and failures by method and name, summed over all sources."""
    result: Totals = {}
    for labels, value in server.query(f'max_over_time(locust_requests_total{{run_id="{run_id}"}}[{WINDOW}])'):
        key = (labels["method"], labels.get("name", ""))
        requests, failures = result.get(key, (0, 0))
        failed = int(value) if labels["outcome"] == "failure" else 0
        result[key] = (requests + int(value), failures + failed)
    return result
