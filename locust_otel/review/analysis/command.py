"""`locust-otel analyze`: names the degradation pattern of a run."""

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
        description="Name the degradation pattern of a run, overall and by endpoint, with the figures behind it.",
    )
    add = analyze.add_argument
    add("record", metavar="RECORD", nargs="?", help="the record that --run-record wrote, RUN_ID.jsonl.gz")
    add("--prometheus", metavar="URL", help="read the run from this Prometheus, not from a record")
    add("--run-id", metavar="ID", help="with --prometheus: the run")
    add("--lookback", metavar="TIME", default="30d", help="with --prometheus: how far to look back (%(default)s)")
    add("--format", choices=("text", "json"), default="text", help="format of the analysis (%(default)s)")
    analyze.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Analyze a run, and print the analysis."""
    if (options.record is None) == (options.prometheus is None):
        remedy = "Name a RECORD, or give --prometheus URL --run-id ID."
        raise ConfigurationError("analyze", "It needs one source.", remedy, slug="analyze-source")
    if (options.prometheus is None) != (options.run_id is None):
        found, remedy = "--run-id and --prometheus belong together.", "Give both, or a record."
        raise ConfigurationError("--run-id", found, remedy, slug="analyze-run-id")
    if not all(map(find_spec, ("numpy", "scipy"))):
        remedy = "pip install 'locust-otel[analysis]'"
        raise ConfigurationError("analyze", "It needs numpy and scipy.", remedy, slug="analysis-extra")
    from rich.console import Console  # noqa: PLC0415  # only this command needs these

    from locust_otel.review.analysis import finding, readers  # noqa: PLC0415
    from locust_otel.review.analysis.analyze import analyze  # noqa: PLC0415
    from locust_otel.review.prometheus import Prometheus  # noqa: PLC0415
    from locust_otel.review.record.reader import NO_END, load  # noqa: PLC0415

    if options.record is not None:
        record = load(options.record)
        analysis = analyze(readers.from_record(record, Path(options.record).name))
        if not record.is_complete:
            print(NO_END, file=sys.stderr)  # noqa: T201
    else:
        server = Prometheus.of_environment(options.prometheus)
        analysis = analyze(readers.from_prometheus(server, options.run_id, options.lookback))
    if options.format == "json":
        sys.stdout.write(finding.written(analysis))
    else:
        finding.print_to(analysis, Console(width=None if sys.stdout.isatty() else _WIDTH))
    return ExitCode.OK
