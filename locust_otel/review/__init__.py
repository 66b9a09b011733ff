"""Finished runs: reads run records and asks Prometheus, and says what became of a run.

`check` gives the verdict for CI, `analysis` names the pattern in which the service degraded, `report` makes pages and
samples of a record. It may import `core`, `wire` and `slo`; `gameday` and `demo` may import it.
"""
