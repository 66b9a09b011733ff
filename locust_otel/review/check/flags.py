"""The flags of `locust-otel check`, apart from what they need: every command's `--help` reads them."""

from __future__ import annotations

import argparse

DEFAULT_LOOKBACK = "7d"
DEFAULT_REGRESSION = "10%"
FORMATS = ("table", "json", "junit", "github")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    add = parser.add_argument
    add("--slo", required=True, metavar="FILE", help="the SLO file")
    add("--csv", metavar="PREFIX", help="what was given to Locust's --csv, or the _stats.csv itself")
    add("--json-file", metavar="FILE", help="what was given to Locust's --json-file, or the file itself")
    add(
        "--prometheus", metavar="URL",
        help="a Prometheus that has the run; LOCUST_OTEL_PROMETHEUS_AUTHORIZATION holds the value of an Authorization "
        "header",
    )  # fmt: skip
    add("--run-id", metavar="ID", help="which run, with --prometheus")
    add("--lookback", metavar="TIME", help=f"how old it may be (default {DEFAULT_LOOKBACK})")
    add("--baseline", metavar="SOURCE", help="an earlier run to compare with: PREFIX, FILE or ID, as above")
    add(
        "--max-regression", metavar="SHARE",
        help=f"how much worse than the baseline it may be (default {DEFAULT_REGRESSION.replace('%', '%%')})",
    )  # fmt: skip
    add("--format", choices=FORMATS, default="table", help="what to write (default %(default)s)")
    add("--output", metavar="FILE", help="write it there, and the table on standard output")
