"""The HTTP endpoint that Prometheus scrapes: `/metrics` with TLS and users, marks, the last scrape at the end."""
