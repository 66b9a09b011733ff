"""OTLP: the families of /metrics, and events, pushed."""
