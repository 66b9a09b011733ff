"""Locust as a library with an SLO file: `judged.py HOST SLO` runs five users and prints the objectives."""

import json
import sys

import gevent
from locust.env import Environment

import locust_otel
from tests.e2e.locustfiles.calm import Calm


def main(host: str, slo: str) -> None:
    """Run, and print the objectives before, during and after the run, each as a line of JSON."""
    environment = Environment(user_classes=[Calm], host=host, stop_timeout=5)
    runner = environment.create_local_runner()
    bridge = locust_otel.attach(environment, prometheus_port="off", slo=slo)
    show(bridge)
    runner.start(5, spawn_rate=50)
    gevent.sleep(3)
    show(bridge)
    runner.quit()
    bridge.close()
    show(bridge)
    print(json.dumps(environment.stats.total.num_requests))


def show(bridge: locust_otel.Bridge) -> None:
    """Print verdict and objectives: status, good and all requests of each; null before the first run."""
    standing = bridge.standing()
    shown = None
    if standing is not None:
        shown = {
            objective.name: [objective.status, objective.good, objective.good + objective.bad] for objective in standing
        }
    print(json.dumps([bridge.verdict(), shown]))


if __name__ == "__main__":
    main(*sys.argv[1:])
