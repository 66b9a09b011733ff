"""What stands on our metrics elsewhere: dashboards for Grafana."""
