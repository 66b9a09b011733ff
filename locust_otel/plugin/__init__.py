"""The code that runs inside Locust's process, beside the simulated users: it counts, and does nothing else.

It records requests, measures how the load generator keeps up, and reports both four times a second to the exporter,
which it starts and restarts. Everything here costs the users time, so whatever can wait belongs into `exporter`. It may
import `core`, `wire` and `slo`; only `demo`, and the lazy names at the top of the package, import it.
"""
