"""Game days of the tests: an SLO with short windows, faults of the demo shop, and a webhook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from locust_otel.demo.shop import ShopProcess
from locust_otel.slo.file import parse
from locust_otel.slo.rules.printer import rule_text
from tests.integration.webhook import Webhook

SLO = """\
service: webshop
period: 2m
scrape_interval: 1s
min_requests: 10
objectives:
  availability: {sli: success, target: 90%}
windows:
  - {severity: critical, long: 10s, short: 4s, budget: 20%}
"""
EXAMPLES = Path(__file__).parents[2] / "locustfiles"


def first(webhook: Webhook, run_id: str, name: str, status: str) -> float:
    """Return the Unix time of the first notification of an alert of a run, by the clock of the tests' webhook."""
    return min(
        message.at
        for message in webhook.messages
        for alert in message.alerts
        if alert["labels"].get("run_id") == run_id
        and alert["labels"]["alertname"] == name
        and alert["status"] == status
    )


def rules(folder: Path) -> Path:
    """Write the rules of the SLO file, and return their path."""
    path = folder / "rules.yaml"
    path.write_text(rule_text(parse(SLO.encode(), "slo.yaml")))
    return path


def fault(shop: ShopProcess, name: str, body: dict[str, Any], for_s: int, mark: Path) -> dict[str, Any]:
    """Return a fault of the shop, whose undo writes a line into the file `mark`."""
    how = "-H 'Content-Type: application/json'"
    return {
        "name": name,
        "run": f"curl -fsS -X POST {shop.url}/_faults {how} -d '{json.dumps(body)}'",
        "undo": f"curl -fsS -X DELETE {shop.url}/_faults && echo undone >> {mark}",
        "for": f"{for_s}s",
    }


def day(folder: Path, shop: ShopProcess, port: int, run_time_s: int, steps: list[dict[str, Any]]) -> Path:
    """Write a game-day file, and its SLO file beside it; return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "slo.yaml").write_text(SLO)
    (folder / "webshop.py").write_text((EXAMPLES / "webshop.py").read_text())
    load = {
        "locustfile": "webshop.py", "users": 40, "spawn_rate": 40, "run_time": f"{run_time_s}s", "host": shop.url,
        "args": ["--prometheus-port", str(port), "--stop-timeout", "2"],
    }  # fmt: skip
    path = folder / "day.yaml"
    path.write_text(json.dumps({"name": "test", "slo": "slo.yaml", "load": load, "steps": steps}, indent=1))
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start `locust-otel gameday`."""
    command = [sys.executable, "-m", "locust_otel.cli", "gameday", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
