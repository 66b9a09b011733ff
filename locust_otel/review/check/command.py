"""`locust-otel check`: the verdict on a run that is over, for CI."""

from __future__ import annotations

import argparse
from typing import Any

from locust_otel.review.check import flags


def add_to(commands: Any) -> None:
    """Add the command."""
    check = commands.add_parser(
        "check",
        help="judge a run that is over by an SLO file, for CI",
        description="Judge the files Locust has written, or a run in Prometheus, by an SLO file. "
        "Ends with 0 met, 3 missed, 4 no data or not decidable, 5 not valid, 78 bad configuration.",
    )
    flags.add_arguments(check)
    check.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Judge the run."""
    from locust_otel.review.check import checking  # noqa: PLC0415  # it loads pydantic, YAML and rich

    return checking.run(options)
