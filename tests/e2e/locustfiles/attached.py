"""Locust as a library: `attached.py HOST NAME` runs five users, with a bridge on a free port."""

import json
import sys
from pathlib import Path

import gevent
from locust.env import Environment

import locust_otel
from tests.e2e.locustfiles.calm import Calm


def main(host: str, name: str) -> None:
    """Run, and write Locust's totals to `NAME.json`, as `--json-file` does."""
    environment = Environment(user_classes=[Calm], host=host, stop_timeout=5)
    runner = environment.create_local_runner()
    bridge = locust_otel.attach(environment, run_id=name)
    print(bridge.url, flush=True)
    gevent.sleep(1)  # until a scraper comes
    runner.start(5, spawn_rate=50)
    gevent.sleep(4)
    runner.quit()
    bridge.close()
    Path(f"{name}.json").write_text(json.dumps(environment.stats.serialize_stats()))


if __name__ == "__main__":
    main(*sys.argv[1:])
