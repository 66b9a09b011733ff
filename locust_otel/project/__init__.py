"""A user's project: the files around a load test, and the servers that run with them.

`locust-otel init` writes the files, `locust-otel stack` starts Prometheus, Alertmanager and Grafana with them. It may
import core and slo, and runs without Locust; only demo may import it.
"""
