"""Service level objectives: the SLO file, its objectives, burn rates, the verdict on a run.

`rules` makes Prometheus rules from the same file. All rooms but `core` and `wire` may import this room; the plugin uses
names and thresholds only. It may import `core` only, so that a run, CI and a report judge a file alike.
"""
