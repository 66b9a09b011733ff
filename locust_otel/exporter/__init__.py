"""The process beside Locust: it merges the reports of a run, judges it, and exports it.

Plain Python with threads: no module here imports Locust or gevent, directly or through others. Each way out is an
`Output`: endpoint, OTLP, run record, live page, SLO watch. It may import `core`, `wire` and `slo`. Only `demo` imports
it; the plugin starts it with `python -m locust_otel.exporter`.
"""
