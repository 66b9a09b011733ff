"""`locust-otel report`: what can be made of a run record."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from locust_otel.core.errors import ConfigurationError, ExitCode

REPORT_FORMATS = ("html", "markdown", "json", "openmetrics")
"""Those of `report.kinds`, which this module does not load before one is asked for."""


def add_to(commands: Any) -> None:
    """Add the command."""
    report = commands.add_parser(
        "report",
        help="make a report of a run record, or samples for a Prometheus that was not there",
        description="Make one HTML file of the record that --run-record has written, or something else.",
    )
    add = report.add_argument
    add("record", metavar="RECORD", help="the record, RUN_ID.jsonl.gz")
    add(
        "--format", choices=REPORT_FORMATS, default="html",
        help="html: a page that needs nothing else; markdown: for a pull request; json; openmetrics: samples for "
        "promtool to make blocks from (default %(default)s)",
    )  # fmt: skip
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="write into this file; else HTML goes beside the record, others to stdout",
    )
    add("--baseline", metavar="RECORD", help="record of an earlier run to compare with, in html, markdown and json")
    add("--job", metavar="NAME", help="label job of the samples (default locust)")
    add(
        "--instance", metavar="HOST:PORT", help="label instance of the samples (default: where the run served /metrics)"
    )
    add("--interval", metavar="TIME", help="from sample to sample (default: scrape_interval of the SLO file, or 5s)")
    report.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Make something of a run record."""
    from locust_otel.core.settings import duration  # noqa: PLC0415  # no other command needs it
    from locust_otel.review.report.kinds import FORMATS, ReportOptions  # noqa: PLC0415  # likewise

    interval_s = duration(options.interval, "--interval") if options.interval is not None else None
    if interval_s == 0:
        raise ConfigurationError("--interval", "0 is no interval.", "Give a time above zero, 5s.", slug="interval")
    more = ReportOptions(
        job=options.job, instance=options.instance, interval_s=interval_s,
        baseline=None if options.baseline is None else Path(options.baseline),
    )  # fmt: skip
    output = options.output
    if output is None and options.format == "html":
        output = str(Path(options.record).name.removesuffix(".gz").removesuffix(".jsonl"))
        output = str(Path(options.record).with_name(f"{output}.html"))
    with _output(output) as out:
        is_complete = FORMATS[options.format](Path(options.record), out, more)
    if output != options.output:
        print(output)  # noqa: T201
    if not is_complete:
        print("The record has no end: its run was cut off there, or goes on.", file=sys.stderr)  # noqa: T201
    return ExitCode.OK


@contextmanager
def _output(name: str | None) -> Iterator[TextIO]:
    if name is None:
        yield sys.stdout
        return
    try:
        with Path(name).open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ConfigurationError(
            "--output", f"{name!r} cannot be written to: {error.strerror}.", "Name a file.", slug="output"
        ) from None
