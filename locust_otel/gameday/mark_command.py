"""`locust-otel mark`: say in a running load test that something happens, or around a command that makes it happen."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from typing import Any

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError


def add_to(commands: Any) -> None:
    """Add the command."""
    mark = commands.add_parser(
        "mark",
        help="mark a fault or a deployment in a run that goes on",
        usage="locust-otel mark TEXT [--kind KIND] [--url URL] [-- COMMAND ARGUMENT...]",
        description="Mark something in the run of a load test: it is then in its metrics, its log and its record. "
        "With a command, its start is marked with KIND-start and its end with KIND-end, and its exit code is ours.",
        epilog="Ends with 1 where no load test can be reached or no run goes on, 78 bad configuration or refused.",
    )
    add = mark.add_argument
    add("text", metavar="TEXT", help='what happens, in a few words: "db primary killed"')
    add("--kind", default="mark", metavar="KIND", help="fault, deployment, note … (default %(default)s)")
    add(
        "--url",
        metavar="URL",
        help="where the load test serves its metrics (default: the one that answers at the ports 9646 to 9655 of this "
        "machine); the environment variable LOCUST_OTEL_MARK_TOKEN holds the token where it asks for one",
    )
    mark.set_defaults(command=run, program=())


def run(options: argparse.Namespace) -> int:
    """Mark it, once or twice."""
    from locust_otel.core.marks import END, START, TOKEN_VARIABLE, MarkError, cleaned  # noqa: PLC0415  # likewise
    from locust_otel.gameday import mark_client, marked_program  # noqa: PLC0415  # no other command needs them

    kinds = [options.kind + START, options.kind + END] if options.program else [options.kind]
    try:
        for kind in kinds:
            text, _ = cleaned(options.text, kind)
    except MarkError as error:
        raise ConfigurationError("mark", str(error), "See --help.", slug="mark") from None
    problem = marked_program.problem_of(options.program) if options.program else None
    if problem is not None:
        print(f"locust-otel: {problem[1]}", file=sys.stderr)  # noqa: T201
        return problem[0]
    base = mark_client.base_of(options.url) if options.url else mark_client.find()
    # Shown only to whom the user has named: anybody on this machine may listen on a port.
    token = os.environ.get(TOKEN_VARIABLE, "") if options.url else ""

    def mark(kind: str) -> None:
        run_id, time = mark_client.post(base, text, kind, token=token)
        at = datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")
        print(f"Marked in run {run_id} at {at} UTC ({kind}): {text}", file=sys.stderr)  # noqa: T201

    def end() -> None:
        try:
            mark(kinds[1])
        except LocustOtelError as error:  # the command has ended; its exit code stands
            print(f"locust-otel: the end is not marked: {error}", file=sys.stderr)  # noqa: T201

    mark(kinds[0])
    return marked_program.run(options.program, end) if options.program else int(ExitCode.OK)
