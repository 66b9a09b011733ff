"""Write the files that are made from the code: tables of the documentation, schemas, shipped rules.

`python docs/generate.py` writes them; with `--check` it fails if one is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from locust_otel.cli import COMMANDS
from locust_otel.core.catalogue import CATALOGUE, Scope
from locust_otel.core.histogram import CLASSIC_EDGES
from locust_otel.core.options import OPTIONS
from locust_otel.gameday.schema import json_schema as game_day_schema
from locust_otel.slo.file import load
from locust_otel.slo.rules.printer import prometheus_rule, rule_files
from locust_otel.slo.schema import json_schema as slo_schema

TOP = Path(__file__).parents[1]
NOTE = "<!-- Made by docs/generate.py from the code; change it there. -->\n"
RULES = {"30m": "slo.yaml", "4h": "slo-game-day.yaml", "7d": "slo-prober.yaml"}
"""Folder of `deploy/prometheus/rules`, and the SLO file that its rules are made from."""

VARIABLES = {
    "LOCUST_OTEL_MARK_TOKEN": "token for [marks](marks.md#over-http) from other machines",
    "LOCUST_OTEL_PROMETHEUS_AUTHORIZATION": "header `Authorization` for Prometheus: `check`, `analyze`, `gameday`",
    "LOCUST_OTEL_ALERTMANAGER_AUTHORIZATION": "header `Authorization` for Alertmanager: `gameday`",
    "GRAFANA_TOKEN": "token of a Grafana service account with the role Editor: `dashboards --grafana`",
    "OTEL_…": "the standard variables of OpenTelemetry: [OTLP](otlp.md#what-decides)",
}
"""Environment variables without a flag, and their content; a test compares them with the code."""


def metrics() -> str:
    """Return `metrics.md`."""
    parts = [
        NOTE,
        "# Metrics\n",
        "Names contain the base unit. Counters end in `_total`. Ratios are between 0 and 1. There are no averages, "
        "rates or percentiles, because they cannot be added up; Prometheus computes them from these metrics. All "
        "series of a run carry its `run_id` and count from 0. So the totals of a run need no `increase()`, which would "
        "lose the first sample.\n",
    ]
    for scope in Scope:
        rows = (
            (f"`{metric.name}`", metric.kind.value, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
            for metric in CATALOGUE
            if metric.scope is scope
        )
        parts += [f"## {scope.value.capitalize()}\n", _table(("metric", "type", "labels", "meaning"), rows)]
    edges = ", ".join(f"{edge:g}" for edge in CLASSIC_EDGES)
    parts += [
        "## Buckets\n",
        f"Histograms have the edges {edges} seconds, the threshold of `--slow-request`, and each `within` of the SLO "
        "file. Counts at these edges are exact. "
        "A percentile of `histogram_quantile` is only as exact as the edges around it.\n",
    ]
    return "\n".join(parts)


def flags() -> str:
    """Return `flags.md`."""
    options = (
        (f"`{f'{option.flag} {option.metavar}'.strip()}`", f"`{option.env_var}`", option.help) for option in OPTIONS
    )
    variables = ((f"`{name}`", content) for name, content in VARIABLES.items())
    parts = [
        NOTE,
        "# Flags\n",
        "`locust-otel run` needs no flag. `locust-otel COMMAND --help` prints the same. Times are written `500ms`, "
        "`5s`, `2m`.\n",
        "## `locust-otel run`\n",
        "It takes all arguments of `locust`, the flags of this table, and `--open`, which opens the live page in a "
        "browser. `locust` itself takes the table too, if the locustfile has `locust_otel.register()`. Each flag of "
        "the table is also an environment variable, and, without the dashes, a line of `locust.conf`.\n",
        _table(("flag", "environment", "meaning"), options),
    ]
    for name, parser in _parsers().items():
        parts += [f"## `locust-otel {name}`\n", f"{parser.description}\n", _table(("flag", "meaning"), _rows(parser))]
    parts += ["## Environment variables without a flag\n", _table(("variable", "content"), variables)]
    return "\n".join(parts)


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of our commands but `run`, whose flags Locust's parser takes."""
    commands = argparse.ArgumentParser(prog="locust-otel").add_subparsers()
    for module in COMMANDS.values():
        import_module(module).add_to(commands)
    return {name: parser for name, parser in commands.choices.items() if name != "run"}


def _rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield flag and meaning of each argument of a command."""
    for action in parser._actions:  # argparse has no public list
        if action.dest == "help":
            continue
        choices = f"{{{','.join(map(str, action.choices))}}}" if action.choices else None
        value = "" if action.nargs == 0 else action.metavar or choices or action.dest.upper()
        names = [f"{name} {value}".strip() for name in action.option_strings] or [str(value)]
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        yield ", ".join(f"`{name}`" for name in names), text


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown, which ends with a line break."""
    head = list(headings)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rules() -> dict[str, str]:
    """Return the shipped rule files, by their path from the top of the project."""
    operator = "deploy/kubernetes/components/monitoring/prometheusrule.yaml"
    return {operator: prometheus_rule(load(str(TOP / "locustfiles" / RULES["30m"])))} | {
        f"deploy/prometheus/rules/{folder}/{name}": text
        for folder, source in RULES.items()
        for name, text in rule_files(load(str(TOP / "locustfiles" / source))).items()
    }


def files() -> dict[str, str]:
    """Return all generated files, by their path from the top of the project."""
    return {
        "docs/metrics.md": metrics(),
        "docs/flags.md": flags(),
        "docs/slo.schema.json": json.dumps(slo_schema(), indent=2) + "\n",
        "docs/game-day.schema.json": json.dumps(game_day_schema(), indent=2) + "\n",
        **rules(),
    }


def main() -> int:
    """Write the files, or with `--check` list those that are out of date; return the exit code."""
    is_check = "--check" in sys.argv
    stale = []
    for name, text in files().items():
        path = TOP / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not is_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale and is_check:
        print(f"out of date: {', '.join(stale)}; run make generate", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
