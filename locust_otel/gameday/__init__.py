"""Game days: inject faults on a time line under load, and score whether the alerts fired and cleared in time.

The room also marks a run from another process: `locust-otel mark`, and the control for Chaos Toolkit. It may import
`core`, `slo` and `review`; only `demo` may import it. It talks to the run over HTTP, as any other program does.
"""
