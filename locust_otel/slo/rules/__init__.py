"""What an SLO file becomes for others: recording and alerting rules in PromQL, OpenSLO, Sloth, Grafana dashboards."""
