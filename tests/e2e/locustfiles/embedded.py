"""Locust as a library: `embedded.py HOST PORT` runs five users for three seconds, with a bridge."""

import json
import sys
from pathlib import Path

import gevent
from locust.env import Environment

import locust_otel
from tests.e2e.locustfiles.calm import Calm


def main(host: str, port: str) -> None:
    """Run, and write Locust's totals to `stats.json`, as `--json-file` does."""
    environment = Environment(user_classes=[Calm], host=host, stop_timeout=5)
    runner = environment.create_local_runner()
    bridge = locust_otel.attach(environment, prometheus_port=port, run_id="embedded", run_label={"team": "a b"})
    assert locust_otel.attach(environment) is bridge
    runner.start(5, spawn_rate=50)
    gevent.sleep(3)
    runner.quit()
    bridge.close()
    bridge.close()
    Path("stats.json").write_text(json.dumps(environment.stats.serialize_stats()))
    print(f"{bridge.run_id} {bridge.url}")


if __name__ == "__main__":
    main(*sys.argv[1:])
