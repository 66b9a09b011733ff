"""The command `locust-otel check`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import baseline, csv_file, formats, json_file, stored_run
from locust_otel.review.check.assessments import Source
from locust_otel.review.check.flags import DEFAULT_LOOKBACK, DEFAULT_REGRESSION
from locust_otel.review.prometheus import Prometheus
from locust_otel.slo import file

_SUMMARY = "GITHUB_STEP_SUMMARY"


def run(options: argparse.Namespace) -> int:
    """Judge what the flags name, write the verdict, and return its exit code.

    Raises:
        ConfigurationError: The flags, or what they name, cannot be used.
    """
    named, source = _source(options)
    if options.max_regression is not None and options.baseline is None:
        raise ConfigurationError(
            "--max-regression", "There is no baseline.", "Add --baseline.", slug="check-max-regression-alone"
        )
    allowed = baseline.regression(options.max_regression or DEFAULT_REGRESSION)
    slo = file.load(options.slo)
    found = source(named)(slo)
    if options.baseline is not None:
        before = source(options.baseline, "--baseline")(slo)
        found = baseline.compared(slo, found, before, allowed)
    report = formats.Report(slo, found, options.baseline or "")
    _write(report, options.format, options.output)
    return report.code


def _source(options: argparse.Namespace) -> tuple[str, Callable[..., Source]]:
    """Return what was named, and what makes a source of such a name and the flag it stood in."""
    flags = {"--csv": options.csv, "--json-file": options.json_file, "--prometheus": options.prometheus}
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
    if options.csv is not None:
        return options.csv, csv_file.source
    if options.json_file is not None:
        return options.json_file, json_file.source
    server = Prometheus.of_environment(options.prometheus)
    lookback = options.lookback or DEFAULT_LOOKBACK
    return options.run_id, lambda run_id, flag="--run-id": stored_run.source(server, run_id, lookback, flag)


def _write(report: formats.Report, kind: str, output: str | None) -> None:
    written = formats.FORMATS[kind](report)
    if output is not None:
        try:
            Path(output).write_text(written, encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise ConfigurationError(
                "--output", f"{output!r} cannot be written: {reason}.", "Name a file.", slug="check-output"
            ) from None
        written = formats.table(report)
    _print(written)
    if kind == "github" and (summary := os.environ.get(_SUMMARY)):
        try:
            with Path(summary).open("a", encoding="utf-8") as file_:
                file_.write(formats.markdown(report))
        except OSError as error:  # the verdict stands
            print(f"locust-otel: {_SUMMARY} cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201


def _print(written: str) -> None:
    """Print, with what the terminal cannot show escaped: a C locale has no words for a dash."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(written.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
