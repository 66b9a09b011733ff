"""Make the Grafana dashboards of this folder: `python -m dashboards.generate [--check]`.

Only those who change a dashboard need Grafana's builders (`grafana-foundation-sdk`); the package ships the JSON.
Metrics come from `locust_otel.core.catalogue`, recorded series and PromQL from `locust_otel.slo.rules`. Reading order:
`promql` (queries), `panels` (look), `queries` (shared by several dashboards), `frame` (variables, annotations, places),
then a module for each dashboard.
"""
