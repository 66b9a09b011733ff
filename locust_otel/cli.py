"""Command line of `locust-otel`: the table of the commands, and their errors and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError

COMMANDS = {
    "run": "locust_otel.plugin.command",
    "demo": "locust_otel.demo.command",
    "init": "locust_otel.project.init_command",
    "stack": "locust_otel.project.stack_command",
    "rules": "locust_otel.slo.rules.command",
    "dashboards": "locust_otel.slo.rules.dashboards_command",
    "check": "locust_otel.review.check.command",
    "analyze": "locust_otel.review.analysis.command",
    "report": "locust_otel.review.report.command",
    "mark": "locust_otel.gameday.mark_command",
    "gameday": "locust_otel.gameday.command",
    "doctor": "locust_otel.review.doctor_command",
}
"""Module of each command, in the order of `--help`; its `add_to` adds the parser."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["run"]:  # all other arguments are Locust's, including --help
        return int(import_module(COMMANDS["run"]).run(words[1:]))
    program: list[str] = []
    if words[:1] == ["mark"] and "--" in words:  # the command after "--" may look like flags
        at = words.index("--")
        words, program = words[:at], words[at + 1 :]
    options = _parser().parse_args(words or ["--help"])
    if program:
        options.program = program
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has closed the pipe: discard the rest of the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"locust-otel: {problem}", file=sys.stderr)  # noqa: T201
        return ExitCode.BAD_CONFIGURATION
    except LocustOtelError as error:
        print(f"locust-otel: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="locust-otel", description="Live, exact SLO telemetry from Locust load tests."
    )
    parser.add_argument("--version", action="version", version=f"locust-otel {version('locust-otel')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS.values():
        import_module(module).add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
