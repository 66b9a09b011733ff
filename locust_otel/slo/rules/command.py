"""`locust-otel rules`: an SLO file as rules for Prometheus, or in another format."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from locust_otel.core.errors import ExitCode, writing
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
    add("-o", "--output", metavar="DIR", type=Path, help="write the files into this folder instead of printing them")
    add(
        "--format", choices=("prometheus", "prometheusrule", "openslo", "sloth"), default="prometheus",
        help="rules for Prometheus or its Operator, or objectives as OpenSLO v1 or for Sloth; lists what is lost",
    )  # fmt: skip
    add("--runbook-url", default=RUNBOOKS, metavar="URL", help="page with a heading for each alert (%(default)s)")
    add("--dashboard-url", default=DASHBOARDS, metavar="URL", help="Grafana's address of dashboards (%(default)s)")
    rules.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write or print the rules, or the SLO file in another format."""
    from locust_otel.slo.file import load  # noqa: PLC0415  # no other command needs these
    from locust_otel.slo.rules import exchange  # noqa: PLC0415  # likewise
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
    else:
        files = rule_files(slo, links) if options.output else {"": rule_text(slo, links)}
    for line in write(options.output, files, "output") if options.output else files.values():
        print(line)  # noqa: T201
    return ExitCode.OK


def write(folder: Path, files: Mapping[str, str], slug: str) -> list[Path]:
    """Write files into a folder, which is created if it does not exist, and return their paths.

    Raises:
        ConfigurationError: The folder cannot be created, or a file cannot be written.
    """
    with writing("--output", folder, "Name a folder.", slug=slug):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]
