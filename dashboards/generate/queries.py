"""Queries and values that several dashboards show."""

from __future__ import annotations

from dashboards.generate import promql as q
from dashboards.generate.panels import GREEN, ORANGE, PINK, SKY, VERMILLION, Query, colour, values
from locust_otel.core import catalogue

_PERCENTILES = {"p99": ("0.99", PINK), "p95": ("0.95", ORANGE), "p50": ("0.5", SKY)}

VALIDITY = values({"0": ("no", VERMILLION), "1": ("yes", GREEN)})
"""Values of `locust_run_valid`."""

INVALID_NOTE = (
    "No if the load generator was too slow at any time of the time range. The latencies are then those of the "
    "generator, not of the service."
)

ALERT_STATES = {"0": ("quiet", GREEN), "1": ("pending", ORANGE), "2": ("firing", VERMILLION)}
"""Values of `q.alert_states`, and 0 for no alert."""


def percentiles(*names: str, exemplar: str = "") -> list[Query]:
    """Return the percentiles of the latency, now; without names all of them. `exemplar` returns exemplars."""
    return [
        Query(q.quantile(ratio), name, exemplar=name == exemplar, look=colour(color))
        for name, (ratio, color) in _PERCENTILES.items()
        if name in (names or _PERCENTILES)
    ]


def outcomes() -> list[Query]:
    """Return requests per second by outcome, now."""
    return [
        Query(q.rate(catalogue.REQUESTS, outcome=outcome), outcome, look=colour(color))
        for outcome, color in (("success", SKY), ("failure", VERMILLION))
    ]
