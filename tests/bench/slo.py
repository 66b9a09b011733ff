"""The SLO file of the bench: four objectives, one of each kind and one of a part of the names."""

from __future__ import annotations

from pathlib import Path

OBJECTIVES = 4

_TEXT = """\
service: bench
period: 30m
scrape_interval: 5s
warmup: 0s
min_requests: 100
objectives:
  availability: {sli: success, target: 80%}
  latency-p95: {sli: latency, target: 95%, within: 2s}
  latency-mean: {sli: mean, within: 500ms}
  first-items: {sli: latency, target: 90%, within: 1s, match: {name: /api/v1/resources/0000/items}}
windows:
  - {severity: critical, long: 2m, short: 30s, budget: 20%}
  - {severity: warning, long: 10m, short: 2m, budget: 50%}
"""


def write(folder: Path) -> Path:
    """Write it into a folder."""
    path = folder / "slo.yaml"
    path.write_text(_TEXT)
    return path
