"""`locust-otel check`: judges a finished run, for CI."""

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

from locust_otel.core.errors import ConfigurationError, writing

FORMATS = ("table", "json", "junit", "github")
"""Names of `formats.FORMATS`. That module is imported for a check only, since each `--help` imports this one."""

_LOOKBACK, _REGRESSION = "7d", "10%"
_SUMMARY = "GITHUB_STEP_SUMMARY"


def add_to(commands: Any) -> None:
    """Add the command."""
    check = commands.add_parser(
        "check",
        help="judge a finished run by an SLO file, for CI",
        description="Judge a run record, the files of Locust, or a run in Prometheus, by an SLO file. "
        "Ends with 0 met, 3 missed, 4 no data or not decidable, 5 not valid, 78 bad configuration.",
    )
    add = check.add_argument
    add("record", nargs="?", metavar="RECORD", help="a run record, RUN_ID.jsonl.gz: judged exactly as the run was")
    add("--slo", metavar="FILE", help="the SLO file (default: the one in the record)")
    add("--csv", metavar="PREFIX", help="the prefix given to Locust's --csv, or the _stats.csv file")
    add("--json-file", metavar="FILE", help="the name given to Locust's --json-file, or the file")
    authorization = "LOCUST_OTEL_PROMETHEUS_AUTHORIZATION holds the value of an Authorization header"
    add("--prometheus", metavar="URL", help=f"a Prometheus with the run; {authorization}")
    add("--run-id", metavar="ID", help="with --prometheus: the run")
    add("--lookback", metavar="TIME", help=f"with --prometheus: how far to look back (default {_LOOKBACK})")
    add("--baseline", metavar="SOURCE", help="an earlier run to compare with: RECORD, PREFIX, FILE or ID, as above")
    add(
        "--max-regression", metavar="SHARE",
        help=f"how much worse than the baseline the run may be (default {_REGRESSION.replace('%', '%%')})",
    )  # fmt: skip
    add("--format", choices=FORMATS, default="table", help="format of the verdict (default %(default)s)")
    add("--output", metavar="FILE", help="write the verdict into this file, and the table to standard output")
    check.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Judge a run, write the verdict, and return its exit code.

    Raises:
        ConfigurationError: The flags, or a file or server that they name, cannot be used.
    """
    from locust_otel.review.check import assessments, formats  # noqa: PLC0415  # pydantic, YAML and rich
    from locust_otel.slo import file  # noqa: PLC0415  # likewise

    name, source = _source(options)
    if options.max_regression is not None and options.baseline is None:
        raise _refused("--max-regression", "There is no baseline.", "Add --baseline.", "max-regression-alone")
    allowed = regression(options.max_regression or _REGRESSION)
    slo = file.load(options.slo) if options.slo is not None else _own_slo(options)
    judged = source(name)(slo)
    if options.baseline is not None:
        judged = assessments.compared(slo, judged, source(options.baseline, "--baseline")(slo), allowed)
    report = formats.Report(slo, judged, options.baseline or "")
    written, table = formats.FORMATS[options.format](report), formats.table(report)
    _write(written, table, options.output)
    if options.format == "github":
        _add_to_summary(formats.markdown(report))
    return report.code


def _own_slo(options: argparse.Namespace) -> Any:
    """Return the SLO file in a record."""
    if options.record is None:
        raise _refused("--slo", "There is no SLO file.", "Add --slo FILE.", "slo")
    from locust_otel.review.check import record_file  # noqa: PLC0415  # as above

    return record_file.own_slo(options.record)


def regression(written: str) -> Decimal:
    """Return the share that a text like `10%` or `0.1` means.

    Raises:
        ConfigurationError: The text is not a share.
    """
    if not re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,6})? ?%?", written):
        raise _refused("--max-regression", f"{written[:40]!r} is not a share.", "Write 10% or 0.1.", "max-regression")
    number = Decimal(written.rstrip("% "))
    return number / 100 if written.endswith("%") else number


def _source(options: argparse.Namespace) -> tuple[str, Callable[..., Any]]:
    """Return the name of the run, and the function from such a name and its flag to a source."""
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
        found = "There are several sources." if given else "There is no source."
        raise _refused(" and ".join(given) or "check", found, f"Name one of {', '.join(flags)}.", "source")
    if (options.run_id is None) is (options.prometheus is not None):
        raise _refused("--run-id", "--run-id and --prometheus belong together.", "Give both, or neither.", "run-id")
    if options.lookback is not None and options.prometheus is None:
        raise _refused("--lookback", "--lookback needs --prometheus.", "Remove it.", "lookback")
    sources = {"RECORD": record_file.source, "--csv": csv_file.source, "--json-file": json_file.source}
    if (flag := given[0]) in sources:
        return flags[flag], sources[flag]
    server = Prometheus.of_environment(options.prometheus)
    return options.run_id, partial(stored_run.source, server, lookback=options.lookback or _LOOKBACK)


def _refused(where: str, found: str, remedy: str, slug: str) -> ConfigurationError:
    return ConfigurationError(where, found, remedy, slug=f"check-{slug}")


def _write(written: str, table: str, output: str | None) -> None:
    """Print the verdict, or write it into a file and print the table."""
    if output is not None:
        with writing("--output", output, "Name a file.", slug="check-output"):
            Path(output).write_text(written, encoding="utf-8")
        written = table
    # A terminal with a C locale cannot show a dash: such characters are escaped.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(written.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _add_to_summary(markdown: str) -> None:
    if summary := os.environ.get(_SUMMARY):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown)
        except OSError as error:  # the exit code is still that of the verdict
            print(f"locust-otel: {_SUMMARY} cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
