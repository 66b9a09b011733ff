"""`locust-otel report`: writes a run record as a page, Markdown, JSON or samples."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, TextIO

from locust_otel.core.errors import ConfigurationError, ExitCode, writing


def add_to(commands: Any) -> None:
    """Add the command."""
    report = commands.add_parser(
        "report",
        help="write a report of a run record, or samples for a Prometheus that was not running",
        description="Write the record that --run-record wrote as one HTML file, or in another format.",
    )
    add = report.add_argument
    add("record", metavar="RECORD", help="the record, RUN_ID.jsonl.gz")
    add(
        "--format", choices=("html", "markdown", "json", "openmetrics"), default="html",
        help="html: a page without other files; markdown: for a pull request; json; openmetrics: samples for promtool, "
        "which makes blocks of them (default %(default)s)",
    )  # fmt: skip
    add("-o", "--output", metavar="FILE", help="write into this file (default: html beside the record, else stdout)")
    add("--baseline", metavar="RECORD", help="record of an earlier run to compare with, in html, markdown and json")
    add("--job", metavar="NAME", help="label job of the samples (default locust)")
    add("--instance", metavar="HOST:PORT", help="label instance of the samples (default: that of the run's /metrics)")
    add("--interval", metavar="TIME", help="time between samples (default: scrape_interval of the SLO file, or 5s)")
    report.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write a report of a run record."""
    from locust_otel.core.settings import duration  # noqa: PLC0415  # only this command needs it
    from locust_otel.review.record.reader import NO_END  # noqa: PLC0415  # likewise

    interval_s = duration(options.interval, "--interval") if options.interval is not None else None
    if interval_s == 0:
        raise ConfigurationError("--interval", "0 is too short.", "Write a time above 0, 5s.", slug="interval")
    record, output = Path(options.record), options.output
    if output is None and options.format == "html":
        output = str(record.with_name(record.name.removesuffix(".gz").removesuffix(".jsonl") + ".html"))
    if output is None:
        is_complete = _write(options, record, interval_s, sys.stdout)
    else:
        with (
            writing("--output", output, "Name a file.", slug="output"),
            Path(output).open("w", encoding="utf-8") as out,
        ):
            is_complete = _write(options, record, interval_s, out)
    if output is not None:
        print(output)  # noqa: T201
    if not is_complete:
        print(NO_END, file=sys.stderr)  # noqa: T201
    return ExitCode.OK


def _write(options: argparse.Namespace, path: Path, interval_s: float | None, out: TextIO) -> bool:
    """Write a record in the format of the options, and return whether the record is complete."""
    from locust_otel.review.record.reader import load  # noqa: PLC0415  # only this command needs these
    from locust_otel.review.report import openmetrics, rendering  # noqa: PLC0415
    from locust_otel.review.report.summary import analyzed, summary  # noqa: PLC0415

    if options.format == "openmetrics":
        return openmetrics.write(path, out, job=options.job, instance=options.instance, interval_s=interval_s)
    render = {"html": rendering.page, "markdown": rendering.markdown, "json": rendering.as_json}[options.format]
    run = summary(load(path))
    before = None if options.baseline is None else summary(load(options.baseline))
    out.write(render(run, analyzed(run.record), before))
    return run.record.is_complete
