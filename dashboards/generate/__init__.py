"""Make the Grafana dashboards of this folder: `python -m dashboards.generate [--check]`.

Needs Grafana's own builders (`grafana-foundation-sdk`), which only those who change a dashboard have to have; the
package ships the JSON. Reading order: `names` (what may be asked for), `promql` (how), `panels` (how it looks),
`frame` (variables, annotations, the place of each panel), then a module for each dashboard.
"""
