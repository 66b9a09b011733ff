"""Service level objectives: the SLO file, the objectives in it, burn rates, the verdict on a run.

`rules` makes Prometheus rules from the same file. Each room but `core` and `wire` may import this one; the plugin uses
the names and thresholds only. It may import `core` only: a file is judged alike in a run, in CI and in a report.
"""
