"""Write what is made from the code: tables of the documentation, shipped rules. `python docs/generate.py [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from locust_otel.core.catalogue import CATALOGUE, Scope
from locust_otel.core.histogram import CLASSIC_EDGES
from locust_otel.core.options import OPTIONS
from locust_otel.gameday.schema import json_schema as game_day_schema
from locust_otel.slo.file import load
from locust_otel.slo.rules.printer import prometheus_rule, rule_files
from locust_otel.slo.schema import json_schema

TOP = Path(__file__).parents[1]
NOTE = "<!-- Made by docs/generate.py from the code; change it there. -->\n"


def metrics() -> str:
    """Return `metrics.md`."""
    parts = [
        NOTE,
        "# Metrics\n",
        "Base units stand in the names, counters end in `_total`, ratios lie between 0 and 1. There are no averages, "
        "rates or percentiles: those cannot be added up, and Prometheus makes them from what is here. All series of a "
        "run carry its `run_id` and count from 0, so a run's totals need no `increase()`, which would lose the first "
        "sample.\n",
    ]
    for scope in Scope:
        parts.append(f"## {scope.value.capitalize()}\n")
        parts.append("| metric | type | labels | what it is |\n| --- | --- | --- | --- |")
        for metric in CATALOGUE:
            if metric.scope is scope:
                labels = ", ".join(f"`{label}`" for label in metric.labels)
                parts.append(f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.help} |")
        parts.append("")
    edges = ", ".join(f"{edge:g}" for edge in CLASSIC_EDGES)
    parts.append("## Buckets\n")
    parts.append(
        f"Histograms have the edges {edges} seconds, and the threshold of `--slow-request`. Counts at these edges are "
        "exact. A percentile that `histogram_quantile` makes of them is only as good as the edges are near.\n"
    )
    return "\n".join(parts)


def flags() -> str:
    """Return `flags.md`."""
    parts = [
        NOTE,
        "# Flags\n",
        "None is mandatory. Each is also an environment variable, and by its name without the dashes a line of "
        "`locust.conf`. Times are written `500ms`, `5s`, `2m`.\n",
        "| flag | environment | meaning |\n| --- | --- | --- |",
    ]
    for option in OPTIONS:
        value = option.metavar.replace("|", "\\|")
        parts.append(f"| `{f'{option.flag} {value}'.strip()}` | `{option.env_var}` | {option.help} |")
    return "\n".join(parts) + "\n"


RULES = {"30m": "slo.yaml", "4h": "slo-game-day.yaml", "7d": "slo-prober.yaml"}
"""Folder of `deploy/prometheus/rules` and the SLO file its rules are made from."""


def rules() -> dict[str, str]:
    """Return the shipped rule files, by their path from the top of the project."""
    operator = "deploy/kubernetes/components/monitoring/prometheusrule.yaml"
    return {operator: prometheus_rule(load(str(TOP / "locustfiles" / RULES["30m"])))} | {
        f"deploy/prometheus/rules/{folder}/{name}": text
        for folder, source in RULES.items()
        for name, text in rule_files(load(str(TOP / "locustfiles" / source))).items()
    }


def slo_schema() -> str:
    """Return `slo.schema.json`."""
    return json.dumps(json_schema(), indent=2) + "\n"


def main() -> int:
    """Write the files, or with `--check` say which of them are out of date; return the exit code."""
    stale = []
    files = {
        "docs/metrics.md": metrics(),
        "docs/flags.md": flags(),
        "docs/slo.schema.json": slo_schema(),
        "docs/game-day.schema.json": json.dumps(game_day_schema(), indent=2) + "\n",
        **rules(),
    }
    for name, text in files.items():
        path = TOP / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    if stale and "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}; run make generate", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
