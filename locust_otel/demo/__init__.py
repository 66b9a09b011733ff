"""The demo: a shop with faults on request, a load test against it, and a stack with Prometheus and Alertmanager.

The shop and the webhook are programs of their own, which the tests and the container images run too. It may import
every room, and no room imports it.
"""
