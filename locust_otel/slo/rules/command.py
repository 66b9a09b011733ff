"""`locust-otel rules`: an SLO file as rules for Prometheus, or in the format of others."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from locust_otel.core.errors import ConfigurationError, ExitCode
from locust_otel.slo.rules.names import DASHBOARDS, RUNBOOKS


def add_to(commands: Any) -> None:
    """Add the command."""
    rules = commands.add_parser(
        "rules",
        help="make Prometheus' recording and alerting rules from an SLO file",
        description="Make recording and alerting rules from an SLO file, the same text each time.",
    )
    add = rules.add_argument
    add("slo", metavar="SLO", help="the SLO file")
    add("-o", "--output", metavar="DIR", help="write the files into this folder; else they are printed")
    add(
        "--format", choices=("prometheus", "prometheusrule", "openslo", "sloth"), default="prometheus",
        help="rules for Prometheus or its Operator, or the objectives as OpenSLO v1 or for Sloth; the rest is told",
    )  # fmt: skip
    add("--runbook-url", default=RUNBOOKS, metavar="URL", help="page with a heading for each alert (%(default)s)")
    add("--dashboard-url", default=DASHBOARDS, metavar="URL", help="Grafana's address of dashboards (%(default)s)")
    rules.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write rule files, or an SLO file in the format of others."""
    from locust_otel.slo.file import load  # noqa: PLC0415  # likewise
    from locust_otel.slo.rules import exchange  # noqa: PLC0415  # no other command needs it
    from locust_otel.slo.rules.alerting_rules import Links  # noqa: PLC0415  # likewise
    from locust_otel.slo.rules.printer import prometheus_rule, rule_files, rule_text  # noqa: PLC0415  # likewise

    slo = load(options.slo)
    links = Links(options.runbook_url, options.dashboard_url)
    if options.format == "prometheusrule":
        files = {"prometheusrule.yaml": prometheus_rule(slo, links)}
    elif options.format != "prometheus":
        text, lost = exchange.FORMATS[options.format](slo)
        files = {f"{options.format}.yaml": text}
        for line in lost:
            print(f"lost: {line}", file=sys.stderr)  # noqa: T201
    elif options.output is None:
        files = {"": rule_text(slo, links)}
    else:
        files = rule_files(slo, links)
    for name, text in files.items():
        print(text if options.output is None else _written(Path(options.output), name, text))  # noqa: T201
    return ExitCode.OK


def _written(folder: Path, name: str, text: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        found = f"{str(folder)!r} cannot be written to: {error.strerror}."
        raise ConfigurationError("--output", found, "Name a folder.", slug="output") from None
    return path
