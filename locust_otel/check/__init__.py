"""A verdict afterwards, for CI: the files Locust has written, or a run in Prometheus, against an SLO file."""
