"""Exports of an SLO file: recording and alerting rules in PromQL, OpenSLO, Sloth; the Grafana dashboards."""
