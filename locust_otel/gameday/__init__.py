"""Game days: injects faults on a time line under load, and scores whether the alerts fired and cleared in time.

Here is also what marks a run from another process: `locust-otel mark` and the control for Chaos Toolkit. It may import
`core`, `slo` and `review`; only `demo` may import it. It talks to the run over HTTP, like any other program.
"""
