"""`locust-otel analyze`: which degradation pattern a run shows."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from locust_otel.core.errors import ConfigurationError, ExitCode

_WIDTH = 110


def add_to(commands: Any) -> None:
    """Add the command."""
    analyze = commands.add_parser(
        "analyze",
        help="name the degradation pattern of a run, with the evidence",
        description="Name the degradation pattern of a run, overall and by endpoint, with the figures it rests on.",
    )
    add = analyze.add_argument
    add("record", metavar="RECORD", nargs="?", help="the record that --run-record has written, RUN_ID.jsonl.gz")
    add("--prometheus", metavar="URL", help="ask this Prometheus instead of a record")
    add("--run-id", metavar="ID", help="with --prometheus: the run")
    add("--lookback", metavar="TIME", default="30d", help="with --prometheus: how far to look back (%(default)s)")
    add("--format", choices=("text", "json"), default="text", help="for people or for programs (%(default)s)")
    analyze.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Analyze a run, and print the analysis."""
    if (options.record is None) == (options.prometheus is None):
        raise ConfigurationError(
            "analyze", "It takes a record, or --prometheus, and not both.",
            "Name the RECORD, or give --prometheus URL --run-id ID.", slug="analyze-source",
        )  # fmt: skip
    if (options.prometheus is None) != (options.run_id is None):
        raise ConfigurationError(
            "--run-id", "It goes with --prometheus, and --prometheus with it.", "Give both, or a record.",
            slug="analyze-run-id",
        )  # fmt: skip
    if missing := [name for name in ("numpy", "scipy") if find_spec(name) is None]:
        raise ConfigurationError(
            "analyze", f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed.",
            "pip install 'locust-otel[analysis]'", slug="analysis-extra",
        )  # fmt: skip
    from rich.console import Console  # noqa: PLC0415  # no other command needs these

    from locust_otel.review.analysis import finding, readers  # noqa: PLC0415
    from locust_otel.review.analysis.analyze import analyze  # noqa: PLC0415
    from locust_otel.review.prometheus import Prometheus  # noqa: PLC0415
    from locust_otel.review.record.reader import load  # noqa: PLC0415

    if options.record is not None:
        record = load(options.record)
        analysis = analyze(readers.from_record(record, Path(options.record).name))
        if not record.is_complete:
            print("The record has no end: its run was cut off there, or goes on.", file=sys.stderr)  # noqa: T201
    else:
        server = Prometheus.of_environment(options.prometheus)
        analysis = analyze(readers.from_prometheus(server, options.run_id, options.lookback))
    if options.format == "json":
        sys.stdout.write(finding.written(analysis))
    else:
        finding.print_to(analysis, Console(width=None if sys.stdout.isatty() else _WIDTH))
    return ExitCode.OK
