"""Code that runs inside Locust's process, beside the simulated users.

It records requests, measures whether the load generator keeps up, and reports both to the exporter four times a second.
It starts the exporter and restarts it. Work here costs the users time, so everything that can wait belongs in
`exporter`. This room may import `core` and `wire`; only `demo` and the lazy names at the top of the package
import it.
"""
