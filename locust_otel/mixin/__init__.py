"""What Prometheus and Grafana get from the catalogue and an SLO file."""
