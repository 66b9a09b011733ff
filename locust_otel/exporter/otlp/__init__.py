"""OTLP: pushes the same metrics as `/metrics`, and the events of a run, over HTTP or gRPC."""
