"""OTLP: the same families as on `/metrics`, and events, pushed by the official exporters' encoding and transport."""
