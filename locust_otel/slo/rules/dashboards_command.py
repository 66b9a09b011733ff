"""`locust-otel dashboards`: the Grafana dashboards, copied out or imported."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from locust_otel.core.errors import ExitCode


def add_to(commands: Any) -> None:
    """Add the command."""
    dashboards = commands.add_parser(
        "dashboards",
        help="copy the Grafana dashboards out, or import them into a Grafana",
        description="Copy the Grafana dashboards into a folder, or import them into a Grafana, with the token of a "
        "service account in the environment variable GRAFANA_TOKEN.",
    )
    where = dashboards.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", type=Path, metavar="DIR", help="copy the JSON files there")
    where.add_argument("--grafana", metavar="URL", help="import them there, replacing those of before")
    dashboards.add_argument("--folder", default="", metavar="UID", help="uid of Grafana's folder for them")
    dashboards.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Copy or import them."""
    from locust_otel.slo.rules import dashboards  # noqa: PLC0415  # only where they are asked for

    for place in (
        dashboards.copy_to(options.output)
        if options.output
        else dashboards.import_into(options.grafana, options.folder)
    ):
        print(place)  # noqa: T201
    return ExitCode.OK
