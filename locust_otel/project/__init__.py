"""A user's project: the files that a load test needs around it, and the servers that run with them.

`locust-otel init` writes the files, `locust-otel stack` starts Prometheus, Alertmanager and Grafana with them. It may
import core and slo, and runs without Locust; only demo imports it, for the same servers.
"""
