"""`locust-otel check`: the verdict on a run that is over, for CI."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from locust_otel.core.errors import ConfigurationError

FORMATS = ("table", "json", "junit", "github")
"""Those of `formats`, which this module imports only for a check: every command's `--help` reads the flags."""

_LOOKBACK, _REGRESSION = "7d", "10%"
_SUMMARY = "GITHUB_STEP_SUMMARY"


def add_to(commands: Any) -> None:
    """Add the command."""
    check = commands.add_parser(
        "check",
        help="judge a run that is over by an SLO file, for CI",
        description="Judge a run record, the files Locust has written, or a run in Prometheus, by an SLO file. "
        "Ends with 0 met, 3 missed, 4 no data or not decidable, 5 not valid, 78 bad configuration.",
    )
    add = check.add_argument
    add("record", nargs="?", metavar="RECORD", help="a run record, RUN_ID.jsonl.gz: judged exactly as the run was")
    add("--slo", metavar="FILE", help="the SLO file; a record that was made with one has it")
    add("--csv", metavar="PREFIX", help="what was given to Locust's --csv, or the _stats.csv itself")
    add("--json-file", metavar="FILE", help="what was given to Locust's --json-file, or the file itself")
    add(
        "--prometheus", metavar="URL",
        help="a Prometheus that has the run; LOCUST_OTEL_PROMETHEUS_AUTHORIZATION holds the value of an Authorization "
        "header",
    )  # fmt: skip
    add("--run-id", metavar="ID", help="which run, with --prometheus")
    add("--lookback", metavar="TIME", help=f"how old it may be (default {_LOOKBACK})")
    add("--baseline", metavar="SOURCE", help="an earlier run to compare with: RECORD, PREFIX, FILE or ID, as above")
    add(
        "--max-regression", metavar="SHARE",
        help=f"how much worse than the baseline it may be (default {_REGRESSION.replace('%', '%%')})",
    )  # fmt: skip
    add("--format", choices=FORMATS, default="table", help="what to write (default %(default)s)")
    add("--output", metavar="FILE", help="write it there, and the table on standard output")
    check.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Judge what the flags name, write the verdict, and return its exit code.

    Raises:
        ConfigurationError: The flags, or what they name, cannot be used.
    """
    from locust_otel.review.check import assessments, formats  # noqa: PLC0415  # pydantic, YAML and rich
    from locust_otel.slo import file  # noqa: PLC0415  # likewise

    named, source = _source(options)
    if options.max_regression is not None and options.baseline is None:
        raise ConfigurationError(
            "--max-regression", "There is no baseline.", "Add --baseline.", slug="check-max-regression-alone"
        )
    allowed = regression(options.max_regression or _REGRESSION)
    slo = file.load(options.slo) if options.slo is not None else _own_slo(options)
    judged = source(named)(slo)
    if options.baseline is not None:
        judged = assessments.compared(slo, judged, source(options.baseline, "--baseline")(slo), allowed)
    report = formats.Report(slo, judged, options.baseline or "")
    written, table = formats.FORMATS[options.format](report), formats.table(report)
    _write(written, table, options.output)
    if options.format == "github":
        _add_to_summary(formats.markdown(report))
    return report.code


def _own_slo(options: argparse.Namespace) -> Any:
    """Return the SLO file that a record has."""
    if options.record is None:
        raise ConfigurationError("--slo", "There is no SLO file.", "Add --slo FILE.", slug="check-slo")
    from locust_otel.review.check import record_file  # noqa: PLC0415  # as above

    return record_file.own_slo(options.record)


def regression(written: str) -> Decimal:
    """Return the share that `10%` or `0.1` asks for.

    Raises:
        ConfigurationError: It is neither.
    """
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,6})? ?%?", written):
        raise ConfigurationError(
            "--max-regression", f"{written[:40]!r} is not a share.", "Write 10% or 0.1.", slug="check-max-regression"
        )
    number = Decimal(written.rstrip("% "))
    return number / 100 if written.endswith("%") else number


def _source(options: argparse.Namespace) -> tuple[str, Callable[..., Any]]:
    """Return what was named, and what makes a source of such a name and the flag it stood in."""
    from locust_otel.review.check import csv_file, json_file, record_file, stored_run  # noqa: PLC0415  # likewise
    from locust_otel.review.prometheus import Prometheus  # noqa: PLC0415  # likewise

    flags = {
        "RECORD": options.record,
        "--csv": options.csv,
        "--json-file": options.json_file,
        "--prometheus": options.prometheus,
    }
    given = [flag for flag, value in flags.items() if value is not None]
    if len(given) != 1:
        raise ConfigurationError(
            " and ".join(given) or "check",
            "These are several sources." if given else "There is no source.",
            f"Name one of {', '.join(flags)}.",
            slug="check-source",
        )
    if (options.run_id is None) is (options.prometheus is not None):
        raise ConfigurationError(
            "--run-id", "A run id goes with --prometheus.", "Give both, or neither.", slug="check-run-id"
        )
    if options.lookback is not None and options.prometheus is None:
        raise ConfigurationError(
            "--lookback", "A look-back goes with --prometheus.", "Remove it.", slug="check-lookback"
        )
    if options.record is not None:
        return options.record, record_file.source
    if options.csv is not None:
        return options.csv, csv_file.source
    if options.json_file is not None:
        return options.json_file, json_file.source
    server = Prometheus.of_environment(options.prometheus)
    return options.run_id, partial(stored_run.source, server, lookback=options.lookback or _LOOKBACK)


def _write(written: str, table: str, output: str | None) -> None:
    """Print what was asked for, or write it into a file and print the table."""
    if output is not None:
        try:
            Path(output).write_text(written, encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise ConfigurationError(
                "--output", f"{output!r} cannot be written: {reason}.", "Name a file.", slug="check-output"
            ) from None
        written = table
    # A terminal with a C locale has no dash: what it cannot show is escaped.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(written.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _add_to_summary(markdown: str) -> None:
    if summary := os.environ.get(_SUMMARY):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown)
        except OSError as error:  # the verdict stands
            print(f"locust-otel: {_SUMMARY} cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
