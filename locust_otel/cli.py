"""The commands of `locust-otel`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import locust_otel.demo.command as demo
import locust_otel.gameday.command as gameday
import locust_otel.gameday.mark_command as mark
import locust_otel.review.analysis.command as analyze
import locust_otel.review.check.command as check
import locust_otel.review.report.command as report
import locust_otel.slo.doctor_command as doctor
import locust_otel.slo.rules.command as rules
import locust_otel.slo.rules.dashboards_command as dashboards
from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError

COMMANDS = (demo, rules, dashboards, check, analyze, report, mark, gameday, doctor)
"""In the order of `--help`; `run` comes first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:  # everything after it is Locust's, --help too
        return _run(given[1:])
    program: list[str] = []
    if given[:1] == ["mark"] and "--" in given:  # what follows is a command, whatever it looks like
        at = given.index("--")
        given, program = given[:at], given[at + 1 :]
    options = _parser().parse_args(given or ["--help"])
    if program:
        options.program = program
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # of `| head`: what is left to be written is wanted by nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"locust-otel: {problem}", file=sys.stderr)  # noqa: T201
        return ExitCode.BAD_CONFIGURATION
    except LocustOtelError as error:
        print(f"locust-otel: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return code


def _run(arguments: list[str]) -> int:
    """Run Locust with the bridge on; Locust ends the process with its own exit code."""
    import locust.main  # noqa: PLC0415  # no other command may load it: it patches sockets and locks

    import locust_otel  # noqa: PLC0415

    locust_otel.register()
    sys.argv[1:] = arguments
    locust.main.main()
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="locust-otel", description="Live, exact SLO telemetry from Locust load tests."
    )
    parser.add_argument("--version", action="version", version=f"locust-otel {version('locust-otel')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="run Locust with the bridge on; takes every argument of locust", add_help=False)
    for command in COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
