"""Prometheus' way in: /metrics and what is beside it."""
